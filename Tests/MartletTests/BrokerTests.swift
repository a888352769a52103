// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: a broker inside this process: its start, its pages, its end.

import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import Martlet

/// One HTTP exchange over a real connection. It runs on the event loop from end to end: the broker
/// waits for a request a limited time only, however long other tests keep every thread busy.
enum HTTPFetch {
    /// The whole answer to a GET of `path`; the connection is closed afterwards.
    static func get(_ path: String, from address: Address) async throws -> String {
        let group = MultiThreadedEventLoopGroup.singleton
        let answer = group.any().makePromise(of: String.self)
        do {
            _ = try await ClientBootstrap(group: group)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            Exchange(path: path, answer: answer))
                    }
                }
                .connect(host: address.host, port: address.port).get()
        } catch {
            answer.fail(error)
        }
        return try await answer.futureResult.get()
    }

    /// Asks when the connection is there, and hands over what came when it is closed.
    private final class Exchange: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let path: String
        private let answer: EventLoopPromise<String>
        private var text = ""

        init(path: String, answer: EventLoopPromise<String>) {
            self.path = path
            self.answer = answer
        }

        func channelActive(context: ChannelHandlerContext) {
            let request = "GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: request)), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            text += String(buffer: unwrapInboundIn(data))
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            answer.fail(error)
            context.close(promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) {
            answer.succeed(text)
        }
    }
}

@Suite struct BrokerTests {
    @Test func `A fixture answers on a port of its own and is gone after its shutdown`() async throws {
        let broker = try await Broker.start(.fixture)
        #expect(broker.address.host == "127.0.0.1")
        #expect(broker.address.port != 0)
        #expect(broker.dataDirectory == nil)
        #expect(try await HTTPFetch.get("/healthz", from: broker.address).hasSuffix("\r\n\r\nok\n"))
        try await broker.shutdown()
        await #expect(throws: (any Error).self) { try await HTTPFetch.get("/healthz", from: broker.address) }
    }

    @Test func `Many brokers live in one process without meeting`() async throws {
        let first = try await Broker.start(.fixture), second = try await Broker.start(.fixture)
        #expect(first.address != second.address)
        #expect(first.certificates != second.certificates)
        try await first.shutdown()
        #expect(try await HTTPFetch.get("/healthz", from: second.address).contains("200 OK"))
        try await second.shutdown()
    }

    @Test func `Readiness names the durability in force`() async throws {
        var configuration = Configuration.fixture
        configuration.durability = .disk
        let broker = try await Broker.start(configuration)
        let answer = try await HTTPFetch.get("/readyz", from: broker.address)
        #expect(answer.contains("200 OK"))
        #expect(answer.contains("\"ready\":true"))
        #expect(answer.contains("\"durability\":\"memory\""))
        try await broker.shutdown()
    }

    @Test func `Metrics tell about the process, its connections and its certificate`() async throws {
        let broker = try await Broker.start(.fixture)
        let answer = try await HTTPFetch.get("/metrics", from: broker.address)
        for name in [
            "process_resident_memory_bytes", "process_open_fds", "martlet_connections", "martlet_certificate_expiration_timestamp_seconds",
            "martlet_info",
        ] {
            #expect(answer.contains("\n\(name)"), "\(name)")
        }
        try await broker.shutdown()
    }

    @Test func `A fixture's certificates are its own and leave with it`() async throws {
        let broker = try await Broker.start(.fixture)
        let certificates = try #require(broker.certificates)
        for path in [certificates.authority, certificates.certificate, certificates.key] {
            #expect(try !TextFile.read(path, bytesMax: 100_000).isEmpty)
        }
        try await broker.shutdown()
        #expect(throws: TextFile.Failure.self) { try TextFile.read(certificates.key, bytesMax: 100_000) }
    }

    @Test func `The ready file is there exactly while the broker answers`() async throws {
        let path = "/tmp/martlet-ready-\(getpid())-\(UInt32.random(in: 0 ... .max)).json"
        // What a process that was killed leaves behind must not be taken for an answer.
        try TextFile.replace(path, with: "stale")
        var configuration = Configuration.fixture
        configuration.readyFile = path
        let broker = try await Broker.start(configuration)
        let certificates = try #require(broker.certificates)
        let text = String(decoding: try TextFile.read(path, bytesMax: 10_000), as: UTF8.self)
        #expect(
            text == "{\"pid\":\(getpid()),\"address\":\"\(broker.address)\",\"durability\":\"memory\",\"certs\":{"
                + "\"ca\":\"\(certificates.authority)\",\"cert\":\"\(certificates.certificate)\","
                + "\"key\":\"\(certificates.key)\"}}\n")
        try await broker.shutdown()
        #expect(throws: TextFile.Failure.self) { try TextFile.read(path, bytesMax: 10) }
    }

    @Test func `A ready file that cannot be written stops the start and frees the port`() async throws {
        var configuration = Configuration.fixture
        configuration.readyFile = "/nonexistent/ready.json"
        let error = await #expect(throws: BrokerError.self) { _ = try await Broker.start(configuration) }
        #expect(error?.description.hasPrefix("cannot write the ready file /nonexistent/ready.json: No such file") == true)
    }

    @Test func `A taken port is refused with the address and what to do`() async throws {
        let broker = try await Broker.start(.fixture)
        var configuration = Configuration.fixture
        configuration.port = broker.address.port
        let error = await #expect(throws: BrokerError.self) { _ = try await Broker.start(configuration) }
        let message = try #require(error).description
        #expect(message.contains("\(broker.address)"))
        #expect(message.contains("already in use"))
        try await broker.shutdown()
    }

    @Test func `Certificate files that cannot be used are refused by name`() async throws {
        var configuration = Configuration.fixture
        configuration.tls = .init(certificate: "/nonexistent/cert.pem", key: "/nonexistent/key.pem", authority: "/a.pem")
        let error = await #expect(throws: BrokerError.self) { _ = try await Broker.start(configuration) }
        #expect(error?.description.contains("/nonexistent/cert.pem") == true)
    }

    @Test func `Shutting down twice is shutting down once`() async throws {
        let broker = try await Broker.start(.fixture)
        async let first: Void = broker.shutdown()
        async let second: Void = broker.shutdown()
        _ = try await (first, second)
        try await broker.shutdown()
    }

    @Test func `Several listeners answer, and the first is the address`() async throws {
        var configuration = Configuration.fixture
        configuration.listen = [Address(host: "127.0.0.1", port: 0), Address(host: "127.0.0.1", port: 0)]
        let broker = try await Broker.start(configuration)
        #expect(broker.addresses.count == 2)
        #expect(broker.address == broker.addresses[0])
        for address in broker.addresses {
            #expect(try await HTTPFetch.get("/healthz", from: address).contains("200 OK"))
        }
        try await broker.shutdown()
    }
}
