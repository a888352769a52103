// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the requests of one call: from bytes to whole messages, to whoever takes them.
//
//   held for a login or a quota --open--> reading --whole request | end of requests--> told --> ended
//
// A method with one request gets it when no more can follow; a session, or a method in both directions, gets each as it
// comes and while it takes them: meanwhile the peer's window stays shut. What is not handed on yet is counted, for its
// connection and, beyond a small size, among the unfinished requests of all connections. Confined to the call's loop. The call, which
// owns this, is given to each step: a reference back would be counted at every use.

import GRPCWire
import HTTP2
import NIOCore
import Transport

final class CallRequests {
    private let stream: any CallStream
    private let encoding: MessageEncoding
    private var deframer = MessageDeframer(messageBytesMax: Limits.messageBytes)
    /// The request of a method that takes one.
    private var request: ByteBuffer?
    /// Who takes the requests, if their answers do not follow from single ones.
    private(set) var session: (any GRPCSession)?
    private var bufferedBytes = 0
    /// What of that counts among the unfinished requests of all connections.
    private var sharedBytes = 0
    private var hasEndOfRequest = false
    private var hasToldEnd = false
    /// It is not known yet who calls, or the caller has to wait: nothing is read until then.
    private var waitsToOpen = false

    init(_ stream: any CallStream, _ encoding: MessageEncoding) {
        self.stream = stream
        self.encoding = encoding
    }

    // MARK: Begin and end

    /// Nothing is read before `open`.
    func hold() {
        waitsToOpen = true
        stream.isInboundHeld = true
    }

    /// It is known who takes the requests, and that they may be taken. Returns whether they were held: then `readHeld` follows.
    func open(_ session: (any GRPCSession)?) -> Bool {
        self.session = session
        guard waitsToOpen else { return false }
        waitsToOpen = false
        stream.isInboundHeld = false
        return true
    }

    /// What came while nothing was read.
    func readHeld(_ call: GRPCCall) {
        guard !call.hasEnded else { return }
        readMessages(call)
        guard !call.hasEnded, hasEndOfRequest, !hasToldEnd else { return }
        receivedEnd(call)
    }

    /// The call has ended: nothing is kept.
    func end(_ call: GRPCCall) {
        request = nil
        deframer.removeAll()
        account(call)
        stream.isInboundHeld = false
        session = nil
    }

    // MARK: Receiving

    /// More of the request. It shares the storage of the current read.
    func received(_ data: ByteBuffer, _ call: GRPCCall) {
        guard !call.hasEnded else { return }
        deframer.append(data)
        readMessages(call)
        guard !call.hasEnded else { return }
        // What came whole is mostly handed on within this read; if not, it is counted when it is kept.
        if deframer.isIncomplete || bufferedBytes > 0 { account(call) }
        guard !call.hasEnded else { return }
        call.connection.keepLater(call)
    }

    func receivedEnd(_ call: GRPCCall) {
        guard !call.hasEnded else { return }
        hasEndOfRequest = true
        if waitsToOpen { return }
        if takesMany(call) { return finish(call) }
        if deframer.isIncomplete {
            return call.fail(
                GRPCStatus(.internal, "INCOMPLETE_MESSAGE", "the request ends in the middle of a message; send all of it"))
        }
        guard let request else {
            return call.fail(
                GRPCStatus(
                    .unimplemented, "WRONG_MESSAGE_COUNT", "\(call.route.method.path) takes one request message, none came"))
        }
        self.request = nil
        hasToldEnd = true
        account(call)
        call.route.method.handle(call, request)
    }

    /// Copies and counts what is kept beyond the read it came with.
    func keepReceived(_ call: GRPCCall) {
        deframer.keep()
        if let shared = request {
            var own = ByteBuffer()
            own.writeImmutableBuffer(shared)
            request = own
        }
        guard !call.hasEnded else { return }
        account(call)
    }

