// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one call, from its headers to its status.
//
//   receiving --whole request--> serving --respond | finish | fail | deadline | cancelled--> ended
//
// Confined to its connection's event loop. A handler answers exactly once: what comes after the end is ignored, because a
// cancellation or a deadline can always be first. Streams are pulled: a source is asked for messages only while the
// peer's window and the connection's output have room.

import Engine
import GRPCWire
import HTTP2
import NIOCore
import Security
import SwiftProtobuf
import Telemetry
import Transport

/// What a server-streaming call sends.
protocol GRPCStreamSource: AnyObject {
    /// Appends messages of about `room` bytes together. Called on the loop, only while nothing waits to be sent.
    func produce(room: Int, into buffer: inout ByteBuffer) -> GRPCProduction
    /// The call has ended for whatever reason: stop waiting.
    func ended()
}

enum GRPCProduction {
    /// There is something in the buffer.
    case produced
    /// Nothing to send; the source will call `GRPCCall.resume`.
    case waiting
    /// After what is in the buffer, if anything, the stream ends.
    case finished(GRPCStatus)
}

final class GRPCCall: @unchecked Sendable {
    // Unchecked: every entry point runs on the connection's event loop; closures of the engine only hold the reference.
    private enum Phase {
        case receiving
        case serving
        case ended
    }

    let connection: any CallOwner
    let route: GRPCRoute
    /// When the caller gives up; nil: never.
    private(set) var deadline: NIODeadline?
    private let stream: any CallStream
    private let encoding: MessageEncoding
    /// Compresses the answer's messages, if the caller wants that.
    private var answers: AnswerCompressor?
    private let startedNs: UInt64
    private var phase = Phase.receiving
    private var deframer: MessageDeframer
    private var request: ByteBuffer?
    private var bufferedBytes = 0
    /// What of that counts among the unfinished requests of all connections.
    private var sharedBytes = 0
    private var hasSentHeaders = false
    private var hasEndOfRequest = false
    private var source: (any GRPCStreamSource)?
    private var session: (any GRPCSession)?
    private var hasToldEnd = false
    /// The caller's password is being checked: nothing is read until that is known.
    private var isLoggingIn = false
    /// Who calls, as access rules know it.
    private(set) lazy var principal = peer.principal
    /// How often access rules had changed when it began.
    let rulesSeen: UInt64
    private var onEnd: (() -> Void)?
    /// Which trace its caller says that it belongs to.
    private(set) var trace: TraceContext?
    private var tokenTimer: Scheduled<Void>?
    /// Where a stream is known under the name that its caller gave with a password.
    private var userSession: UserSessions.Ticket?

    init(
        connection: any CallOwner, stream: any CallStream, route: GRPCRoute, encoding: MessageEncoding,
        answers: AnswerCompressor? = nil, deadline: NIODeadline?
    ) {
        self.connection = connection
        self.stream = stream
        self.route = route
        self.encoding = encoding
        self.answers = answers
        self.deadline = deadline
        deframer = MessageDeframer(messageBytesMax: Limits.messageBytes)
        rulesSeen = connection.server.engine.access.changes.count
        startedNs = connection.server.engine.clock.monotonicNs()
    }

    var engine: Engine { connection.server.engine }
    var loop: any EventLoop { connection.loop }
    var peer: ConnectionContext { connection.peer }
    var hasEnded: Bool { phase == .ended }
    /// The peer does not take what there is for it.
    var isHeldUp: Bool { stream.isHeldUp }
    var unsentBytes: Int { stream.outbound.readableBytes }

    // MARK: Answering

    /// Ends a unary call with its message.
    func respond(fields: HTTP2FieldList = GRPCFields.headers, _ write: (inout ByteBuffer) -> Void) {
        guard phase != .ended else { return }
        sendHeaders(fields)
        self.write(message: write)
        end(.ok)
    }

    func respond(_ message: some SwiftProtobuf.Message, fields: HTTP2FieldList = GRPCFields.headers) {
        guard let bytes = serialized(message) else { return }
        respond(fields: fields) { $0.writeBytes(bytes) }
    }

