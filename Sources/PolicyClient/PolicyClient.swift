// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClient: asks an external policy over HTTP, on a few connections that are kept.
//
//   question -> waits for a connection -> asked -> answered | failed | timed out
//
// Its state is confined to one event loop, which is not of its choice: questions come from any thread. Time runs from the
// question, so waiting for a connection counts. A kept connection that turns out to be closed costs a second try, once.

import Engine
import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import Transport

package final class PolicyClient: PolicySource, @unchecked Sendable {
    // Unchecked: everything mutable is used on `loop` only.
    private let address: PolicyAddress
    private let timeoutMs: Int64
    private let loop: any EventLoop
    /// nil: https is not spoken.
    private var tls: TLSContext?
    /// Connections of before the authorities changed are used up, not kept.
    private var trustNumber = 0
    private var waiting: [Int: Pending] = [:]
    /// Numbers of those that wait, in order, and of some that do not any more.
    private var order = CircularBuffer<Int>()
    private var number = 0
    private let idleSeconds: Int64
    private var isServing = false
    private var idle: [(connection: PolicyConnection, sinceNs: UInt64)] = []
    /// Idle, at work, or being made.
    private var connections = 0
    private var isClosed = false
    /// The header that says who asks; nil: none does.
    private var authorization: String?

    private struct Pending {
        var input: String
        var completion: @Sendable (PolicyAnswer) -> Void
        var timer: Scheduled<Void>
        var isAsked = false
        var wasRetried = false
        var connection: PolicyConnection?
    }

    /// `authorityFile`: whom the policy's certificate is checked against, for https; nil: the machine's CAs. `token`: what it
    /// is shown (RFC 6750). `idleSeconds`: after which a connection that nobody used is closed.
    package init(
        _ address: PolicyAddress, timeoutMs: Int64, authorityFile: String? = nil, token: String? = nil,
        idleSeconds: Int64 = Limits.idleSeconds, on loop: any EventLoop
    ) throws(TransportError) {
        self.idleSeconds = idleSeconds
        self.address = address
        self.timeoutMs = timeoutMs
        self.loop = loop
        authorization = token.map { "Bearer \($0)" }
        tls = address.isTLS ? try Self.context(authorityFile) : nil
    }

    private static func context(_ authorityFile: String?) throws(TransportError) -> TLSContext {
        try TLSContext.client(
            TLSOptions(authorityFile: authorityFile, minimumVersion: .tls12, applicationProtocols: ["http/1.1"]))
    }

    package func ask(_ question: AccessQuestion, completion: @escaping @Sendable (PolicyAnswer) -> Void) {
        let input = PolicyDocument.input(question)
        loop.execute { self.enqueue(input, completion) }
    }

    /// Shows another token with the questions to come.
    package func use(token: String) {
        loop.execute { self.authorization = "Bearer \(token)" }
    }

    /// Checks the policy's certificate against what the file has now, for all questions to come. Throws if that is no use.
    package func use(authorityFile: String) throws(TransportError) {
        guard address.isTLS else { return }
        let new = try Self.context(authorityFile)
        loop.execute {
            self.tls = new
            self.trustNumber += 1
            let idle = self.idle
            self.idle = []
            for (connection, _) in idle { connection.close() }
        }
    }

    /// Closes what is open; questions fail from now on.
    package func close() {
        loop.execute {
            self.isClosed = true
            for (connection, _) in self.idle { connection.close() }
            self.idle = []
            for number in self.waiting.keys { self.finish(number, .failed("the broker is stopping")) }
        }
    }

    // MARK: On the loop

    private func enqueue(_ input: String, _ completion: @escaping @Sendable (PolicyAnswer) -> Void) {
        guard !isClosed else { return completion(.failed("the broker is stopping")) }
        number += 1
        let own = number
        let timer = loop.scheduleTask(in: .milliseconds(timeoutMs)) {
            self.finish(own, .failed("\(self.address) did not answer in \(self.timeoutMs) ms"))
        }
        waiting[own] = Pending(input: input, completion: completion, timer: timer)
        order.append(own)
        serve()
    }

    private func finish(_ number: Int, _ answer: PolicyAnswer) {
        guard let pending = waiting.removeValue(forKey: number) else { return }
        pending.timer.cancel()
        // It still is to answer, and the next question must not get that.
        pending.connection?.close()
        pending.completion(answer)
    }

    /// Gives questions to connections as long as there are both.
    private func serve() {
        // Closing a connection that grew old in the middle of this comes back here.
        guard !isServing else { return }
        isServing = true
        defer { isServing = false }
        while let next = order.first {
            guard let pending = waiting[next], !pending.isAsked else {
                order.removeFirst()
                continue
            }
            guard let connection = takeIdle() else {
                if connections < Limits.connections { connect() }
                // A socket of this machine may be connected at once.
                if idle.isEmpty { return }
                continue
            }
            order.removeFirst()
            ask(next, on: connection)
        }
    }

    private func takeIdle() -> PolicyConnection? {
        let nowNs = loop.now.uptimeNanoseconds
        // The one used last, so that those which are not needed grow old.
        while let (connection, sinceNs) = idle.popLast() {
            if nowNs < sinceNs + UInt64(idleSeconds) * 1_000_000_000 { return connection }
            connection.close()
        }
        return nil
    }

    private func ask(_ number: Int, on connection: PolicyConnection) {
        let isOld = connection.questions > 0
        waiting[number]?.isAsked = true
        waiting[number]?.connection = connection
        guard let input = waiting[number]?.input else { return }
        connection.send(input, authorization: authorization) { outcome in
            self.waiting[number]?.connection = nil
            switch outcome {
            case .answer(let answer): self.finish(number, self.worded(answer))
            case .unanswered(let cause):
                guard isOld, self.waiting[number]?.wasRetried == false else {
                    return self.finish(number, self.worded(.failed(cause)))
                }
                self.waiting[number]?.wasRetried = true
                self.waiting[number]?.isAsked = false
                self.order.prepend(number)
            }
            self.serve()
        }
    }

    private func worded(_ answer: PolicyAnswer) -> PolicyAnswer {
        if case .failed(let cause) = answer { .failed("\(address): \(cause)") } else { answer }
    }

    // MARK: Connections

    private func connect() {
        connections += 1
        connected.whenFailure { error in
            self.connections -= 1
            self.unreachable(Self.words(error))
        }
    }

    private var connected: EventLoopFuture<any Channel> {
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(.milliseconds(timeoutMs))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.configure(channel) }
            }
        switch address.place {
        case .host(let host, let port): return bootstrap.connect(host: host, port: port)
        case .socket(let path): return bootstrap.connect(unixDomainSocketPath: path)
        }
    }

    private func configure(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        if let tls, case .host(let host, _) = address.place {
            try pipeline.addHandler(TLSHandler.client(context: tls, host: host))
        }
        try pipeline.addHTTPClientHandlers(leftOverBytesStrategy: .dropBytes)
        try pipeline.addHandler(
            PolicyConnection(address, trustNumber: trustNumber, onIdle: { self.becameIdle($0) }, onEnd: { self.ended($0, $1) }))
    }

    private func becameIdle(_ connection: PolicyConnection) {
        guard !isClosed, connection.trustNumber == trustNumber else { return connection.close() }
        idle.append((connection, loop.now.uptimeNanoseconds))
        serve()
    }

    private func ended(_ connection: PolicyConnection, _ cause: String?) {
        connections -= 1
        idle.removeAll { $0.connection === connection }
        if !connection.wasReady { unreachable(cause ?? "the connection was closed") }
        serve()
    }

    /// Once no connection is left that could serve, whoever waits has it from here that there is none.
    private func unreachable(_ cause: String) {
        guard connections == 0 else { return }
        let numbers = order
        order.removeAll()
        for number in numbers where waiting[number]?.isAsked == false {
            finish(number, .failed("cannot connect to \(address): \(cause)"))
        }
    }

    private static func words(_ error: any Error) -> String {
        switch error {
        case let error as NIOConnectionError:
            return error.connectionErrors.first.map { words($0.error) } ?? "the host name is not known"
        case ChannelError.connectTimeout(let time): return "no connection in \(time.nanoseconds / 1_000_000) ms"
        case let error as IOError where error.errnoCode == ECONNREFUSED: return "connection refused"
        case let error as TLSError: return error.message
        default: return "\(error)"
        }
    }
}