    /// The session takes requests again.
    func readMore(_ call: GRPCCall) {
        guard !call.hasEnded else { return }
        readMessages(call)
        guard !call.hasEnded else { return }
        account(call)
        finish(call)
        call.connection.scheduleFlush()
    }

    /// The peer has taken the answers that a method in both directions waited to be rid of.
    func answersWereTaken(_ call: GRPCCall) {
        readMessages(call)
        finish(call)
    }

    private func readMessages(_ call: GRPCCall) {
        do throws(GRPCStatus) {
            while !call.hasEnded, !isHeld(call), let message = try deframer.next() {
                let bytes = try message.decoded(encoding, call.connection.decompressor, bytesMax: Limits.messageBytes)
                if let session {
                    session.received(bytes)
                } else if call.route.method.kind == .bidirectional {
                    call.route.method.handle(call, bytes)
                } else if request == nil {
                    request = bytes
                } else {
                    throw GRPCStatus(
                        .unimplemented, "WRONG_MESSAGE_COUNT",
                        "\(call.route.method.path) takes one request message, more came; call it once for each")
                }
            }
        } catch {
            call.fail(error)
        }
    }

    private func takesMany(_ call: GRPCCall) -> Bool { session != nil || call.route.method.kind == .bidirectional }

    /// Calls with many requests: no more of them now. The session says so, answers wait for the peer, or the caller is over a quota.
    private func isHeld(_ call: GRPCCall) -> Bool {
        if waitsToOpen { return true }
        let isHeld: Bool
        if let session {
            isHeld = !session.takesRequests || call.isOverTime
        } else if call.route.method.kind == .bidirectional {
            isHeld = stream.outbound.readableBytes > Limits.queuedAnswerBytes || call.isOverTime
        } else {
            return false
        }
        stream.isInboundHeld = isHeld
        return isHeld
    }

    /// Tells once that no more requests come.
    private func finish(_ call: GRPCCall) {
        guard !call.hasEnded, hasEndOfRequest, !isHeld(call), !hasToldEnd else { return }
        guard !deframer.isIncomplete else {
            return call.fail(
                GRPCStatus(.internal, "INCOMPLETE_MESSAGE", "the requests end in the middle of a message; send all of it"))
        }
        hasToldEnd = true
        if let session { session.requestsEnded() } else { call.finish() }
    }

    // MARK: What is held

    private func account(_ call: GRPCCall) {
        let bytes = call.hasEnded ? 0 : deframer.pendingBytes + (request?.readableBytes ?? 0)
        guard bytes != bufferedBytes else { return }
        let connection = call.connection
        connection.bufferedBytes += bytes - bufferedBytes
        bufferedBytes = bytes
        shareMemory(bytes > Limits.unsharedRequestBytes ? bytes : 0, call)
        if !call.hasEnded, connection.bufferedBytes > Limits.bufferedRequestBytes {
            call.fail(
                GRPCStatus(
                    .resourceExhausted, "UNFINISHED_REQUESTS", [("limit", "\(Limits.bufferedRequestBytes)")],
                    "the connection's unfinished requests hold more than \(Limits.bufferedRequestBytes) bytes; finish some first"))
        }
    }

    /// Counts this call's unfinished request among those of all connections, and refuses it if they are too much.
    private func shareMemory(_ bytes: Int, _ call: GRPCCall) {
        guard bytes != sharedBytes else { return }
        let memory = call.server.memory
        let isMore = bytes > sharedBytes
        let hasRoom = !isMore || memory.hasRoom()
        memory.adjust(by: bytes - sharedBytes)
        sharedBytes = bytes
        guard !hasRoom, !call.hasEnded else { return }
        call.fail(
            GRPCStatus(
                .resourceExhausted, "UNFINISHED_REQUESTS", [("limit", "\(memory.limit)")], retryMs: 1000,
                "unfinished requests of all connections hold \(memory.limit) bytes already;"
                    + " try again later, or raise queued.max.request.bytes"))
    }
}
