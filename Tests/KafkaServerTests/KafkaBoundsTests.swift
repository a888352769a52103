// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: what one connection, and all of them together, can make the broker hold.

import KafkaWire
import NIOCore
import NIOEmbedded
import Records
import TestSupport
import Testing

@testable import Engine
@testable import KafkaServer

@Suite struct KafkaBoundsTests {
    /// Requests one after the other, as one read.
    private func pipelined(_ request: some KafkaRequest, version: Int16, count: Int) throws -> ByteBuffer {
        var bytes = ByteBuffer()
        for id in 0..<count {
            try Frame.write(
                request, version: version, correlationId: Int32(id), clientId: "x", into: &bytes)
        }
        return bytes
    }

    /// Asks for all topics.
    private var allTopics: MetadataRequest {
        var request = MetadataRequest()
        request.topics = nil
        return request
    }

    private func sentBytes(_ channel: EmbeddedChannel) throws -> Int {
        var count = 0
        while let part = try channel.readOutbound(as: IOData.self) { count += part.readableBytes }
        return count
    }

    @Test func requestsWaitWhileThePeerTakesNoReplies() throws {
        let test = try TestEngine()
        _ = try test.makeTopic("wide", partitions: 1000)
        let connection = try TestConnection(test)
        connection.channel.isWritable = false
        connection.channel.pipeline.fireChannelWritabilityChanged()
        // Each answer lists a thousand partitions; all requests come in one read.
        let requests = try pipelined(allTopics, version: 1, count: 40)
        try connection.channel.writeInbound(requests)
        test.turn()
        #expect(try sentBytes(connection.channel) == 0)
        connection.channel.isWritable = true
        connection.channel.pipeline.fireChannelWritabilityChanged()
        test.turn()
        #expect(try sentBytes(connection.channel) > 40 * 1000 * 20)
    }

    @Test func repliesLeaveInPiecesWhileRequestsKeepComing() throws {
        let test = try TestEngine()
        _ = try test.makeTopic("wide", partitions: 1000)
        let connection = try TestConnection(test)
        try connection.channel.writeInbound(try pipelined(allTopics, version: 1, count: 100))
        test.turn()
        var pieces = 0
        while let part = try connection.channel.readOutbound(as: IOData.self) {
            #expect(part.readableBytes < Limits.unsentReplyBytes + 100_000)
            pieces += 1
        }
        #expect(pieces >= 5)
    }

    @Test func unansweredRequestsOfAConnectionAreBoundedByTheirBytes() throws {
        let test = try TestEngine(durability: .disk)
        let topic = try test.makeTopic()
        let connection = try TestConnection(test)
        var wanted = ProduceRequest.Topic()
        wanted.name = "orders"
        let records = batch(String(repeating: "x", count: 1_000_000))
        wanted.partitions = [ProduceRequest.Partition(index: 0, records: records)]
        var produce = ProduceRequest()
        produce.acks = -1
        produce.topics = [wanted]
        try connection.channel.writeInbound(try pipelined(produce, version: 9, count: 40))
        test.turn()
        // Each waits for the sync; those beyond the bound have not been begun.
        let begun = Int64(Limits.heldBytes / 1_000_000 + 1)
        #expect(topic.partition(0)?.offsets.highWatermark == begun)
        for _ in 0..<4 { test.sync() }
        #expect(topic.partition(0)?.offsets.highWatermark == 40)
    }

    @Test func aTopicNamedTwiceIsDescribedOnce() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let connection = try TestConnection(test)
        var request = MetadataRequest()
        request.topics = Array(repeating: MetadataRequest.Topic(name: "orders"), count: 50)
        #expect(try connection.call(request, version: 9).topics.count == 1)
    }

    @Test func aPartitionAskedForTwiceIsRefusedByListOffsets() throws {
        let test = try TestEngine()
        _ = try test.makeTopic("orders", partitions: 2)
        let connection = try TestConnection(test)
        var topic = ListOffsetsRequest.Topic()
        topic.name = "orders"
        let indexes: [Int32] = [0, 1, 0]
        topic.partitions = indexes.map { index in
            var partition = ListOffsetsRequest.Partition()
            partition.partitionIndex = index
            partition.timestamp = -1
            return partition
        }
        var request = ListOffsetsRequest()
        request.topics = [topic]
        let answer = try connection.call(request, version: 5)
        #expect(
            answer.topics.first?.partitions.map(\.errorCode) == [.invalidRequest, .none, .invalidRequest])
    }

    @Test func moreResourcesThanAnyoneHasCloseTheConnection() throws {
        let test = try TestEngine()
        let connection = try TestConnection(test)
        var request = DescribeConfigsRequest()
        var resource = DescribeConfigsRequest.Resource()
        resource.resourceType = 4
        request.resources = Array(repeating: resource, count: Limits.resourcesPerRequest + 1)
        try connection.send(request, version: 1)
        test.turn()
        #expect(!connection.isOpen)
    }

    @Test func theBatchesOfOneRequestShareWhatMayBeDecompressed() throws {
        let test = try TestEngine()
        _ = try test.makeTopic("orders", partitions: 4)
        let connection = try TestConnection(test)
        // 30 MB of zeros in a few KB: one passes, two pass, the third is one too many.
        var builder = RecordBatchBuilder(compression: .zstd)
        builder.append(
            key: nil, value: ByteBuffer(repeating: 0, count: 30_000_000), timestamp: 1_700_000_000_000)
        let bomb = builder.finish()
        #expect(bomb.readableBytes < 100_000)
        var topic = ProduceRequest.Topic()
        topic.name = "orders"
        topic.partitions = (0..<4).map { ProduceRequest.Partition(index: $0, records: bomb) }
        var request = ProduceRequest()
        request.acks = 1
        request.topics = [topic]
        let answer = try connection.call(request, version: 9)
        #expect(
            answer.topics.first?.partitions.map(\.errorCode)
                == [.none, .none, .invalidRecord, .invalidRecord])
        // The next request starts anew.
        topic.partitions = [ProduceRequest.Partition(index: 3, records: bomb)]
        request.topics = [topic]
        #expect(try connection.call(request, version: 9).topics.first?.partitions.first?.errorCode == KafkaErrorCode.none)
    }

    @Test func aPartitionIsWaitedForOnceHoweverOftenItIsNamed() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic()
        let connection = try TestConnection(test)
        var wanted = FetchRequest.Topic()
        wanted.topic = "orders"
        wanted.partitions = Array(repeating: FetchRequest.Partition(), count: 500)
        var fetch = FetchRequest()
        fetch.maxWaitMs = 1000
        fetch.minBytes = 1
        fetch.topics = [wanted]
        try connection.send(fetch, version: 11)
        test.turn()
        #expect(topic.partition(0)?.waiterCount == 1)
    }
}