    /// The call's headers have been taken. `authorization`: what they say about the caller; `traceparent`: about its trace.
    func begin(traceparent: String?, authorization: @autoclosure () -> String?) {
        trace = traceparent.flatMap { TraceContext($0.utf8) }
        guard connection.server.logins[peer.listenerName].areRequired else { return begin() }
        let said = authorization()
        guard connection.server.requiresLogin(peer, route, hasAuthorization: said != nil) else { return begin() }
        do throws(GRPCStatus) {
            switch try connection.server.credentials(said, peer) {
            case .token(let token): try begin(token: token)
            case .password(let credentials):
                isLoggingIn = true
                stream.isInboundHeld = true
                engine.passwords.check(user: credentials.user, password: credentials.password, on: loop) { isRight in
                    self.loggedIn(credentials.user, isRight)
                }
            }
        } catch {
            fail(error)
        }
    }

    private func begin(token: String) throws(GRPCStatus) {
        do throws(TokenRefusal) {
            let identity = try engine.tokens.check(token)
            principal = "User:\(identity.name)"
            if engine.audit.recordsAllowed { engine.audit.record(AuditEvent(.login, auditSubject, "bearer", .succeeded)) }
            endWithToken(expiresMs: identity.expiresMs)
        } catch {
            engine.audit.record(AuditEvent(.login, auditSubject, "bearer", .failed, cause: error.description))
            logFailedLogin(error.description)
            throw GRPCStatus(.unauthenticated, "the token is not accepted")
        }
        begin()
    }

    /// Nobody goes on under a name that they can no longer prove.
    private func endWithToken(expiresMs: Int64) {
        // A token that is taken for a moment longer, since clocks differ, is good for a short call.
        let leftMs = min(max(1_000, expiresMs - engine.clock.nowMs()), Limits.tokenTimerMs)
        tokenTimer = loop.scheduleTask(in: .milliseconds(leftMs)) {
            self.fail(GRPCStatus(.unauthenticated, "the token has expired; call again with a new one"))
        }
    }

    /// A stream goes on for long: it ends when its caller is nobody here any more.
    private func endWithUser(_ user: String) {
        userSession = engine.access.sessions.enter(user, on: loop) { [weak self] in self?.userWasRemoved() }
        if !engine.access.hasUser(user) { userWasRemoved() }
    }

    private func userWasRemoved() {
        guard phase != .ended else { return }
        engine.audit.record(
            AuditEvent(.login, auditSubject, "basic", .failed, cause: "the user was removed while it was connected"))
        logFailedLogin("\(principal) was removed while a call of it went on")
        fail(GRPCStatus(.unauthenticated, "the user was removed"))
    }

    private func logFailedLogin(_ cause: String) {
        connection.server.logger.warning(
            "gRPC login failed: \(cause)", metadata: ["peer": "\(peer.remoteAddress):\(peer.remotePort)"])
    }

    private func loggedIn(_ user: String, _ isRight: Bool) {
        guard phase != .ended, isLoggingIn else { return }
        isLoggingIn = false
        guard isRight else {
            engine.audit.record(
                AuditEvent(.login, auditSubject, "basic", .failed, cause: "wrong user or password for \(user)"))
            logFailedLogin("wrong user or password for \(user)")
            return fail(GRPCStatus(.unauthenticated, "the name or the password is wrong"))
        }
        principal = "User:\(user)"
        if engine.audit.recordsAllowed { engine.audit.record(AuditEvent(.login, auditSubject, "basic", .succeeded)) }
        if route.method.kind != .unary { endWithUser(user) }
        guard phase != .ended else { return }
        stream.isInboundHeld = false
        begin()
        guard phase != .ended else { return }
        readMessages()
        guard phase != .ended, hasEndOfRequest else { return }
        receivedEnd()
    }

    private func begin() {
        guard let makeSession = route.method.makeSession else { return }
        let session = makeSession(self)
        self.session = session
        start(session)
    }

    /// Begins a stream that is pulled from `source`.
    func start(_ source: any GRPCStreamSource) {
        guard phase != .ended else { return source.ended() }
        self.source = source
        sendHeaders()
        connection.scheduleFlush()
    }

    /// Sends one message of a stream that is pushed; for few and small ones.
    func send(_ message: some SwiftProtobuf.Message, fields: HTTP2FieldList = GRPCFields.headers) {
        guard phase != .ended, let bytes = serialized(message) else { return }
        sendHeaders(fields)
        write(message: { $0.writeBytes(bytes) })
        resume()
    }

