// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: a broker of a few dozen lines, behind a real socket on loopback.
//
// One thread, one topic after another in memory, the newest versions of the messages. Enough for
// the client to be tested whole; what a broker must do is tested elsewhere.

import Bytes
import KafkaWire
import NIOCore
import NIOPosix
import Records
import Synchronization

@testable import Client

/// What the fake broker holds and does; shared by its connections under one lock.
final class FakeKafkaBroker: Sendable {
    struct State {
        var batches: [String: [[ByteBuffer]]] = [:]
        var ends: [String: [Int64]] = [:]
        var committed: [Int32: Int64] = [:]
        var partitionCount = 2
        /// Answer Produce with this error.
        var produceError = KafkaErrorCode.none
        /// Say nothing to anybody.
        var isSilent = false
        var produceRequests = 0
    }

    let state = Mutex(State())
    let port: Int
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let channel: any Channel

    var endpoint: Endpoint { Endpoint(host: "127.0.0.1", port: port) }

    init() throws {
        let state = NIOLoopBoundBox<FakeKafkaBroker?>.makeEmptyBox(eventLoop: group.next())
        channel = try ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let broker = state.value else { return }
                    try channel.pipeline.syncOperations.addHandler(FakeConnection(broker))
                }
            }
            .bind(host: "127.0.0.1", port: 0).wait()
        port = channel.localAddress?.port ?? 0
        let broker = self
        try group.next().submit { state.value = broker }.wait()
    }

    func stop() throws {
        try channel.close().wait()
        try group.syncShutdownGracefully()
    }
}

