// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServerTests: requests as bytes in, answers as bytes out, without a socket.

import Logging
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Synchronization
import Telemetry
import Testing
import Transport

@testable import HTTPServer

/// What was to be done off the event loop.
private final class Work: Sendable {
    private let waiting = Mutex<[@Sendable () -> Void]>([])

    func add(_ body: @escaping @Sendable () -> Void) { waiting.withLock { $0.append(body) } }

    func take() -> [@Sendable () -> Void] {
        waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
    }
}

/// One connection to the HTTP edge.
private final class Connection {
    let channel = EmbeddedChannel()
    let metrics = Metrics()
    private let work = Work()

    /// `defers`: pages that are built off the loop wait for `runWork`.
    init(
        _ readiness: Readiness = Readiness(durability: "disk"), defers: Bool = false, limits: HTTPLimits = HTTPLimits(),
        gate: HTTPGate? = nil
    ) throws {
        let server = HTTPServer(
            version: "1.2.3", metrics: metrics, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            limits: limits, gate: gate, readiness: { readiness },
            offload: { [work] body in if defers { work.add(body) } else { body() } })
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try server.configure(
            channel,
            ConnectionContext(
                id: 1, localHost: "127.0.0.1", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 5))
    }

    deinit {
        // What an error leaves behind has been looked at by then.
        _ = try? channel.finish(acceptAlreadyClosed: true)
    }

    func send(_ text: String) throws {
        try channel.writeInbound(ByteBuffer(string: text))
        channel.embeddedEventLoop.run()
    }

    func get(_ path: String, method: String = "GET", headers: String = "") throws -> String {
        try send("\(method) \(path) HTTP/1.1\r\nHost: x\r\n\(headers)\r\n")
        return try received()
    }

    func received() throws -> String {
        var text = ""
        while let part = try channel.readOutbound(as: IOData.self) {
            if case .byteBuffer(let bytes) = part { text += String(buffer: bytes) }
        }
        return text
    }

    func runWork() {
        for body in work.take() { body() }
        channel.embeddedEventLoop.run()
    }

    var isOpen: Bool { channel.isActive }
}

