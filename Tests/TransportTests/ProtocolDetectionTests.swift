// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: what becomes of a new connection, by its first bytes and the rules.

import Foundation
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Transport

/// Notes which edge was given a connection, and what it then received.
private final class Edges: Sendable {
    struct Seen: Sendable {
        var wire: WireProtocol
        var context: ConnectionContext
    }

    private let seen = Mutex<[Seen]>([])
    var handed: [Seen] { seen.withLock { $0 } }

    var handlers: ProtocolHandlers {
        ProtocolHandlers(
            kafka: configure(.kafka), http2: configure(.http2), http1: configure(.http1))
    }

    private func configure(_ wire: WireProtocol) -> ProtocolHandlers.Configure {
        { channel, context in
            self.seen.withLock { $0.append(Seen(wire: wire, context: context)) }
            try channel.pipeline.syncOperations.addHandler(Recorder())
        }
    }
}

/// A fresh connection in memory.
private struct Fresh {
    let edges = Edges()
    let log = LogCapture()
    let counters = ListenerCounters()
    let channel = EmbeddedChannel()
    let spy = OutboundSpy()

    init(
        remote: String = "127.0.0.1", isOverLimit: Bool = false, handlers: ProtocolHandlers? = nil,
        _ change: (inout ListenerOptions) -> Void = { _ in }
    ) throws {
        var options = ListenerOptions(name: "main")
        change(&options)
        let rules = DetectionRules(
            options: options, handlers: handlers ?? edges.handlers, counters: counters,
            logger: log.logger)
        let connection = ConnectionContext(
            id: 7, localHost: "10.0.0.1", localPort: 9092, remoteAddress: remote, remotePort: 4711,
            listenerName: options.name)
        let handler = ProtocolDetectionHandler(
            rules: rules, connection: connection,
            refusal: isOverLimit ? .tooManyConnections(max: options.limits.connectionsMax) : nil)
        try channel.pipeline.syncOperations.addHandlers([spy, handler])
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 9092), promise: nil)
    }

    func send(_ bytes: some Sequence<UInt8>) {
        channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
        channel.pipeline.fireChannelReadComplete()
    }

    func answer() throws -> String? {
        try channel.readOutbound(as: ByteBuffer.self).map { String(buffer: $0) }
    }

    var recorder: Recorder? {
        try? channel.pipeline.syncOperations.handler(type: Recorder.self)
    }

    var isDetecting: Bool {
        (try? channel.pipeline.syncOperations.handler(type: ProtocolDetectionHandler.self)) != nil
    }
}

private let kafkaBytes: [UInt8] = [0, 0, 0, 0x2b, 0, 18, 0, 3, 0, 0, 0, 1, 0, 4]
private let http1Bytes = Array("GET /metrics HTTP/1.1\r\n".utf8)
private let http2Bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
private let tlsBytes: [UInt8] = [0x16, 0x03, 0x01, 0x00, 0x05, 1, 0, 0, 1, 0]

@Suite("A new plaintext connection")
struct PlaintextDetectionTests {
    static let protocols: [([UInt8], WireProtocol)] = [
        (kafkaBytes, .kafka), (http1Bytes, .http1), (http2Bytes, .http2),
    ]

    @Test(
        "goes to the edge of its protocol with every byte it sent, and leaves nothing behind",
        arguments: protocols, [1, 3, 100])
    func handOver(of protocolBytes: ([UInt8], WireProtocol), step: Int) throws {
        let (bytes, wire) = protocolBytes
        let fresh = try Fresh()
        for start in stride(from: 0, to: bytes.count, by: step) {
            fresh.send(bytes[start..<min(start + step, bytes.count)])
        }
        let handed = try #require(fresh.edges.handed.first)
        #expect(fresh.edges.handed.count == 1)
        #expect(handed.wire == wire)
        #expect(handed.context.principal == "User:ANONYMOUS")
        #expect(handed.context.localHost == "10.0.0.1" && !handed.context.isTLS)
        #expect(fresh.recorder.map { Array(buffer: $0.received) } == bytes)
        #expect(!fresh.isDetecting)
        // The detection's timer is gone with it.
        fresh.channel.embeddedEventLoop.advanceTime(by: .hours(1))
        #expect(fresh.channel.isActive)
    }

