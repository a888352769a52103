// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClientTests: questions to a server that does as it is told: answers, is slow, says too much, goes away.

import Engine
import Foundation
import NIOConcurrencyHelpers
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

@testable import PolicyClient

/// What the server does with a request.
private enum Reaction: Sendable {
    case reply(String)
    case replyAndClose(String)
    case status(Int)
    /// No answer at all.
    case silence
    case endlessBody
    /// Closes without a byte.
    case close
}

private final class PolicyServer: Sendable {
    let channel: any Channel
    let connections = NIOLockedValueBox(0)
    let requests = NIOLockedValueBox<[String]>([])
    /// What each request had in `authorization`.
    let tokens = NIOLockedValueBox<[String?]>([])
    let reactions: NIOLockedValueBox<[Reaction]>

    /// The last reaction is for all that come after it.
    init(_ reactions: [Reaction], unixPath: String? = nil) async throws {
        let box = NIOLockedValueBox(reactions)
        self.reactions = box
        let (connections, requests, tokens) = (connections, requests, tokens)
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).childChannelInitializer { channel in
            connections.withLockedValue { $0 += 1 }
            return channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: false)
                try channel.pipeline.syncOperations.addHandler(
                    ServerHandler(requests, tokens) { box.withLockedValue { $0.count > 1 ? $0.removeFirst() : $0[0] } })
            }
        }
        channel = if let unixPath {
            try await bootstrap.bind(unixDomainSocketPath: unixPath).get()
        } else {
            try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
        }
    }

    var port: Int { channel.localAddress?.port ?? 0 }
}

private final class ServerHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart
    private let requests: NIOLockedValueBox<[String]>
    private let tokens: NIOLockedValueBox<[String?]>
    private let react: () -> Reaction
    private var body = ""
    private var head: HTTPRequestHead?

    init(_ requests: NIOLockedValueBox<[String]>, _ tokens: NIOLockedValueBox<[String?]>, _ react: @escaping () -> Reaction) {
        self.requests = requests
        self.tokens = tokens
        self.react = react
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            tokens.withLockedValue { $0.append(head.headers.first(name: "authorization")) }
            body = ""
        case .body(let bytes): body += String(buffer: bytes)
        case .end:
            requests.withLockedValue { $0.append("\(head?.method.rawValue ?? "") \(head?.uri ?? "") \(body)") }
            answer(context, react())
        }
    }

    private func answer(_ context: ChannelHandlerContext, _ reaction: Reaction) {
        switch reaction {
        case .reply(let text): reply(context, .ok, text)
        case .replyAndClose(let text): reply(context, .ok, text, fields: ["connection": "close"])
        case .status(let code): reply(context, .init(statusCode: code), "{}")
        case .silence: break
        case .endlessBody:
            context.write(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok))), promise: nil)
            let text = ByteBuffer(string: String(repeating: " ", count: 50_000))
            for _ in 0..<4 { context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(text))), promise: nil) }
        case .close: context.close(promise: nil)
        }
    }

    private func reply(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ text: String, fields: HTTPHeaders = [:]) {
        var fields = fields
        fields.add(name: "content-length", value: "\(text.utf8.count)")
        context.write(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: fields))), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }
}

