// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one call, from its headers to its status.
//
//   begun --who calls is known, and may take up time--> open --respond | finish | fail | deadline | cancelled--> ended
//
// Owns the call's answer. What comes in is the business of `CallRequests`, who calls that of `CallLogin`. Confined to its
// connection's event loop. A handler answers exactly once: what comes after the end is ignored, because a cancellation or a
// deadline can always be first. Streams are pulled: a source is asked for messages only while the peer's window and the
// connection's output have room.

import Bytes
import Engine
import GRPCWire
import HTTP2
import Logging
import NIOCore
import SwiftProtobuf
import Telemetry
import Transport

final class GRPCCall: @unchecked Sendable {
    // Unchecked: every entry point runs on the connection's event loop; closures of the engine only hold the reference.
    let connection: any CallOwner
    /// Held here, although the connection has it: all loops share its count of references, and each way to it would change that.
    let server: GRPCServer
    let route: GRPCRoute
    /// When the caller gives up; nil: never.
    let deadline: NIODeadline?
    private let stream: any CallStream
    /// Compresses the answer's messages, if the caller wants that.
    private var answers: AnswerCompressor?
    private let startedNs: UInt64
    private(set) var hasEnded = false
    /// The method may take it up.
    private(set) var isOpen = false
    /// What it takes of the event loop's time, once that is limited.
    var time: CallTime?
    let requests: CallRequests
    private var login: CallLogin?
    private var hasSentHeaders = false
    private var source: (any GRPCStreamSource)?
    /// Who calls, as access rules know it.
    lazy var principal = peer.principal
    /// How often access rules had changed when it began.
    let rulesSeen: UInt64
    /// What an external policy is asked and has said, while something is checked or follows from that.
    var inquiry: AccessInquiry?
    private var onEnd: (() -> Void)?
    /// Why the last request of a stream was refused: its caller may go for that reason, and is counted by it.
    var lastRefusal: GRPCStatus.Code?
    /// What its caller says that it is (`client-id`), for quotas; a principal it is not.
    private(set) var clientId = ""
    /// Which trace its caller says that it belongs to.
    private(set) var trace: TraceContext?

    init(
        connection: any CallOwner, stream: any CallStream, route: GRPCRoute, encoding: MessageEncoding,
        answers: AnswerCompressor? = nil, deadline: NIODeadline?
    ) {
        self.connection = connection
        server = connection.server
        self.stream = stream
        self.route = route
        requests = CallRequests(stream, encoding)
        self.answers = answers
        self.deadline = deadline
        rulesSeen = server.engine.access.changes.count
        startedNs = server.engine.clock.monotonicNs()
    }

    var engine: Engine { server.engine }
    var loop: any EventLoop { connection.loop }
    var peer: ConnectionContext { connection.peer }
    /// The peer does not take what there is for it.
    var isHeldUp: Bool { stream.isHeldUp }
    var unsentBytes: Int { stream.outbound.readableBytes }

    // MARK: Beginning

    /// The call's headers have been taken. `authorization`: what they say about the caller; `traceparent`: about its trace.
    func begin(traceparent: String?, clientId: String?, authorization: @autoclosure () -> String?) {
        trace = traceparent.flatMap { TraceContext($0.utf8) }
        if let clientId {
            guard clientId.utf8.count <= Limits.clientIdBytes else {
                return fail(
                    .invalid("client-id", "client-id has \(clientId.utf8.count) bytes; the limit is \(Limits.clientIdBytes)"))
            }
            self.clientId = clientId
        }
        guard server.logins[peer.listenerName].areRequired else { return open() }
        let said = authorization()
        guard server.requiresLogin(peer, route, hasAuthorization: said != nil) else { return open() }
        let login = CallLogin(self)
        self.login = login
        do throws(GRPCStatus) { try login.begin(said) } catch { fail(error) }
    }

    /// It is known who calls.
    func open() {
        whenMayBegin {
            self.isOpen = true
            let session = self.route.method.makeSession?(self)
            let wereHeld = self.requests.open(session)
            if let session { self.start(session) }
            if wereHeld { self.timed { self.requests.readHeld(self) } }
        }
    }

    // MARK: Answering

    /// Ends a unary call with its message.
    func respond(fields: HTTP2FieldList = GRPCFields.headers, _ write: (inout ByteBuffer) -> Void) {
        timed {
            guard !hasEnded else { return }
            sendHeaders(fields)
            self.write(message: write)
            end(.ok)
        }
    }

    func respond(_ message: some SwiftProtobuf.Message, fields: HTTP2FieldList = GRPCFields.headers) {
        guard let bytes = serialized(message) else { return }
        respond(fields: fields) { $0.writeBytes(bytes) }
    }

    /// Begins a stream that is pulled from `source`.
    func start(_ source: any GRPCStreamSource) {
        guard !hasEnded else { return source.ended() }
        self.source = source
        sendHeaders()
        connection.scheduleFlush()
    }

    /// Sends one message of a stream that is pushed; for few and small ones.
    func send(_ message: some SwiftProtobuf.Message, fields: HTTP2FieldList = GRPCFields.headers) {
        guard !hasEnded, let bytes = serialized(message) else { return }
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
        guard !hasEnded else { return }
        sendHeaders()
        end(.ok)
    }

    /// Ends the call with an error.
    func fail(_ status: GRPCStatus) {
        guard !hasEnded else { return }
        end(status)
    }

    /// The caller has waited for long enough.
    func goOn() {
        readMore()
        resume()
    }

    /// The source has something again.
    func resume() {
        stream.resume()
        connection.scheduleFlush()
    }

    /// Runs once when the call ends, however it does.
    func whenEnded(_ body: @escaping () -> Void) {
        guard !hasEnded else { return body() }
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
        hasEnded = true
        if hasSentHeaders { stream.finish(status) } else { stream.refuse(status) }
        settle(status.code)
        connection.scheduleFlush()
    }

    /// Gives back whatever the call holds.
    private func settle(_ code: GRPCStatus.Code) {
        hasEnded = true
        login?.end()
        login = nil
        time?.end()
        requests.end(self)
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
        server.logger.debug(
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
        guard !hasEnded else { return }
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
        if let session = requests.session { return session.drain() }
        // One that is held would begin when nobody waits for it any more.
        guard !hasEnded, source != nil || route.method.kind != .unary || !isOpen && isOverTime else { return }
        fail(.shuttingDown)
    }
}

// MARK: - What the stream says

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
    func received(_ data: ByteBuffer) { timed { requests.received(data, self) } }
    func receivedEnd() { timed { requests.receivedEnd(self) } }
    /// Copies what is kept beyond the read it came with.
    func keepReceived() { requests.keepReceived(self) }
    /// The session takes requests again.
    func readMore() { timed { requests.readMore(self) } }

    /// There is room to send about this many bytes, and nothing waits.
    func produce(room: Int) { timed { produceNext(room) } }

    private func produceNext(_ room: Int) {
        if route.method.kind == .bidirectional { return requests.answersWereTaken(self) }
        guard !hasEnded, let source else { return }
        let start = stream.outbound.writerIndex
        let production = source.produce(room: room, into: &stream.outbound)
        answers?.compress(&stream.outbound, from: start)
        if case .finished(let status) = production { end(status) }
    }

    /// The peer is gone, or has what it wanted.
    func closed() {
        connection.forget(self)
        if !hasEnded { settle(lastRefusal ?? .cancelled) }
    }
}
