// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: a broker on an embedded loop and in memory, and clients that speak frames to it.

import Bytes
import Engine
import KafkaWire
import Logging
import NIOCore
import NIOEmbedded
import Storage
import Telemetry
import Testing
import Transport

@testable import KafkaServer

/// The broker. Nothing in it moves but by `run` and `pass`.
final class GroupHandlersFixture {
    let loop = EmbeddedEventLoop()
    let clock = ManualClock()
    let engine: Engine
    let server: KafkaServer

    init(_ change: (inout GroupConfiguration) -> Void = { _ in }) throws {
        var configuration = EngineConfiguration()
        configuration.durability = .os
        configuration.groups.initialRebalanceDelayMs = 0
        change(&configuration.groups)
        let files = MemoryFileSystem()
        let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        let metrics = Metrics()
        engine = try Engine(
            configuration: configuration, directory: DataDirectory(fileSystem: files, clock: clock, logger: logger),
            groupCommit: GroupCommit(fileSystem: files, clock: clock), loop: loop, clock: clock, metrics: metrics, logger: logger)
        server = KafkaServer(engine: engine, advertised: nil, metrics: metrics, logger: logger)
    }

    func run() { loop.run() }

    func pass(ms: Int64) {
        clock.advance(ms: ms)
        loop.advanceTime(by: .milliseconds(ms))
    }

    func createTopic(_ name: String, partitions: Int32 = 2) throws {
        let created = engine.topics.create(TopicSpecification(name: name, partitions: partitions), on: loop)
        run()
        _ = try created.wait()
    }

    func connect(clientId: String? = "client") throws -> FrameClient {
        try FrameClient(server, loop: loop, clientId: clientId)
    }
}

/// One connection: frames in and out, as bytes.
final class FrameClient {
    private let channel: EmbeddedChannel
    private let loop: EmbeddedEventLoop
    private let clientId: String?
    private var received = ByteBuffer()
    private var lastCorrelationId: Int32 = 0

    init(_ server: KafkaServer, loop: EmbeddedEventLoop, clientId: String?) throws {
        self.loop = loop
        self.clientId = clientId
        let peer = ConnectionContext(
            id: 1, localHost: "broker.test", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 40_000)
        channel = EmbeddedChannel(
            handler: KafkaConnection(server: server, peer: peer, loop: loop), loop: loop)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
    }

    var isOpen: Bool { channel.isActive }

    /// A request whose answer is still to come.
    struct Call<Request: KafkaRequest> {
        let correlationId: Int32
        let version: Int16
    }

    func send<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Call<Request> {
        lastCorrelationId += 1
        var frame = ByteBuffer()
        try Frame.write(
            request, version: version, correlationId: lastCorrelationId, clientId: clientId, into: &frame)
        try channel.writeInbound(frame)
        loop.run()
        return Call(correlationId: lastCorrelationId, version: version)
    }

    /// The next frame on the connection as the answer to `call`, to its last byte; nil if there is none yet.
    func answer<Request: KafkaRequest>(to call: Call<Request>) throws -> Request.Response? {
        guard var frame = try nextFrame() else { return nil }
        let header = try ResponseHeader(from: &frame, to: Request.apiKey, version: call.version)
        #expect(header.correlationId == call.correlationId)
        let response = try Request.Response(from: &frame, version: call.version)
        #expect(frame.readableBytes == 0, "bytes behind the response")
        return response
    }

    func call<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Request.Response {
        let call = try send(request, version: version)
        return try #require(try answer(to: call), "no answer to \(Request.apiKey) version \(version)")
    }

    /// Sends bytes as they are (without the length) and returns the answer's.
    func exchange(_ bytes: [UInt8]) throws -> [UInt8] {
        var frame = ByteBuffer()
        frame.writeInteger(Int32(bytes.count))
        frame.writeBytes(bytes)
        try channel.writeInbound(frame)
        loop.run()
        let answer = try nextFrame()
        return Array(try #require(answer).readableBytesView)
    }

    private func nextFrame() throws -> ByteBuffer? {
        while let data = try channel.readOutbound(as: IOData.self) {
            guard case .byteBuffer(var bytes) = data else { continue }
            received.writeBuffer(&bytes)
        }
        guard let length = received.getInteger(at: received.readerIndex, as: Int32.self) else { return nil }
        let frame = received.getSlice(at: received.readerIndex + 4, length: Int(length))
        received.moveReaderIndex(forwardBy: 4 + Int(length))
        return frame
    }
}

/// What group tests send, with defaults.
enum GroupRequests {
    static func join(
        _ memberId: String = "", group: String = "g", instance: String? = nil, type: String = "consumer",
        protocols: [String] = ["range"], metadata: String = "m", sessionMs: Int32 = 10_000
    ) -> JoinGroupRequest {
        var request = JoinGroupRequest()
        request.groupId = group
        request.sessionTimeoutMs = sessionMs
        request.rebalanceTimeoutMs = 60_000
        request.memberId = memberId
        request.groupInstanceId = instance
        request.protocolType = type
        request.protocols = protocols.map { name in
            var each = JoinGroupRequest.SupportedProtocol()
            each.name = name
            each.metadata = ByteBuffer(string: metadata)
            return each
        }
        return request
    }

    static func sync(
        _ memberId: String, group: String = "g", generation: Int32 = 1, assignments: [String: String] = [:]
    ) -> SyncGroupRequest {
        var request = SyncGroupRequest()
        request.groupId = group
        request.memberId = memberId
        request.generationId = generation
        request.protocolType = "consumer"
        request.protocolName = "range"
        request.assignments = assignments.map { memberId, assignment in
            var each = SyncGroupRequest.Assignment()
            each.memberId = memberId
            each.assignment = ByteBuffer(string: assignment)
            return each
        }
        return request
    }

    static func heartbeat(_ memberId: String, group: String = "g", generation: Int32 = 1) -> HeartbeatRequest {
        var request = HeartbeatRequest()
        request.groupId = group
        request.memberId = memberId
        request.generationId = generation
        return request
    }

    static func commit(
        _ offset: Int64 = 5, group: String = "g", member: String = "", generation: Int32 = -1,
        topic: String = "t", partitions: [Int32] = [0], metadata: String? = "meta"
    ) -> OffsetCommitRequest {
        var request = OffsetCommitRequest()
        request.groupId = group
        request.memberId = member
        request.generationIdOrMemberEpoch = generation
        var each = OffsetCommitRequest.Topic()
        each.name = topic
        each.partitions = partitions.map { index in
            var partition = OffsetCommitRequest.Partition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            partition.committedLeaderEpoch = 3
            partition.committedMetadata = metadata
            return partition
        }
        request.topics = [each]
        return request
    }
}

extension GroupHandlersFixture {
    /// Makes a stable group of one member through the wire; its id.
    func stableMember(_ client: FrameClient, group: String = "g", metadata: String = "m") throws -> String {
        let call = try client.send(GroupRequests.join(group: group, metadata: metadata), version: 3)
        let joined = try #require(try client.answer(to: call))
        let sync = GroupRequests.sync(
            joined.memberId, group: group, generation: joined.generationId, assignments: [joined.memberId: "a"])
        #expect(try client.call(sync, version: 3).errorCode == .none)
        return joined.memberId
    }
}