    static let remotes: [(String, PlaintextPolicy, Bool)] = [
        ("127.0.0.1", .loopbackOnly, true), ("127.8.9.1", .loopbackOnly, true),
        ("::1", .loopbackOnly, true), ("10.0.0.9", .loopbackOnly, false),
        ("fe80::1", .loopbackOnly, false), ("1270.0.0.1", .loopbackOnly, false),
        ("10.0.0.9", .allowed, true), ("127.0.0.1", .off, false),
    ]

    @Test("is let in by the listener's rule for its address", arguments: remotes)
    func policy(remote: String, policy: PlaintextPolicy, isAllowed: Bool) throws {
        let fresh = try Fresh(remote: remote) { $0.plaintext = policy }
        fresh.send(kafkaBytes)
        #expect(fresh.edges.handed.isEmpty == !isAllowed)
        #expect(fresh.log.contains("refused a plaintext Kafka client") == !isAllowed)
    }

    @Test("of HTTP/1.1 from elsewhere is answered with 403 and the reason")
    func http1Refusal() throws {
        let fresh = try Fresh(remote: "10.0.0.9")
        fresh.send(http1Bytes)
        let answer = try #require(try fresh.answer())
        #expect(answer.hasPrefix("HTTP/1.1 403 Forbidden\r\n"))
        let parts = answer.components(separatedBy: "\r\n\r\n")
        #expect(parts.count == 2 && parts[0].contains("content-length: \(parts[1].utf8.count)"))
        #expect(parts[1].contains("plaintext from the loopback address only"))
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!fresh.channel.isActive)
        #expect(fresh.counters.snapshot.refused == 1)
    }

    @Test("of HTTP/2 from elsewhere is answered with SETTINGS and a GOAWAY that says why")
    func http2Refusal() throws {
        let fresh = try Fresh(remote: "10.0.0.9")
        fresh.send(http2Bytes)
        var frames = try #require(try fresh.channel.readOutbound(as: ByteBuffer.self))
        #expect(frames.readBytes(length: 9) == [0, 0, 0, 4, 0, 0, 0, 0, 0])
        #expect(frames.readInteger(as: UInt8.self) == 0)
        let length = frames.readInteger(as: UInt16.self)
        #expect(frames.readBytes(length: 6) == [7, 0, 0, 0, 0, 0])
        #expect(frames.readableBytes == length.map(Int.init))
        #expect(frames.readInteger(as: UInt32.self) == 0)
        // INADEQUATE_SECURITY
        #expect(frames.readInteger(as: UInt32.self) == 0x0c)
        #expect(String(buffer: frames).contains("connect with TLS"))
    }

    @Test("of TLS to a listener without certificates is answered with a fatal alert")
    func tlsRefusal() throws {
        let fresh = try Fresh()
        fresh.send(tlsBytes)
        let alert = try #require(try fresh.channel.readOutbound(as: ByteBuffer.self))
        #expect(Array(buffer: alert) == [0x15, 3, 3, 0, 2, 2, 40])
        #expect(fresh.log.contains("refused a TLS client: this listener has no certificates"))
    }

    @Test(
        "beyond the limit is told so in its own protocol",
        arguments: [
            (http1Bytes, "503 Service Unavailable"), (http2Bytes, "already has 10000 connections"),
            (tlsBytes, "\u{15}"),
        ])
    func overLimit(bytes: [UInt8], answer: String) throws {
        let fresh = try Fresh(isOverLimit: true)
        fresh.send(bytes)
        #expect(try fresh.answer()?.contains(answer) == true)
        #expect(fresh.edges.handed.isEmpty)
        #expect(fresh.log.contains("raise max.connections"))
    }

    @Test("with unknown bytes is closed, and the log says which")
    func unknown() throws {
        let fresh = try Fresh()
        fresh.send(Array("SSH-2.0-OpenSSH".utf8))
        #expect(!fresh.channel.isActive)
        #expect(fresh.log.contains("warning: closed: an SSH client on a port for Kafka"))
    }

    @Test("that says too little for ten seconds is closed", arguments: [0, 1, 5])
    func timeout(count: Int) throws {
        let fresh = try Fresh()
        fresh.send(kafkaBytes.prefix(count))
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        #expect(fresh.channel.isActive)
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!fresh.channel.isActive)
        #expect(fresh.log.contains("sent \(count) bytes in 10 s"))
    }

    @Test("is closed when the broker drains before it has shown a protocol")
    func drain() throws {
        let fresh = try Fresh()
        fresh.channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: .now()))
        #expect(!fresh.channel.isActive)
    }

    @Test("is closed when its edge cannot take it")
    func edgeFails() throws {
        let failing: ProtocolHandlers.Configure = { _, _ in throw ChannelError.inputClosed }
        let fresh = try Fresh(
            handlers: ProtocolHandlers(kafka: failing, http2: failing, http1: failing))
        fresh.send(kafkaBytes)
        #expect(!fresh.channel.isActive)
        #expect(fresh.log.contains("error: cannot serve Kafka"))
    }

    @Test(
        "of any random bytes ends in an edge or closed, and what is held stays small",
        arguments: 0..<200)
    func random(seed: Int) throws {
        var random = SeededBytes(seed: UInt64(seed))
        let fresh = try Fresh()
        for _ in 0..<8 where fresh.channel.isActive && fresh.isDetecting {
            fresh.send(random.bytes(Int.random(in: 1...4, using: &random)))
        }
        #expect(
            fresh.edges.handed.count == 1 || !fresh.channel.isActive || !fresh.log.lines.isEmpty)
        #expect(!fresh.isDetecting || !fresh.channel.isActive || !fresh.spy.closes.isEmpty)
    }
}

