// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: the listener with real sockets, on ports that the kernel chooses.

import Bytes
import Foundation
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Transport

/// Sends back whatever comes; says who the client is when told to. Closes when the broker drains.
private final class Echo: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let closesOnDrain: Bool
    init(closesOnDrain: Bool) { self.closesOnDrain = closesOnDrain }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.write(data, promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) { context.flush() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is DrainEvent, closesOnDrain { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// A listener whose edges echo, and the contexts they were given.
private final class EchoServer: Sendable {
    let listener: Listener
    let log: LogCapture
    private let contexts: Contexts

    final class Contexts: Sendable {
        let list = Mutex<[ConnectionContext]>([])
    }

    var seen: [ConnectionContext] { contexts.list.withLock { $0 } }

    init(_ options: ListenerOptions, closesOnDrain: Bool = true) async throws {
        let contexts = Contexts()
        let log = LogCapture()
        let echo: ProtocolHandlers.Configure = { channel, context in
            contexts.list.withLock { $0.append(context) }
            try channel.pipeline.syncOperations.addHandler(Echo(closesOnDrain: closesOnDrain))
        }
        listener = try await Listener.bind(
            options, handlers: ProtocolHandlers(kafka: echo, http2: echo, http1: echo),
            group: MultiThreadedEventLoopGroup.singleton, logger: log.logger)
        self.log = log
        self.contexts = contexts
    }
}

/// What a client's channel received, as one future per connection.
private final class Collector: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    private struct State {
        var received = ByteBuffer()
        var errors: [String] = []
        var waiting: (count: Int, promise: EventLoopPromise<ByteBuffer>)?
        var isOver = false
    }

    private let state = Mutex(State())
    var errors: [String] { state.withLock { $0.errors } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        state.withLock { _ = $0.received.writeBuffer(&bytes) }
        complete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        state.withLock { $0.isOver = true }
        complete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event as? ChannelEvent == .inputClosed else { return }
        state.withLock { $0.isOver = true }
        complete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        state.withLock { $0.errors.append("\(error)") }
    }

    /// Everything received, once that is `count` bytes or the connection is over.
    func bytes(_ count: Int, on loop: any EventLoop) async throws -> ByteBuffer {
        let promise = loop.makePromise(of: ByteBuffer.self)
        state.withLock { $0.waiting = (count, promise) }
        complete()
        return try await promise.futureResult.get()
    }

    private func complete() {
        let ready = state.withLock { state -> (EventLoopPromise<ByteBuffer>, ByteBuffer)? in
            guard let waiting = state.waiting,
                state.isOver || state.received.readableBytes >= waiting.count
            else { return nil }
            state.waiting = nil
            return (waiting.promise, state.received)
        }
        ready?.0.succeed(ready?.1 ?? ByteBuffer())
    }
}

/// A client's connection.
private struct Connection {
    let channel: any Channel
    let collector: Collector

    static func open(
        _ host: String, _ port: Int, tls: TLSContext? = nil, serverName: String? = nil,
        isHalfClosureAllowed: Bool = false
    ) async throws -> Connection {
        let collector = Collector()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: isHalfClosureAllowed)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(
                            TLSHandler.client(context: tls, host: serverName ?? host))
                    }
                    try channel.pipeline.syncOperations.addHandler(collector)
                }
            }
            .connect(host: host, port: port).get()
        return Connection(channel: channel, collector: collector)
    }

    func send(_ bytes: ByteBuffer) async throws {
        try await channel.writeAndFlush(bytes)
    }

    func bytes(_ count: Int) async throws -> ByteBuffer {
        try await collector.bytes(count, on: channel.eventLoop)
    }

    func closed() async throws {
        try await channel.closeFuture.get()
    }
}

extension Listener {
    /// Returns as soon as no connection is open.
    fileprivate func registryIsEmpty() async {
        // Only ever succeeded.
        try? await registry.emptied(on: MultiThreadedEventLoopGroup.singleton.any()).get()
    }
}

extension ListenerOptions {
    /// A port that the kernel chooses, and no deadline: a client of these tests waits for its turn
    /// among all other tests, which may take longer than any deadline that suits production.
    fileprivate static func patient(host: String = "127.0.0.1", port: Int = 0) -> ListenerOptions {
        var options = ListenerOptions(host: host, port: port)
        options.limits.detectionTimeout = .hours(1)
        options.limits.handshakeTimeout = .hours(1)
        options.limits.lingerTimeout = .hours(1)
        return options
    }
}

private let kafkaRequest = ByteBuffer(bytes: [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff])

@Suite("A listener")
struct ListenerTests {
    let authority = TestAuthority.shared