    private func write(message: (inout ByteBuffer) -> Void) {
        let start = stream.outbound.writerIndex
        stream.outbound.writeMessage(message)
        answers?.compress(&stream.outbound, from: start)
    }

    /// Ends a stream.
    func finish() {
        guard phase != .ended else { return }
        sendHeaders()
        end(.ok)
    }

    /// Ends the call with an error.
    func fail(_ status: GRPCStatus) {
        guard phase != .ended else { return }
        end(status)
    }

    /// The source has something again.
    func resume() {
        stream.resume()
        connection.scheduleFlush()
    }

    /// Runs once when the call ends, however it does.
    func whenEnded(_ body: @escaping () -> Void) {
        guard phase != .ended else { return body() }
        onEnd = body
    }

    private func sendHeaders(_ fields: HTTP2FieldList = GRPCFields.headers) {
        guard !hasSentHeaders else { return }
        hasSentHeaders = true
        guard answers != nil else { return stream.begin(fields) }
        if fields === GRPCFields.headers {
            stream.begin(GRPCFields.compressedHeaders)
        } else {
            // Headers of their own have Health's answers, which are too small to be compressed.
            answers = nil
            stream.begin(fields)
        }
    }

    private func serialized(_ message: some SwiftProtobuf.Message) -> [UInt8]? {
        do {
            return try message.serializedBytes()
        } catch {
            fail(GRPCStatus(.internal, "an answer could not be encoded: \(error)"))
            return nil
        }
    }

    private func end(_ status: GRPCStatus) {
        // What the stream makes of this may end the call once more.
        phase = .ended
        if hasSentHeaders { stream.finish(status) } else { stream.refuse(status) }
        settle(status.code)
        connection.scheduleFlush()
    }

    /// Gives back whatever the call holds.
    private func settle(_ code: GRPCStatus.Code) {
        phase = .ended
        tokenTimer?.cancel()
        tokenTimer = nil
        if let userSession { engine.access.sessions.leave(userSession) }
        userSession = nil
        request = nil
        deframer.removeAll()
        accountBuffered()
        stream.isInboundHeld = false
        session = nil
        if let source {
            self.source = nil
            source.ended()
        }
        if let onEnd {
            self.onEnd = nil
            onEnd()
        }
        let durationNs = Int(engine.clock.monotonicNs() &- startedNs)
        route.metrics.finished(code, durationNs: durationNs)
        connection.server.logger.debug(
            "call ended",
            metadata: (trace?.metadata ?? [:]).merging([
                "method": "\(route.method.path)", "code": "\(code)", "ms": "\(durationNs / 1_000_000)",
                "principal": "\(principal)", "peer": "\(peer.remoteAddress)",
            ]) { $1 })
    }
}

// MARK: - Deadline and draining

extension GRPCCall {
    /// The deadline has passed.
    func expire() {
        guard phase != .ended else { return }
        // What waits for the peer's window would arrive after its deadline: a client that is still there has given up.
        if stream.outbound.readableBytes > 0 {
            settle(.deadlineExceeded)
            stream.abandon()
            connection.scheduleFlush()
        } else {
            fail(GRPCStatus(.deadlineExceeded, "the deadline passed before the call was done"))
        }
    }

    /// The broker stops: streams end now, unary calls are left to finish.
    func drain() {
        if let session { return session.drain() }
        guard phase != .ended, source != nil || route.method.kind != .unary else { return }
        fail(GRPCStatus(.unavailable, "the broker is shutting down; connect again"))
    }
}

// MARK: - Receiving

extension GRPCCall: HTTP2StreamHandler {
    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        // Trailers of a request mean nothing in gRPC.
        if endOfStream { receivedEnd() }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) { received(data) }
    func receivedEnd(on stream: HTTP2Stream) { receivedEnd() }
    func produce(room: Int, on stream: HTTP2Stream) { produce(room: room) }
    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) { closed() }
}

extension GRPCCall {
    /// More of the request. It shares the storage of the current read.
    func received(_ data: ByteBuffer) {
        guard phase != .ended else { return }
        deframer.append(data)
        readMessages()
        guard phase != .ended else { return }
        accountBuffered()
        connection.keepLater(self)
    }