@Suite("A new TLS connection")
struct TLSDetectionTests {
    let authority = TestAuthority.shared

    /// A client's channel and a fresh connection, joined by hand.
    private func connect(
        _ context: TLSContext, authentication: ClientAuthentication = .required, first: [UInt8] = [],
        _ change: (inout ListenerOptions) -> Void = { _ in }
    ) throws -> (client: Side, fresh: Fresh) {
        let store = TLSContextStore(try authority.serverContext())
        let fresh = try Fresh(remote: "10.0.0.9") {
            $0.tls = store
            $0.clientAuthentication = authentication
            change(&$0)
        }
        let client = try Side(TLSHandler.client(context: context, host: "broker.example"))
        if !first.isEmpty { client.channel.writeAndFlush(ByteBuffer(bytes: first), promise: nil) }
        try client.activate()
        try exchange(client, fresh)
        return (client, fresh)
    }

    private func exchange(_ client: Side, _ fresh: Fresh) throws {
        var isMoving = true
        while isMoving {
            isMoving = false
            if let bytes = try client.channel.readOutbound(as: ByteBuffer.self) {
                fresh.send(Array(buffer: bytes))
                isMoving = true
            }
            if let bytes = try fresh.channel.readOutbound(as: ByteBuffer.self),
                client.channel.isActive
            {
                client.channel.pipeline.fireChannelRead(bytes)
                isMoving = true
            }
        }
    }

    @Test(
        "goes by ALPN, before it has sent a byte",
        arguments: [
            ("h2", WireProtocol.http2), ("http/1.1", .http1),
        ])
    func applicationProtocol(offered: String, wire: WireProtocol) throws {
        let (client, fresh) = try connect(authority.clientContext([offered]))
        let handed = try #require(fresh.edges.handed.first)
        #expect(handed.wire == wire)
        #expect(handed.context.isTLS)
        #expect(handed.context.principal == "User:CN=client")
        #expect(handed.context.serverName == "broker.example")
        #expect(handed.context.localHost == "broker.example")
        #expect(!fresh.isDetecting)
        client.write("hello")
        try exchange(client, fresh)
        #expect(fresh.recorder.map { String(buffer: $0.received) } == "hello")
        #expect(fresh.counters.snapshot.handshakes == 1)
    }

    @Test(
        "without ALPN goes by its first bytes",
        arguments: [
            (kafkaBytes, WireProtocol.kafka), (http1Bytes, .http1),
        ])
    func sniffed(bytes: [UInt8], wire: WireProtocol) throws {
        let (_, fresh) = try connect(authority.clientContext(), first: bytes)
        #expect(fresh.edges.handed.first?.wire == wire)
        #expect(fresh.recorder.map { Array(buffer: $0.received) } == bytes)
        #expect(!fresh.isDetecting)
    }