    private func tlsOptions(_ change: (inout ListenerOptions) -> Void = { _ in }) throws
        -> ListenerOptions
    {
        var options = ListenerOptions.patient()
        options.tls = TLSContextStore(try authority.serverContext())
        change(&options)
        return options
    }

    @Test("reports the port that the kernel chose and serves plaintext and TLS on it")
    func onePort() async throws {
        let server = try await EchoServer(try tlsOptions())
        #expect(server.listener.port > 0)
        #expect(server.listener.host == "127.0.0.1")
        let plain = try await Connection.open("127.0.0.1", server.listener.port)
        try await plain.send(kafkaRequest)
        #expect(try await plain.bytes(14) == kafkaRequest)
        let secure = try await Connection.open(
            "127.0.0.1", server.listener.port, tls: authority.clientContext(["h2"]),
            serverName: "localhost")
        try await secure.send(kafkaRequest)
        #expect(try await secure.bytes(14) == kafkaRequest)
        let contexts = server.seen
        #expect(contexts.count == 2)
        #expect(contexts.first?.localHost == "127.0.0.1")
        #expect(contexts.first?.localPort == server.listener.port)
        #expect(contexts.first?.remoteAddress == "127.0.0.1")
        #expect(contexts.last?.localHost == "localhost")
        #expect(contexts.last?.principal == "User:CN=client")
        #expect((contexts.first?.id ?? 0) < (contexts.last?.id ?? 0))
        #expect(server.listener.connectionCount == 2)
        await server.listener.drain(grace: .seconds(5))
        #expect(server.listener.connectionCount == 0)
        #expect(server.listener.statistics.accepted == 2)
        #expect(server.listener.statistics.handshakes == 1)
    }

    @Test("carries 10 MB in both directions, in plaintext and in TLS", arguments: [false, true])
    func bulk(isTLS: Bool) async throws {
        let server = try await EchoServer(try tlsOptions())
        let connection = try await Connection.open(
            "localhost", server.listener.port, tls: isTLS ? authority.clientContext() : nil)
        var data = kafkaRequest
        data.writeRepeatingByte(0x5a, count: 10 << 20)
        data.writeInteger(UInt8(1))
        try await connection.send(data)
        #expect(try await connection.bytes(data.readableBytes) == data)
        await server.listener.drain(grace: .seconds(5))
    }

    @Test("tells a refused client why, and then waits for it to close")
    func refusal() async throws {
        let server = try await EchoServer(
            try tlsOptions {
                $0.plaintext = .off
            })
        let connection = try await Connection.open(
            "127.0.0.1", server.listener.port, isHalfClosureAllowed: true)
        var request = ByteBuffer(string: "POST /upload HTTP/1.1\r\n\r\n")
        request.writeRepeatingByte(0x61, count: 300_000)
        connection.channel.writeAndFlush(request, promise: nil)
        let answer = String(buffer: try await connection.bytes(Int.max))
        #expect(answer.hasPrefix("HTTP/1.1 403 Forbidden"))
        #expect(answer.contains("this listener speaks TLS only"))
        // The server has closed its output only: what is still sent to it resets nothing.
        try await connection.send(request)
        #expect(server.listener.connectionCount == 1)
        try await connection.channel.close()
        await server.listener.drain(grace: .seconds(5))
    }

    @Test("cuts off a refused client that goes on sending")
    func refusalBound() async throws {
        let server = try await EchoServer(
            try tlsOptions {
                $0.plaintext = .off
                $0.limits.lingerBytesMax = 100_000
            })
        let connection = try await Connection.open(
            "127.0.0.1", server.listener.port, isHalfClosureAllowed: true)
        var request = ByteBuffer(string: "POST /upload HTTP/1.1\r\n\r\n")
        request.writeRepeatingByte(0x61, count: 1_000_000)
        connection.channel.writeAndFlush(request, promise: nil)
        await server.listener.registryIsEmpty()
        #expect(server.listener.connectionCount == 0)
        connection.channel.close(promise: nil)
        await server.listener.drain(grace: .seconds(5))
    }

    @Test("shows a TLS client without a certificate the alert, though it has sent data already")
    func missingCertificate() async throws {
        let server = try await EchoServer(try tlsOptions())
        let connection = try await Connection.open(
            "localhost", server.listener.port, tls: authority.clientContext(hasCertificate: false))
        connection.channel.writeAndFlush(kafkaRequest, promise: nil)
        try await connection.closed()
        #expect(connection.collector.errors.contains { $0.contains("alert: certificate required") })
        #expect(server.log.contains("client sent no certificate"))
        await server.listener.drain(grace: .seconds(5))
    }