    func receivedEnd() {
        guard phase != .ended else { return }
        hasEndOfRequest = true
        if isLoggingIn { return }
        if takesManyRequests { return finishRequests() }
        if deframer.isIncomplete { return fail(GRPCStatus(.internal, "the request ends in the middle of a message")) }
        guard let request else {
            return fail(GRPCStatus(.unimplemented, "\(route.method.path) takes one request message, none came"))
        }
        self.request = nil
        phase = .serving
        accountBuffered()
        route.method.handle(self, request)
    }

    /// Copies what is kept beyond the read it came with.
    func keepReceived() {
        deframer.keep()
        if let shared = request {
            var own = ByteBuffer()
            own.writeImmutableBuffer(shared)
            request = own
        }
    }

    private func readMessages() {
        do throws(GRPCStatus) {
            while phase != .ended, !isHeld, let message = try deframer.next() {
                let bytes = try message.decoded(
                    encoding, connection.decompressor, bytesMax: Limits.messageBytes)
                if let session {
                    session.received(bytes)
                } else if route.method.kind == .bidirectional {
                    route.method.handle(self, bytes)
                } else if request == nil {
                    request = bytes
                } else {
                    throw GRPCStatus(.unimplemented, "\(route.method.path) takes one request message, more came")
                }
            }
        } catch {
            fail(error)
        }
    }

    private var takesManyRequests: Bool { session != nil || route.method.kind == .bidirectional }

    /// Calls with many requests: no more of them now. The session says so, or answers wait for the peer.
    private var isHeld: Bool {
        if isLoggingIn { return true }
        let isHeld: Bool
        if let session {
            isHeld = !session.takesRequests
        } else if route.method.kind == .bidirectional {
            isHeld = stream.outbound.readableBytes > Limits.queuedAnswerBytes
        } else {
            return false
        }
        stream.isInboundHeld = isHeld
        return isHeld
    }

    /// The session takes requests again.
    func readMore() {
        guard phase != .ended else { return }
        readMessages()
        guard phase != .ended else { return }
        accountBuffered()
        finishRequests()
        connection.scheduleFlush()
    }

    private func finishRequests() {
        guard phase != .ended, hasEndOfRequest, !isHeld, !hasToldEnd else { return }
        guard !deframer.isIncomplete else {
            return fail(GRPCStatus(.internal, "the requests end in the middle of a message"))
        }
        hasToldEnd = true
        if let session { session.requestsEnded() } else { finish() }
    }

    private func accountBuffered() {
        let bytes = phase == .ended ? 0 : deframer.pendingBytes + (request?.readableBytes ?? 0)
        guard bytes != bufferedBytes else { return }
        connection.bufferedBytes += bytes - bufferedBytes
        bufferedBytes = bytes
        shareMemory(bytes > Limits.unsharedRequestBytes ? bytes : 0)
        if phase != .ended, connection.bufferedBytes > Limits.bufferedRequestBytes {
            fail(
                GRPCStatus(
                    .resourceExhausted, "the connection's unfinished requests hold more than \(Limits.bufferedRequestBytes) bytes"))
        }
    }

    /// Counts this call's unfinished request among those of all connections, and refuses it if they are too much.
    private func shareMemory(_ bytes: Int) {
        let memory = connection.server.memory
        let isMore = bytes > sharedBytes
        guard bytes != sharedBytes else { return }
        let hasRoom = !isMore || memory.hasRoom()
        memory.adjust(by: bytes - sharedBytes)
        sharedBytes = bytes
        guard !hasRoom, phase != .ended else { return }
        fail(
            GRPCStatus(
                .resourceExhausted, "unfinished requests of all connections hold \(memory.limit) bytes already;"
                    + " try again later, or raise queued.max.request.bytes"))
    }

    // MARK: Sending

    /// There is room to send about this many bytes, and nothing waits.
    func produce(room: Int) {
        if route.method.kind == .bidirectional {
            readMessages()
            return finishRequests()
        }
        guard phase != .ended, let source else { return }
        let start = stream.outbound.writerIndex
        let production = source.produce(room: room, into: &stream.outbound)
        answers?.compress(&stream.outbound, from: start)
        if case .finished(let status) = production { end(status) }
    }

    /// The peer is gone, or has what it wanted.
    func closed() {
        connection.forget(self)
        if phase != .ended { settle(.cancelled) }
    }
}