private final class FakeConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let broker: FakeKafkaBroker
    private var splitter = FrameSplitter()

    init(_ broker: FakeKafkaBroker) {
        self.broker = broker
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        splitter.append(unwrapInboundIn(data))
        do {
            while var frame = try splitter.next() {
                let header = try RequestHeader(from: &frame)
                guard let answer = try answer(header, &frame) else { continue }
                context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
            }
        } catch {
            context.close(promise: nil)
        }
    }

    private func answer(_ header: RequestHeader, _ body: inout ByteBuffer) throws -> ByteBuffer? {
        let version = header.apiVersion
        var buffer = ByteBuffer()
        func write(_ response: some KafkaResponse) throws -> ByteBuffer {
            try Frame.write(
                response, version: version, correlationId: header.correlationId, into: &buffer)
            return buffer
        }
        if broker.state.withLock({ $0.isSilent }) { return nil }
        switch ApiKey(rawValue: header.apiKey) {
        case .apiVersions: return try write(versions())
        case .metadata: return try write(metadata(MetadataRequest(from: &body, version: version)))
        case .createTopics:
            return try write(create(CreateTopicsRequest(from: &body, version: version)))
        case .produce:
            let request = try ProduceRequest(from: &body, version: version)
            let response = try produce(request)
            return request.acks == 0 ? nil : try write(response)
        case .fetch: return try write(fetch(FetchRequest(from: &body, version: version)))
        case .listOffsets:
            return try write(listOffsets(ListOffsetsRequest(from: &body, version: version)))
        case .findCoordinator:
            var response = FindCoordinatorResponse()
            response.host = "127.0.0.1"
            response.port = Int32(broker.port)
            return try write(response)
        case .offsetFetch:
            return try write(committed(OffsetFetchRequest(from: &body, version: version)))
        case .offsetCommit:
            return try write(commit(OffsetCommitRequest(from: &body, version: version)))
        default: throw ClientError(.badAnswer, "the fake broker knows no API \(header.apiKey)")
        }
    }

    private func versions() -> ApiVersionsResponse {
        var response = ApiVersionsResponse()
        response.apiKeys = ApiTable.served.map(ApiVersionsResponse.Api.init)
        return response
    }

    private func metadata(_ request: MetadataRequest) -> MetadataResponse {
        var node = MetadataResponse.Broker()
        node.host = "127.0.0.1"
        node.port = Int32(broker.port)
        var response = MetadataResponse()
        response.brokers = [node]
        response.topics = (request.topics ?? []).map { wanted in
            let name = wanted.name ?? ""
            var topic = MetadataResponse.Topic()
            topic.name = name
            let count = broker.state.withLock { state in
                if request.allowAutoTopicCreation { Self.create(name, in: &state) }
                return state.batches[name]?.count
            }
            guard let count else {
                topic.errorCode = .unknownTopicOrPartition
                return topic
            }
            topic.partitions = (0..<count).map { index in
                var partition = MetadataResponse.Partition()
                partition.partitionIndex = Int32(index)
                return partition
            }
            return topic
        }
        return response
    }

    private static func create(_ topic: String, in state: inout FakeKafkaBroker.State) {
        guard state.batches[topic] == nil else { return }
        state.batches[topic] = Array(repeating: [], count: state.partitionCount)
        state.ends[topic] = Array(repeating: 0, count: state.partitionCount)
    }

    private func create(_ request: CreateTopicsRequest) -> CreateTopicsResponse {
        var response = CreateTopicsResponse()
        response.topics = request.topics.map { wanted in
            broker.state.withLock { state in
                state.partitionCount = Int(wanted.numPartitions)
                Self.create(wanted.name, in: &state)
            }
            var topic = CreateTopicsResponse.Topic()
            topic.name = wanted.name
            return topic
        }
        return response
    }

    private func produce(_ request: ProduceRequest) throws -> ProduceResponse {
        var response = ProduceResponse()
        response.topics = try request.topics.map { topic in
            let partitions = try topic.partitions.map { partition in
                try broker.state.withLock { state in
                    state.produceRequests += 1
                    guard state.produceError == .none, var batch = partition.records else {
                        return ProduceResponse.Partition(
                            index: partition.index, errorCode: state.produceError)
                    }
                    let header = try BatchValidator().validate(batch, nowMs: SystemClock().nowMs())
                        .header
                    let place = Int(partition.index)
                    let base = state.ends[topic.name]?[place] ?? 0
                    BatchBytes.assign(baseOffset: base, leaderEpoch: 0, in: &batch)
                    state.batches[topic.name]?[place].append(batch)
                    state.ends[topic.name]?[place] = base + Int64(header.recordCount)
                    return ProduceResponse.Partition(
                        index: partition.index, errorCode: .none, baseOffset: base)
                }
            }
            return ProduceResponse.Topic(name: topic.name, partitions: partitions)
        }
        return response
    }

    private func fetch(_ request: FetchRequest) -> FetchResponse {
        var response = FetchResponse()
        response.topics = request.topics.map { wanted in
            var topic = FetchResponse.Topic()
            topic.topic = wanted.topic
            topic.partitions = wanted.partitions.map { partition in
                broker.state.withLock { state in Self.read(partition, wanted.topic, state) }
            }
            return topic
        }
        return response
    }

    private static func read(
        _ wanted: FetchRequest.Partition, _ topic: String, _ state: FakeKafkaBroker.State
    ) -> FetchResponse.Partition {
        let place = Int(wanted.partition)
        var partition = FetchResponse.Partition()
        partition.partitionIndex = wanted.partition
        partition.highWatermark = state.ends[topic]?[place] ?? 0
        var records = ByteBuffer()
        for batch in state.batches[topic]?[place] ?? [] {
            guard let header = BatchHeader(batch), header.nextOffset > wanted.fetchOffset else {
                continue
            }
            let isFull = records.readableBytes + batch.readableBytes > wanted.partitionMaxBytes
            if isFull && records.readableBytes > 0 { break }
            records.writeImmutableBuffer(batch)
        }
        partition.records = .bytes(records)
        return partition
    }

    private func listOffsets(_ request: ListOffsetsRequest) -> ListOffsetsResponse {
        var response = ListOffsetsResponse()
        response.topics = request.topics.map { wanted in
            var topic = ListOffsetsResponse.Topic()
            topic.name = wanted.name
            topic.partitions = wanted.partitions.map { asked in
                var partition = ListOffsetsResponse.Partition()
                partition.partitionIndex = asked.partitionIndex
                let isEnd = asked.timestamp == ListOffsetsRequest.SpecialTimestamp.latest
                partition.offset = broker.state.withLock { state in
                    isEnd ? state.ends[wanted.name]?[Int(asked.partitionIndex)] ?? 0 : 0
                }
                return partition
            }
            return topic
        }
        return response
    }

    private func committed(_ request: OffsetFetchRequest) -> OffsetFetchResponse {
        var response = OffsetFetchResponse()
        response.topics = (request.topics ?? []).map { wanted in
            var topic = OffsetFetchResponse.Topic()
            topic.name = wanted.name
            topic.partitions = wanted.partitionIndexes.map { index in
                var partition = OffsetFetchResponse.Partition()
                partition.partitionIndex = index
                partition.committedOffset = broker.state.withLock { $0.committed[index] ?? -1 }
                return partition
            }
            return topic
        }
        return response
    }

    private func commit(_ request: OffsetCommitRequest) -> OffsetCommitResponse {
        var response = OffsetCommitResponse()
        response.topics = request.topics.map { stored in
            var topic = OffsetCommitResponse.Topic()
            topic.name = stored.name
            topic.partitions = stored.partitions.map { entry in
                broker.state.withLock { $0.committed[entry.partitionIndex] = entry.committedOffset }
                var partition = OffsetCommitResponse.Partition()
                partition.partitionIndex = entry.partitionIndex
                return partition
            }
            return topic
        }
        return response
    }
}
