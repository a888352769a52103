// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: a broker without sockets, and a client that speaks HTTP/2 to it in memory.

import Bytes
import Contract
import Engine
import FoundationEssentials
import GRPCWire
import HTTP2
import Logging
import NIOCore
import NIOEmbedded
import Records
import Storage
import SwiftProtobuf
import Telemetry
import TestSupport
import Testing
import Transport

@testable import GRPCServer

/// One engine in memory and its gRPC edge, all on one embedded loop.
final class Fixture {
    let server: GRPCServer
    private let broker: TestEngine

    init(
        autoCreate: Bool = true, memory: RequestMemory = RequestMemory(limit: .max),
        http2: HTTP2Configuration = HTTP2Configuration(), requiresLogin: Bool = false,
        audit: AuditLog = .off, policy: TestPolicy? = nil, logins: ByListener<GRPCLogins>? = nil,
        maxIdleMs: Int64 = 600_000, adding methods: [GRPCMethod] = []
    ) throws {
        broker = try TestEngine(durability: .memory, audit: audit, policy: policy) { $0.autoCreateTopics = autoCreate }
        server = GRPCServer(
            engine: broker.engine, memory: memory, metrics: broker.metrics,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, http2: http2,
            logins: logins ?? ByListener(GRPCLogins(passwords: requiresLogin)), maxIdleMs: maxIdleMs,
            adding: methods)
    }

    var loop: EmbeddedEventLoop { broker.loop }
    var clock: ManualClock { broker.clock }
    var metrics: Metrics { broker.metrics }
    var engine: Engine { broker.engine }

    func connect(
        _ configuration: HTTP2Configuration = HTTP2Configuration(), _ edit: (inout ConnectionContext) -> Void = { _ in }
    ) throws -> Peer {
        try Peer(self, configuration, edit)
    }

    /// Creates a topic and waits for it.
    func topic(_ name: String, partitions: Int32 = 1, overrides: [String: String] = [:]) throws -> Topic {
        let made = engine.topics.create(
            TopicSpecification(name: name, partitions: partitions, overrides: overrides), on: loop)
        loop.run()
        return try made.wait()
    }

    /// Appends one batch as a Kafka producer would.
    func append(
        _ values: [String], to partition: Partition, compression: CompressionType = .none, timestamp: Int64 = 1000
    ) throws {
        var builder = RecordBatchBuilder(compression: compression)
        for value in values { builder.append(key: nil, value: ByteBuffer(string: value), timestamp: timestamp) }
        let appended = loop.makePromise(of: AppendResult.self)
        partition.append(builder.finish(), acks: .leader, turn: engine.turns.turn(for: loop)) { result in
            appended.completeWith(result.mapError { $0 as any Error })
        }
        loop.run()
        _ = try appended.futureResult.wait()
    }
}

/// What a client saw of one call.
final class Call: HTTP2StreamHandler {
    var headers: [HTTP2Field: String] = [:]
    var durability: String?
    /// `grpc-status-details-bin`.
    var details: String?
    var trailers: [HTTP2Field: String] = [:]
    var messages: [ByteBuffer] = []
    /// Which of them came compressed.
    var compressed: [Bool] = []
    private let decompressor = Decompressor()
    var isClosed = false
    var resetCode: HTTP2ErrorCode?
    private var deframer = MessageDeframer(messageBytesMax: 64 << 20)
    fileprivate(set) var stream: HTTP2Stream?

    /// The status, once there is one.
    var status: GRPCStatus.Code? {
        let text = trailers[.grpcStatus] ?? headers[.grpcStatus]
        return text.flatMap { Int($0) }.flatMap { GRPCStatus.Code(rawValue: $0) }
    }

    var message: String { GRPCStatus.decodedMessage(trailers[.grpcMessage] ?? headers[.grpcMessage] ?? "") }