@Suite struct HTTPServerTests {
    @Test func `A living process says so`() throws {
        let answer = try Connection().get("/healthz")
        #expect(
            answer == """
                HTTP/1.1 200 OK\r
                content-type: text/plain; charset=utf-8\r
                content-length: 3\r
                cache-control: no-store\r
                x-content-type-options: nosniff\r
                \r
                ok

                """)
    }

    @Test func `A ready broker tells its durability, its disk and its certificate`() throws {
        var readiness = Readiness(durability: "disk")
        readiness.diskAvailableBytes = 1 << 40
        readiness.certificateExpiresMs = 1_763_695_925_042
        readiness.certificates = [.init(kind: "ca", subject: "CN=x", expiresMs: 1_763_695_925_042)]
        readiness.warnings = ["the certificate expires in 40 hours"]
        let answer = try Connection(readiness).get("/readyz?verbose")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"))
        #expect(
            answer.hasSuffix(
                "\r\n\r\n{\"ready\":true,\"version\":\"1.2.3\",\"durability\":\"disk\",\"problems\":[],"
                    + "\"warnings\":[\"the certificate expires in 40 hours\"],\"failedLogs\":[],"
                    + "\"diskAvailableBytes\":1099511627776,\"certificateExpires\":\"2025-11-21T03:32:05.042Z\","
                    + "\"certificates\":[{\"kind\":\"ca\",\"subject\":\"CN=x\",\"expires\":\"2025-11-21T03:32:05.042Z\"}],\"time\":null}\n"))
    }

    @Test func `A failed log or a problem makes a broker not ready, with the reason`() throws {
        var failed = Readiness(durability: "disk")
        failed.failedLogs = [.init(name: "orders-0", reason: "sync of \"x\" failed: EIO")]
        let answer = try Connection(failed).get("/readyz")
        #expect(answer.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
        #expect(answer.contains("\"failedLogs\":[{\"log\":\"orders-0\",\"reason\":\"sync of \\\"x\\\" failed: EIO\"}]"))
        var draining = Readiness(durability: "memory")
        draining.problems = ["the broker is stopping"]
        #expect(try Connection(draining).get("/readyz").contains("503"))
    }

    @Test func `Metrics are in the exposition format and count the requests`() throws {
        let connection = try Connection()
        _ = try connection.get("/healthz")
        let answer = try connection.get("/metrics")
        #expect(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"))
        #expect(answer.contains("martlet_http_requests_total{page=\"/healthz\",status=\"200\"} 1\n"))
    }

    @Test(arguments: ["GET /metrics", "GET /metrics?x", "HEAD /metrics", "POST /metrics"])
    func `Metrics are for those whom the gate lets in, and nothing is told before`(line: String) throws {
        let refusal = HTTPLoginRefusal(message: "say who you are", challenges: ["Basic realm=\"x\"", "Bearer realm=\"x\""])
        let connection = try Connection { authorization, _, loop, completion in
            loop.execute { completion(authorization == "Basic right" ? nil : refusal) }
        }
        let parts = line.split(separator: " ").map(String.init)
        let refused = try connection.get(parts[1], method: parts[0])
        #expect(refused.hasPrefix("HTTP/1.1 401 Unauthorized\r\n"))
        #expect(refused.contains("www-authenticate: Basic realm=\"x\"\r\nwww-authenticate: Bearer realm=\"x\"\r\n"))
        #expect(!refused.contains("martlet_"))
        // The connection goes on.
        let shown = try connection.get(parts[1], method: parts[0], headers: "Authorization: Basic right\r\n")
        #expect(shown.hasPrefix(parts[0] == "POST" ? "HTTP/1.1 405" : "HTTP/1.1 200 OK\r\n"))
        for page in ["/", "/healthz", "/readyz"] { #expect(try connection.get(page).hasPrefix("HTTP/1.1 200 OK\r\n")) }
    }

    @Test func `A page that the gate lets somebody read when its connection has gone is dropped`() throws {
        let completions = Mutex<[@Sendable (HTTPLoginRefusal?) -> Void]>([])
        let connection = try Connection { _, _, _, completion in completions.withLock { $0.append(completion) } }
        #expect(try connection.get("/metrics") == "")
        try connection.channel.close().wait()
        for completion in completions.withLock({ $0 }) { completion(nil) }
        #expect(try connection.received() == "")
    }

    @Test func `The index names the pages`() throws {
        let answer = try Connection().get("/")
        for page in ["/healthz", "/readyz", "/metrics", "1.2.3"] { #expect(answer.contains(page)) }
    }

    @Test(arguments: ["/nope", "/metrics/", "//", "*"])
    func `An unknown path is answered with where to look`(path: String) throws {
        let connection = try Connection()
        let answer = try connection.get(path)
        #expect(answer.hasPrefix("HTTP/1.1 404 Not Found\r\n"))
        #expect(answer.contains("/ lists them all"))
        #expect(connection.isOpen)
    }

    @Test(arguments: ["POST", "DELETE", "PUT", "OPTIONS"])
    func `Pages can only be read`(method: String) throws {
        let answer = try Connection().get("/healthz", method: method)
        #expect(answer.hasPrefix("HTTP/1.1 405 Method Not Allowed\r\n"))
        #expect(answer.contains("allow: GET, HEAD\r\n"))
    }

    @Test func `HEAD has the headers of GET and no body`() throws {
        let connection = try Connection()
        let head = try connection.get("/healthz", method: "HEAD")
        let get = try connection.get("/healthz")
        #expect(get == head + "ok\n")
    }

    @Test func `A connection is kept for the next request unless the client wants otherwise`() throws {
        let connection = try Connection()
        _ = try connection.get("/healthz")
        #expect(connection.isOpen)
        let last = try connection.get("/healthz", headers: "Connection: close\r\n")
        #expect(last.contains("connection: close\r\n"))
        #expect(!connection.isOpen)
    }

    @Test func `HTTP 1.0 closes unless asked to stay`() throws {
        let closing = try Connection()
        try closing.send("GET /healthz HTTP/1.0\r\n\r\n")
        #expect(try closing.received().contains("connection: close"))
        #expect(!closing.isOpen)
        let staying = try Connection()
        try staying.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        #expect(try staying.received().contains("connection: keep-alive"))
        #expect(staying.isOpen)
    }

    @Test func `Requests sent together are answered in their order`() throws {
        let connection = try Connection(defers: true)
        try connection.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try connection.received().isEmpty)
        connection.runWork()
        let answers = try connection.received()
        let metrics = try #require(answers.firstRange(of: "version=0.0.4"))
        let alive = try #require(answers.firstRange(of: "\r\n\r\nok\n"))
        #expect(metrics.lowerBound < alive.lowerBound)
    }

    @Test func `Answers wait while the peer takes none, and not for ever`() throws {
        let connection = try Connection()
        connection.channel.isWritable = false
        try connection.send(String(repeating: "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", count: 3))
        #expect(try connection.received().isEmpty)
        connection.channel.isWritable = true
        connection.channel.pipeline.fireChannelWritabilityChanged()
        connection.channel.embeddedEventLoop.run()
        #expect(try connection.received().split(separator: "HTTP/1.1 200 OK").count == 3)
        connection.channel.isWritable = false
        connection.channel.pipeline.fireChannelWritabilityChanged()
        try connection.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(connection.isOpen)
        connection.channel.embeddedEventLoop.advanceTime(by: HTTPLimits().requestTimeout)
        #expect(!connection.isOpen)
    }

    @Test func `A page that is ready after its connection has gone is dropped`() throws {
        let connection = try Connection(defers: true)
        try connection.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.channel.close(promise: nil)
        connection.runWork()
        #expect(try connection.received().isEmpty)
    }

    @Test func `A small body is ignored, a large one is refused`() throws {
        let connection = try Connection()
        try connection.send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        #expect(try connection.received().hasPrefix("HTTP/1.1 200 OK"))
        let length = HTTPLimits().bodyBytesMax + 1
        try connection.send(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: \(length * 10)\r\n\r\n"
                + String(repeating: "x", count: length))
        #expect(try connection.received().hasPrefix("HTTP/1.1 413 "))
        #expect(!connection.isOpen)
    }

    @Test(arguments: [
        "GET /healthz HTTP/9.9\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: \(String(repeating: "x", count: 9000))\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\(String(repeating: "A: b\r\n", count: 200))\r\n",
        "GET /\(String(repeating: "x", count: 40_000)) HTTP/1.1\r\n\r\n",
    ])
    func `What is not HTTP, or too much of it, is refused readably and ends the connection`(bytes: String) throws {
        let connection = try Connection()
        // The decoder reports the error down the pipeline, where it was dealt with, and to the test.
        try? connection.send(bytes)
        connection.channel.embeddedEventLoop.run()
        let answer = try connection.received()
        #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
        #expect(answer.contains("connection: close\r\n"))
        #expect(answer.contains("The request is not HTTP/1.1 as it should be"))
        #expect(!connection.isOpen)
    }

    @Test func `A connection that sends nothing is closed`() throws {
        let connection = try Connection()
        connection.channel.embeddedEventLoop.advanceTime(by: HTTPLimits().firstRequestTimeout - .nanoseconds(1))
        #expect(connection.isOpen)
        connection.channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
        #expect(!connection.isOpen)
    }

    @Test func `A request that dawdles is answered and its connection closed`() throws {
        let connection = try Connection()
        try connection.send("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        connection.channel.embeddedEventLoop.advanceTime(by: HTTPLimits().firstRequestTimeout)
        #expect(try connection.received().hasPrefix("HTTP/1.1 408 Request Timeout\r\n"))
        #expect(!connection.isOpen)
    }

    @Test func `An idle connection is closed after a while, an active one is not`() throws {
        let connection = try Connection()
        for _ in 0..<3 {
            _ = try connection.get("/healthz")
            connection.channel.embeddedEventLoop.advanceTime(by: HTTPLimits().requestTimeout - .seconds(1))
            #expect(connection.isOpen)
        }
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!connection.isOpen)
    }

    @Test func `A shorter idle time is heeded, and leaves a request that has begun its own`() throws {
        let connection = try Connection(limits: HTTPLimits(idleTimeout: .seconds(5)))
        _ = try connection.get("/healthz")
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(4))
        try connection.send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(30))
        #expect(connection.isOpen)
        try connection.send("x")
        #expect(try connection.received().hasPrefix("HTTP/1.1 200 OK"))
        connection.channel.embeddedEventLoop.advanceTime(by: .seconds(5))
        #expect(!connection.isOpen)
        #expect(HTTPLimits(idleTimeout: .hours(1)).idleTimeout == HTTPLimits().requestTimeout)
    }

    @Test func `Draining closes an idle connection at once and a busy one after its answer`() throws {
        let event = DrainEvent(deadline: .now() + .seconds(5))
        let idle = try Connection()
        idle.channel.pipeline.fireUserInboundEventTriggered(event)
        #expect(!idle.isOpen)
        let busy = try Connection(defers: true)
        try busy.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        busy.channel.pipeline.fireUserInboundEventTriggered(event)
        #expect(busy.isOpen)
        busy.runWork()
        #expect(try busy.received().contains("connection: close\r\n"))
        #expect(!busy.isOpen)
    }
}