    @Test("without ALPN may not speak HTTP/2, and is told so")
    func http2WithoutALPN() throws {
        let (client, fresh) = try connect(authority.clientContext(), first: http2Bytes)
        #expect(fresh.edges.handed.isEmpty)
        #expect(fresh.log.contains("HTTP/2 client: HTTP/2 over TLS is agreed upon by ALPN"))
        #expect(String(buffer: client.recorder.received).contains("ALPN"))
        #expect(fresh.counters.snapshot.refused == 1)
    }

    @Test(
        "with unknown bytes inside is closed with close_notify",
        arguments: [
            Array("SSH-2.0-OpenSSH".utf8), tlsBytes,
        ])
    func unknown(bytes: [UInt8]) throws {
        let (client, fresh) = try connect(authority.clientContext(), first: bytes)
        #expect(fresh.edges.handed.isEmpty)
        #expect(!fresh.channel.isActive && !client.channel.isActive)
        #expect(client.recorder.errors.isEmpty)
        #expect(fresh.log.contains("inside TLS"))
    }

    @Test("without a certificate is refused with an alert, a log line and a count")
    func missingCertificate() throws {
        let (client, fresh) = try connect(
            authority.clientContext(hasCertificate: false), first: kafkaBytes)
        #expect(fresh.edges.handed.isEmpty)
        #expect(fresh.log.contains("warning: TLS handshake failed: client sent no certificate"))
        #expect(client.recorder.tlsError?.message.contains("certificate required") == true)
        #expect(fresh.counters.snapshot.handshakesFailed == 1)
    }

    @Test("with a certificate that names nobody is a failed login, said once, and is refused")
    func unnamed() throws {
        let failures = Mutex<[String]>([])
        let (_, fresh) = try connect(authority.clientContext(), first: kafkaBytes) { options in
            options.principal = { _ in .failure(NoPrincipal("no rule matches")) }
            options.onFailedLogin = { connection, cause in
                failures.withLock { $0.append("\(connection.principal) \(connection.remoteAddress): \(cause)") }
            }
        }
        #expect(fresh.edges.handed.isEmpty)
        #expect(fresh.log.contains("refused a Kafka client: client certificate (CN=client) names nobody here: no rule matches"))
        #expect(
            failures.withLock { $0 }
                == ["User:ANONYMOUS 10.0.0.9: client certificate (CN=client) names nobody here: no rule matches"])
    }

    @Test("without a certificate is anonymous where none is required")
    func anonymous() throws {
        let (_, fresh) = try connect(
            authority.clientContext(hasCertificate: false), authentication: .none, first: kafkaBytes
        )
        #expect(fresh.edges.handed.first?.context.principal == "User:ANONYMOUS")
        #expect(fresh.edges.handed.first?.context.isTLS == true)
    }

    @Test("that ends its handshake and then says nothing is closed after ten seconds")
    func timeout() throws {
        let (_, fresh) = try connect(authority.clientContext())
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(!fresh.channel.isActive)
        #expect(fresh.log.contains("sent 0 bytes in 10 s"))
    }

    @Test("that stops within its handshake is closed after ten seconds")
    func handshakeTimeout() throws {
        let store = TLSContextStore(try authority.serverContext())
        let fresh = try Fresh { $0.tls = store }
        fresh.send([0x16, 0x03, 0x01])
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(fresh.log.contains("TLS handshake not over after 10 s"))
        fresh.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!fresh.channel.isActive)
    }

    @Test("uses the certificates in force when it begins")
    func reload() throws {
        let store = TLSContextStore(try authority.serverContext())
        let other = TestAuthority()
        store.replace(with: try other.serverContext())
        let fresh = try Fresh { $0.tls = store }
        let client = try Side(
            TLSHandler.client(context: other.clientContext(["h2"]), host: "localhost"))
        try client.activate()
        try exchange(client, fresh)
        #expect(fresh.edges.handed.first?.wire == .http2)
    }
}