    func decoded<Message: SwiftProtobuf.Message>(_ type: Message.Type = Message.self) throws -> [Message] {
        try messages.map { try Message(serializedBytes: Array($0.readableBytesView)) }
    }

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        var seen: [HTTP2Field: String] = [:]
        for field in HTTP2Field.allCases { seen[field] = fields.string(field) }
        if let value = fields.value(named: "martlet-durability") { durability = value }
        if let value = fields.value(named: "grpc-status-details-bin") { details = value }
        if headers.isEmpty { headers = seen } else { trailers = seen }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        deframer.append(data)
        while let message = try? deframer.next() {
            compressed.append(message.isCompressed)
            guard let bytes = try? message.decoded(.gzip, decompressor, bytesMax: 64 << 20) else {
                Issue.record("a message of the server cannot be decompressed")
                continue
            }
            messages.append(bytes)
        }
        deframer.keep()
    }

    func receivedEnd(on stream: HTTP2Stream) {}
    func produce(room: Int, on stream: HTTP2Stream) {}

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        isClosed = true
        if code != .noError { resetCode = code }
    }

    func cancel() { stream?.reset(.cancel) }

    /// Sends bytes of the request.
    func send(_ bytes: ByteBuffer, end: Bool) {
        stream?.outbound.writeImmutableBuffer(bytes)
        stream?.resume()
        if end { stream?.finish() }
    }
}

/// A client's connection.
final class Peer: HTTP2SessionDelegate {
    let channel: EmbeddedChannel
    let session: HTTP2Session
    private(set) var goAways = 0
    /// How the bytes to the server are cut.
    var chunk = Int.max
    private let loop: EmbeddedEventLoop

    init(_ fixture: Fixture, _ configuration: HTTP2Configuration, _ edit: (inout ConnectionContext) -> Void) throws {
        loop = fixture.loop
        channel = EmbeddedChannel(loop: loop)
        session = HTTP2Session(role: .client, configuration: configuration, clock: fixture.clock)
        session.delegate = self
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
        var context = ConnectionContext(
            id: 1, localHost: "127.0.0.1", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 4000)
        edit(&context)
        try fixture.server.configure(channel, context)
        try run()
    }

    deinit {
        session.connectionClosed()
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {}
    func receivedSettings() {}
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) { goAways += 1 }
    func receivedPingAnswer() {}

    /// Moves bytes and runs the loop until nothing moves any more.
    func run() throws {
        var moved = true
        while moved {
            moved = false
            var bytes = ByteBuffer()
            _ = try session.collect(into: &bytes, limit: 1 << 20)
            while let part = bytes.readSlice(length: min(chunk, bytes.readableBytes)), part.readableBytes > 0 {
                moved = true
                if channel.isActive { try channel.writeInbound(part) }
            }
            loop.run()
            while let part = try channel.readOutbound(as: ByteBuffer.self) {
                moved = true
                try session.receive(part)
            }
        }
    }

    /// Opens a call without a request yet.
    func open(
        _ path: String, timeout: String? = nil, extra: [(String, String)] = [], contentType: String = "application/grpc",
        method: String = "POST"
    ) throws -> Call {
        let call = Call()
        var fields: [(name: String, value: String)] = [
            (":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("content-type", contentType), ("te", "trailers"),
        ]
        if let timeout { fields.append(("grpc-timeout", timeout)) }
        fields += extra.map { (name: $0.0, value: $0.1) }
        call.stream = session.request(HTTP2FieldList(fields), handler: call)
        #expect(call.stream != nil)
        return call
    }

    /// Makes a call with one request, and runs until nothing moves.
    func call(
        _ path: String, _ request: some SwiftProtobuf.Message, timeout: String? = nil, extra: [(String, String)] = []
    ) throws -> Call {
        let call = try open(path, timeout: timeout, extra: extra)
        let bytes: [UInt8] = try request.serializedBytes()
        var framed = ByteBuffer()
        framed.writeMessage { $0.writeBytes(bytes) }
        call.send(framed, end: true)
        try run()
        return call
    }

    func publish(_ topic: String, _ values: [String], partition: Int32? = nil) throws -> Call {
        try call(
            "/martlet.v1.Streams/Publish",
            Martlet_V1_PublishRequest.with {
                $0.topic = topic
                if let partition { $0.partition = partition }
                $0.records = values.map { value in .with { $0.value = .init(value.utf8) } }
            })
    }

    func subscribe(_ topic: String, _ edit: (inout Martlet_V1_SubscribeRequest) -> Void = { _ in }) throws -> Call {
        try call(
            "/martlet.v1.Streams/Subscribe",
            Martlet_V1_SubscribeRequest.with {
                $0.topics = [.with { $0.topic = topic }]
                $0.origin = .earliest
                edit(&$0)
            })
    }
}

extension Call {
    /// All records of a subscription.
    func records() throws -> [Martlet_V1_Record] {
        try decoded(Martlet_V1_SubscribeResponse.self).flatMap(\.batches).flatMap(\.records)
    }

    func values() throws -> [String] {
        try records().map { String(decoding: $0.value, as: UTF8.self) }
    }
}