@Suite struct PolicyClientTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.next()
    /// Longer than any test has to wait for its turn.
    private let patience: Int64 = 1 << 20

    private func client(_ url: String, timeoutMs: Int64 = 20_000) throws -> PolicyClient {
        try PolicyClient(try #require(PolicyAddress(url)), timeoutMs: timeoutMs, idleSeconds: patience, on: loop)
    }

    private func client(_ server: PolicyServer, timeoutMs: Int64 = 20_000) throws -> PolicyClient {
        try client("http://127.0.0.1:\(server.port)/v1/data/allow", timeoutMs: timeoutMs)
    }

    @Test func aTokenIsShownFromTheNextQuestionOn() async throws {
        let server = try await PolicyServer([.reply("{\"result\":true}")])
        let client = try PolicyClient(
            try #require(PolicyAddress("http://127.0.0.1:\(server.port)/")), timeoutMs: 20_000, token: "first", idleSeconds: patience, on: loop)
        #expect(await ask(client) == .allowed)
        client.use(token: "second")
        #expect(await ask(client) == .allowed)
        #expect(server.tokens.withLockedValue { $0 } == ["Bearer first", "Bearer second"])
        #expect(server.connections.withLockedValue { $0 } == 1)
        let anonymous = try self.client(server)
        #expect(await ask(anonymous) == .allowed)
        #expect(server.tokens.withLockedValue { $0.last } == .some(nil))
        client.close()
        anonymous.close()
    }

    private func ask(_ client: PolicyClient, _ name: String = "t") async -> PolicyAnswer {
        let asker = AccessClient(principal: "User:a", host: "h", listener: "l", wire: "kafka", isTLS: false)
        return await withCheckedContinuation { continuation in
            client.ask(AccessQuestion(asker, .read, .topic, name)) { continuation.resume(returning: $0) }
        }
    }

    private func cause(_ answer: PolicyAnswer) -> String { if case .failed(let cause) = answer { cause } else { "\(answer)" } }

    @Test func questionsShareAConnectionThatIsKept() async throws {
        let server = try await PolicyServer([.reply(#"{"result":true}"#), .reply(#"{"result":false}"#)])
        let client = try client(server)
        #expect(await ask(client) == .allowed)
        #expect(await ask(client) == .denied)
        #expect(server.connections.withLockedValue { $0 } == 1)
        let first = server.requests.withLockedValue { $0[0] }
        #expect(first.hasPrefix(#"POST /v1/data/allow {"input":{"action":{"operation":"READ""#))
        client.close()
    }

    @Test func manyAtOnceUseAFewConnectionsAndAllAreAnswered() async throws {
        let server = try await PolicyServer([.reply(#"{"result":true}"#)])
        let client = try client(server)
        let allowed = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<500 { group.addTask { await ask(client, "\(index)") == .allowed } }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(allowed == 500)
        #expect((1...Limits.connections).contains(server.connections.withLockedValue { $0 }))
        #expect(Set(server.requests.withLockedValue { $0 }).count == 500)
        client.close()
    }

    /// The server closes connections between questions, as it may at any time.
    @Test func aConnectionThatWasClosedMeanwhileCostsASecondTry() async throws {
        let server = try await PolicyServer([.reply(#"{"result":true}"#), .close, .reply(#"{"result":true}"#)])
        let client = try client(server)
        #expect(await ask(client) == .allowed)
        #expect(await ask(client) == .allowed)
        #expect(server.connections.withLockedValue { $0 } == 2)
        client.close()
    }

    @Test func whoClosesEveryConnectionGivesNoDecision() async throws {
        let server = try await PolicyServer([.close])
        let client = try client(server)
        #expect(cause(await ask(client)).hasSuffix("closed before it answered"))
        client.close()
    }

    @Test func aConnectionMayEndWithItsAnswer() async throws {
        let server = try await PolicyServer([.replyAndClose(#"{"result":true}"#)])
        let client = try client(server)
        for _ in 0..<3 { #expect(await ask(client) == .allowed) }
        #expect(server.connections.withLockedValue { $0 } == 3)
        client.close()
    }

    @Test func silenceIsNoDecisionAndTheNextQuestionDoesNotGetALateAnswer() async throws {
        let server = try await PolicyServer([.silence, .reply(#"{"result":true}"#)])
        let client = try client(server, timeoutMs: 200)
        #expect(cause(await ask(client)).hasSuffix("did not answer in 200 ms"))
        #expect(await ask(client) == .allowed)
        #expect(server.connections.withLockedValue { $0 } == 2)
        client.close()
    }

    @Test func questionsThatWaitForAConnectionHaveTheSameTime() async throws {
        let server = try await PolicyServer([.silence])
        let client = try client(server, timeoutMs: 200)
        let failed = await withTaskGroup(of: Bool.self) { group in
            for index in 0..<50 { group.addTask { cause(await ask(client, "\(index)")).hasSuffix("in 200 ms") } }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(failed == 50)
        client.close()
    }

    @Test(arguments: [
        (Reaction.status(500), "status 500"), (.status(404), "status 404"), (.reply("no json"), "no JSON object"),
        (.reply(#"{"result":"yes"}"#), "neither true, false"), (.endlessBody, "larger than 65536 bytes"),
    ])
    private func whatIsNoAnswerIsNoDecision(reaction: Reaction, said: String) async throws {
        let server = try await PolicyServer([reaction])
        let client = try client(server)
        #expect(cause(await ask(client)).contains(said))
        client.close()
    }

    @Test func whereNobodyListensThereIsNoDecision() async throws {
        let server = try await PolicyServer([.silence])
        let port = server.port
        try await server.channel.close()
        let client = try client("http://127.0.0.1:\(port)/x")
        for _ in 0..<3 { #expect(cause(await ask(client)).hasSuffix("connection refused")) }
        client.close()
    }

    @Test func aServerWithoutTLSIsNoDecisionForHTTPS() async throws {
        let server = try await PolicyServer([.reply(#"{"result":true}"#)])
        let client = try client("https://127.0.0.1:\(server.port)/x")
        #expect(cause(await ask(client)).contains("cannot connect"))
        #expect(server.requests.withLockedValue { $0.isEmpty })
        client.close()
    }

    @Test func aSocketOfThisMachineIsAsked() async throws {
        let path = "/tmp/martlet-policy-\(UInt32.random(in: 0 ... .max)).sock"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let server = try await PolicyServer([.reply(#"{"result":true}"#)], unixPath: path)
        let client = try client("http://unix:\(path):/v1/data/allow")
        #expect(await ask(client) == .allowed)
        try await server.channel.close()
        client.close()
    }

    @Test func nothingIsAskedOnceItIsClosed() async throws {
        let server = try await PolicyServer([.silence])
        let client = try client(server)
        async let answer = ask(client)
        while server.requests.withLockedValue({ $0.isEmpty }) { await Task.yield() }
        client.close()
        #expect(cause(await answer) == "the broker is stopping")
        #expect(cause(await ask(client)) == "the broker is stopping")
    }
}