    @Test("names the address and what to do when the port is taken")
    func portTaken() async throws {
        let first = try await EchoServer(.patient())
        let port = first.listener.port
        let error = await #expect(throws: TransportError.self) {
            try await EchoServer(.patient(port: port))
        }
        #expect(error?.code == .addressInUse)
        #expect(
            error?.message.hasPrefix(
                "cannot listen on 127.0.0.1:\(port): the port is already in use") == true)
        #expect(error?.message.contains("choose another port") == true)
        await first.listener.stopAccepting()
    }

    @Test(
        "names a host that is not of this machine, or that cannot be resolved",
        arguments: [
            ("192.0.2.1", "this machine has no such address"),
            ("no-such-host.invalid", "the host name cannot be resolved"),
        ])
    func badHost(host: String, message: String) async throws {
        let error = await #expect(throws: TransportError.self) {
            try await EchoServer(.patient(host: host))
        }
        #expect(error?.code == .addressNotAvailable)
        #expect(error?.message.contains(host) == true && error?.message.contains(message) == true)
    }

    @Test("takes a free port again after it stopped accepting, and keeps its connections")
    func stopAccepting() async throws {
        let server = try await EchoServer(.patient())
        let connection = try await Connection.open("127.0.0.1", server.listener.port)
        try await connection.send(kafkaRequest)
        #expect(try await connection.bytes(14) == kafkaRequest)
        await server.listener.stopAccepting()
        await #expect(throws: (any Error).self) {
            try await Connection.open("127.0.0.1", server.listener.port)
        }
        let second = try await EchoServer(.patient(port: server.listener.port))
        try await connection.send(kafkaRequest)
        #expect(try await connection.bytes(28).readableBytes == 28)
        await server.listener.drain(grace: .seconds(5))
        await second.listener.drain(grace: .seconds(5))
    }

    @Test("closes by force, at the end of the grace, whoever did not leave when told to")
    func drainByForce() async throws {
        let server = try await EchoServer(.patient(), closesOnDrain: false)
        let connection = try await Connection.open("127.0.0.1", server.listener.port)
        try await connection.send(kafkaRequest)
        _ = try await connection.bytes(14)
        await server.listener.drain(grace: .milliseconds(20))
        #expect(server.listener.connectionCount == 0)
        try await connection.closed()
    }

    @Test("tells who comes beyond the limit, and drops who comes far beyond it")
    func limit() async throws {
        var options = ListenerOptions.patient()
        options.limits.connectionsMax = 1
        options.limits.connectionsRefusedAtOnceMax = 1
        let server = try await EchoServer(options)
        let first = try await Connection.open("127.0.0.1", server.listener.port)
        try await first.send(kafkaRequest)
        _ = try await first.bytes(14)
        let second = try await Connection.open("127.0.0.1", server.listener.port)
        // The second one is counted as soon as the listener has accepted it; only then comes the
        // third.
        while server.listener.connectionCount < 2 { await Task.yield() }
        let third = try await Connection.open("127.0.0.1", server.listener.port)
        #expect(try await third.bytes(1).readableBytes == 0)
        try await second.send(ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n"))
        #expect(String(buffer: try await second.bytes(Int.max)).hasPrefix("HTTP/1.1 503"))
        #expect(server.listener.statistics.refused == 2)
        try await first.send(kafkaRequest)
        #expect(try await first.bytes(28).readableBytes == 28)
        await server.listener.drain(grace: .seconds(5))
    }

    @Test(
        "listens on IPv6, and on every address of both families",
        arguments: [
            ("::1", "::1", "::1"), ("*", "127.0.0.1", "127.0.0.1"), ("*", "::1", "::1"),
        ])
    func families(bind: String, connect: String, seen: String) async throws {
        let server = try await EchoServer(.patient(host: bind))
        let connection = try await Connection.open(connect, server.listener.port)
        try await connection.send(kafkaRequest)
        #expect(try await connection.bytes(14) == kafkaRequest)
        #expect(server.seen.first?.localHost == seen)
        #expect(server.seen.first?.remoteAddress == seen)
        await server.listener.drain(grace: .seconds(5))
    }

    @Test("lives through clients that send garbage or vanish")
    func garbage() async throws {
        let server = try await EchoServer(try tlsOptions())
        var random = SeededBytes(seed: 21)
        for index in 0..<40 {
            let connection = try await Connection.open("127.0.0.1", server.listener.port)
            var bytes = random.bytes(Int.random(in: 0...600, using: &random))
            // A third of them look like TLS at first.
            if index % 3 == 0 { bytes = [0x16, 0x03, 0x01, 0x00, 0xff, 0x01] + bytes }
            connection.channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
            connection.channel.close(promise: nil)
            try await connection.closed()
        }
        let good = try await Connection.open("127.0.0.1", server.listener.port)
        try await good.send(kafkaRequest)
        #expect(try await good.bytes(14) == kafkaRequest)
        await server.listener.drain(grace: .seconds(5))
        #expect(server.listener.connectionCount == 0)
    }
}
