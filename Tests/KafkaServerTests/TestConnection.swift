// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: a Kafka connection without a socket: request bytes in, response bytes out.

import KafkaWire
import Logging
import NIOCore
import NIOEmbedded
import Telemetry
import TestSupport
import Transport

@testable import KafkaServer

final class TestConnection {
    let test: TestEngine
    let channel: EmbeddedChannel
    let server: KafkaServer
    let kafka: KafkaConnection
    private var nextCorrelationId: Int32 = 1
    private var received = ByteBuffer()

    private let reads = ReadCounter()

    init(
        _ test: TestEngine, advertised: KafkaServer.Advertised? = nil,
        memory: RequestMemory = RequestMemory(limit: .max), metrics: Metrics = Metrics(), server: KafkaServer? = nil,
        logins: ByListener<LoginConfiguration> = ByListener(LoginConfiguration()),
        peer edit: (inout ConnectionContext) -> Void = { _ in }
    ) throws {
        self.test = test
        let server = server ?? KafkaServer(
            engine: test.engine, advertised: advertised, memory: memory, logins: logins, metrics: metrics,
            logger: Logger(label: "test"))
        var peer = ConnectionContext(
            id: 1, localHost: "broker.example", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 50_000)
        edit(&peer)
        self.server = server
        kafka = KafkaConnection(server: server, peer: peer, loop: test.loop)
        channel = EmbeddedChannel(handlers: [reads, kafka], loop: test.loop)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
    }

    /// Sends a request without waiting; returns its correlation id.
    @discardableResult
    func send(_ request: some KafkaRequest, version: Int16) throws -> Int32 {
        defer { nextCorrelationId += 1 }
        var bytes = ByteBuffer()
        try Frame.write(
            request, version: version, correlationId: nextCorrelationId, clientId: "test", into: &bytes)
        try channel.writeInbound(bytes)
        return nextCorrelationId
    }

    func send(bytes: [UInt8]) throws {
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    /// The next response frame, without its length; nil if none has come.
    func frame() throws -> ByteBuffer? {
        while let part = try channel.readOutbound(as: IOData.self) {
            guard case .byteBuffer(var bytes) = part else { continue }
            received.writeBuffer(&bytes)
        }
        guard let length = received.getInteger(at: received.readerIndex, as: Int32.self),
            received.readableBytes >= 4 + Int(length)
        else { return nil }
        received.moveReaderIndex(forwardBy: 4)
        return received.readSlice(length: Int(length))
    }

    /// The next response, which must be to this request.
    func response<Response: KafkaResponse>(
        _ type: Response.Type, version: Int16
    ) throws -> (correlationId: Int32, response: Response)? {
        guard var frame = try frame() else { return nil }
        let header = try ResponseHeader(from: &frame, to: type.apiKey, version: version)
        return (header.correlationId, try Response(from: &frame, version: version))
    }

    /// Sends a request, lets turns and syncs pass, and returns the response.
    func call<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Request.Response {
        let id = try send(request, version: version)
        for _ in 0..<4 { test.sync() }
        guard let (correlationId, response) = try response(Request.Response.self, version: version) else {
            throw NoAnswer()
        }
        guard correlationId == id else { throw NoAnswer() }
        return response
    }

    struct NoAnswer: Error {}

    /// How often the connection has asked for bytes.
    var readCount: Int { reads.count }

    var isOpen: Bool { channel.isActive }
}

/// Stands between a connection and its channel and counts the reads that get through.
private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = NIOAny
    private(set) var count = 0

    func read(context: ChannelHandlerContext) {
        count += 1
        context.read()
    }
}
