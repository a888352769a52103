// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: one Kafka connection: frames in, replies out, in the order of the requests.
//
//   bytes -> FrameReader -> header -> Router -> handler -> Exchange.reply -> slot -> written in order -> flushed once a turn
//
// Confined to its channel's event loop. Requests run at once and may finish in any order; each has a slot, and a
// reply goes out when all before it have. Reading stops while too many slots are open or the peer does not take its
// replies, and requests wait while those before them or their answers take much memory, so a connection holds a
// bounded amount. Whatever breaks the protocol closes this connection, with the
// cause in the log, and nothing else.

import Bytes
import Engine
import KafkaWire
import Logging
import NIOCore
import Security
import Telemetry
import Transport

final class KafkaConnection: ChannelDuplexHandler, TurnParticipant, @unchecked Sendable {
    // Unchecked: every entry point runs on the channel's event loop; other threads only hold the reference.
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = IOData

    let server: KafkaServer
    let peer: ConnectionContext
    let turn: Turn
    let loop: any EventLoop
    /// As in the last request.
    private(set) var clientId: String?
    var login: Login
    /// What the client said that it is (ApiVersions, KIP-511).
    var software: (name: String, version: String) = ("unknown", "unknown")
    private(set) var context: ChannelHandlerContext?
    private var frames = FrameReader(limit: Limits.requestBytes, otherLimit: Limits.otherRequestBytes)
    private var slots = CircularBuffer<Slot>(initialCapacity: 4)
    /// Number of the first open slot.
    private var firstSlot = 0
    /// Replies that are next in order and not yet given to the channel.
    private var replies = ByteBuffer()
    private var waiters: [Int: Waiter] = [:]
    /// Where it is known under the name that it logged in by with a password.
    var session: UserSessions.Ticket?
    /// Share sessions came over it, which end with it.
    var hasShareSessions = false
    private var isReading = false
    private var isServing = false
    private var needsFlush = false
    private var flushIsComing = false
    private var readIsHeld = false
    /// Until when no request begins, because of a quota.
    var muted: (until: NIODeadline, timer: Scheduled<Void>)?
    /// The request that was begun last waits for decisions; no other begins meanwhile.
    var isDeciding = false
    private var isDraining = false
    /// When the last request began.
    var lastUsedNs: UInt64 = 0
    var idleCheck: Scheduled<Void>?
    /// A login that it gives anew may take a while.
    var hasLoggedIn = false
    /// The share of all connections' memory that an unfinished request has, or waits for.
    private var memory: Memory?
    /// What the channel last said: asking it for every request costs more than the answer.
    private var isWritable = true

    /// Bytes of requests that are not answered, and of answers that wait for earlier ones.
    private var heldBytes = 0

    private struct Memory {
        var reservation: RequestMemory.Reservation
        var bytes: Int
        /// False while it is waited for: nothing is read meanwhile.
        var isHeld: Bool
        /// Requests that were started before.
        var requests: Int
        /// What had arrived when somebody last asked for progress.
        var bytesSeen = -1
    }

    /// A request's place among the replies, and the bytes it holds until its turn.
    private struct Slot {
        var answer: Answer
        var bytes: Int
    }

    private enum Answer {
        case open
        case bytes(ByteBuffer)
        case segments([ReplySegment])
        /// Answered by silence (acks=0).
        case nothing

        /// What it holds in memory.
        var bytes: Int {
            switch self {
            case .open, .nothing: 0
            case .bytes(let bytes): bytes.readableBytes
            case .segments(let segments): segments.reduce(0) { $0 + $1.bytesInMemory }
            }
        }
    }

    init(server: KafkaServer, peer: ConnectionContext, loop: any EventLoop) {
        self.server = server
        self.peer = peer
        self.loop = loop
        turn = server.engine.turns.turn(for: loop)
        login = Login(server.logins[peer.listenerName], peer: peer)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        server.metrics.connectionOpened()
        watchIdleness()
        if peer.peerCertificate != nil {
            server.engine.audit.record(AuditEvent(.login, auditSubject, "certificate", .succeeded))
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        server.metrics.connectionClosed()
        abandon()
    }

    func channelInactive(context: ChannelHandlerContext) {
        abandon()
        context.fireChannelInactive()
    }

    /// Nobody will read the replies: stop waiting for records.
    private func abandon() {
        for waiter in waiters.values { waiter.cancel() }
        waiters = [:]
        if let session { server.engine.access.sessions.leave(session) }
        session = nil
        muted?.timer.cancel()
        muted = nil
        idleCheck?.cancel()
        idleCheck = nil
        if hasShareSessions { server.engine.shares.connectionClosed(ObjectIdentifier(self), on: loop) }
        hasShareSessions = false
        memory?.reservation.release()
        memory = nil
    }
}

// MARK: - In

extension KafkaConnection {
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        frames.receive(unwrapInboundIn(data))
        serveFrames()
    }

    /// Whether another request may begin.
    private var hasRoom: Bool {
        slots.count < Limits.requestsInFlight && heldBytes <= Limits.heldBytes && isWritable && muted == nil
            && !isDeciding
    }

    /// Starts requests as long as there is room. Called again when there is some; never inside itself.
    private func serveFrames() {
        guard !isServing else { return }
        isServing = true
        defer {
            isServing = false
            accountForMemory()
        }
        do {
            while hasRoom, let frame = try frames.next(bytesMax: login.frameBytesMax) {
                guard serve(frame) else { return }
                if replies.readableBytes > Limits.unsentReplyBytes { flushReplies() }
            }
        } catch {
            close("a frame of \(error.length) bytes was announced; the limit is \(error.limit)")
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if needsFlush { flushReplies() }
        context.fireChannelReadComplete()
    }

    /// A request waits for its answer, or its client for the end of a quota's time.
    var isBusy: Bool { !slots.isEmpty || muted != nil }

    /// Starts one request; false if the connection was closed instead.
    private func serve(_ frame: ByteBuffer) -> Bool {
        if login.takesBareTokens {
            receiveToken(frame)
            return context != nil
        }
        var body = frame
        do {
            let header = try RequestHeader(from: &body)
            let nowNs = server.engine.clock.monotonicNs()
            lastUsedNs = nowNs
            if let cause = login.refusal(
                of: header.apiKey, nowNs: nowNs, hasUsers: server.engine.access.hasUsers)
            {
                close(cause)
                return false
            }
            clientId = header.clientId
            let throttleMs = server.engine.quotas.isInForce ? charge(header.apiKey, bytes: frame.readableBytes) : 0
            let exchange = Exchange(
                connection: self, apiKey: header.apiKey, version: header.apiVersion,
                correlationId: header.correlationId, slot: open(frame), startedNs: nowNs,
                throttleTimeMs: throttleMs)
            try server.router.route(exchange, &body)
            if server.engine.quotas.limitsTime { noteTime(sinceNs: nowNs) }
            return context != nil
        } catch {
            close("malformed request: \(error)")
            return false
        }
    }

    /// A place among the replies for what this frame asks.
    func open(_ frame: ByteBuffer) -> Int {
        slots.append(Slot(answer: .open, bytes: frame.readableBytes))
        heldBytes += frame.readableBytes
        return firstSlot + slots.count - 1
    }

    func read(context: ChannelHandlerContext) {
        if !hasRoom || isDraining || isWaitingForMemory {
            readIsHeld = true
        } else {
            context.read()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if isWritable { resume() }
        context.fireChannelWritabilityChanged()
    }

    /// Goes on with what was held up.
    func resume() {
        if !frames.isEmpty { serveFrames() }
        resumeReading()
    }

    private func resumeReading() {
        guard readIsHeld, hasRoom, !isDraining, !isWaitingForMemory, let context else { return }
        readIsHeld = false
        context.read()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is DrainEvent {
            isDraining = true
            for waiter in waiters.values { waiter.complete() }
            closeIfDrained()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        server.logger.debug(
            "kafka connection failed", metadata: ["peer": "\(peer.remoteAddress)", "cause": "\(error)"])
        context.close(promise: nil)
    }

    private func closeIfDrained() {
        guard isDraining, slots.isEmpty, let context else { return }
        flushReplies()
        context.close(promise: nil)
    }
}

// MARK: - Memory

extension KafkaConnection {
    private var isWaitingForMemory: Bool { memory?.isHeld == false }

    /// Reserves what the request that is arriving will need, before the rest of it is read; gives back what the last one had.
    private func accountForMemory() {
        let wanted = frames.bytesWanted
        if let memory, memory.requests != firstSlot + slots.count || wanted <= Limits.unreservedRequestBytes {
            memory.reservation.release()
            self.memory = nil
        }
        guard wanted > Limits.unreservedRequestBytes, memory == nil, context != nil else { return }
        let requests = firstSlot + slots.count
        let (reservation, isHeld) = server.memory.reserve(wanted, on: loop) { self.memoryGranted() } onPressed: { self.showProgress() }
        memory = Memory(reservation: reservation, bytes: wanted, isHeld: isHeld, requests: requests)
    }

    private func memoryGranted() {
        guard memory != nil else { return }
        memory?.isHeld = true
        resumeReading()
    }

    /// Others wait for memory that this connection's unfinished request holds.
    private func showProgress() {
        // What waits for replies rather than for the peer is not the peer's fault.
        guard let memory, memory.isHeld, hasRoom else { return }
        guard memory.bytesSeen == frames.bytesHeld else {
            self.memory?.bytesSeen = frames.bytesHeld
            return
        }
        close("it announced a request of \(memory.bytes) bytes and sent no more of it while others waited for memory")
    }
}

// MARK: - Out

extension KafkaConnection {
    /// Encodes a reply into its slot: straight behind the replies before it if it is next in order.
    func complete(_ slot: Int, _ encode: (inout ByteBuffer) throws(WireError) -> Void) {
        guard isOpen(slot) else { return }
        do {
            if slot == firstSlot {
                try encode(&replies)
                set(slot, .nothing)
            } else {
                var bytes = ByteBuffer()
                try encode(&bytes)
                set(slot, .bytes(bytes))
            }
            advance()
        } catch {
            close("a reply could not be encoded: \(error)")
        }
    }

    func complete(_ slot: Int, segments: [ReplySegment]) {
        guard isOpen(slot) else { return }
        set(slot, .segments(segments))
        advance()
    }

    func completeWithoutReply(_ slot: Int) {
        guard isOpen(slot) else { return }
        set(slot, .nothing)
        advance()
    }

    /// Keeps a long poll's waiter so that it ends with the connection. One a slot.
    func keep(_ waiter: Waiter, for slot: Int) {
        waiters[slot] = waiter
    }

    func forgetWaiter(for slot: Int) {
        waiters[slot] = nil
    }

    /// Ends the connection for something the peer did, after the replies that are ready.
    func close(_ cause: String) {
        guard context != nil else { return }
        server.logger.warning("kafka connection closed: \(cause)", metadata: metadata)
        end()
    }

    /// Nobody has used it for long, which is nobody's fault.
    func endIdle() {
        guard let context else { return }
        server.logger.debug("kafka connection closed: it was idle", metadata: metadata)
        flushReplies()
        self.context = nil
        context.close(promise: nil)
    }

    func end() {
        guard let context else { return }
        server.metrics.connectionRefused()
        flushReplies()
        self.context = nil
        context.close(promise: nil)
    }

    func isOpen(_ slot: Int) -> Bool {
        loop.assertInEventLoop()
        return context != nil && slot >= firstSlot && slot < firstSlot + slots.count
    }

    /// Nobody is there for an answer.
    var isOver: Bool { context == nil }

    private func set(_ slot: Int, _ answer: Answer) {
        let index = slots.index(slots.startIndex, offsetBy: slot - firstSlot)
        heldBytes += answer.bytes - slots[index].bytes
        slots[index] = Slot(answer: answer, bytes: answer.bytes)
    }

    /// Passes on what is ready from the first open slot on.
    private func advance() {
        loop: while let slot = slots.first {
            switch slot.answer {
            case .open: break loop
            case .nothing: break
            case .bytes(var bytes): replies.writeBuffer(&bytes)
            case .segments(let segments): write(segments)
            }
            heldBytes -= slot.bytes
            slots.removeFirst()
            firstSlot += 1
        }
        scheduleFlush()
        resume()
        closeIfDrained()
    }

    private func scheduleFlush() {
        needsFlush = true
        guard !isReading, !flushIsComing else { return }
        flushIsComing = true
        turn.atEnd(self)
    }

    func turnEnded() {
        flushIsComing = false
        if needsFlush, !isReading { flushReplies() }
    }

    private func flushReplies() {
        needsFlush = false
        guard let context else { return }
        writeReplies(context)
        context.flush()
    }

    private func writeReplies(_ context: ChannelHandlerContext) {
        guard replies.readableBytes > 0 else { return }
        context.write(wrapOutboundOut(.byteBuffer(replies)), promise: nil)
        // Cleared in place once the channel has let go of it, else replaced.
        if replies.capacity > Limits.keptReplyBytes { replies = ByteBuffer() } else { replies.clear() }
    }

    private func write(_ segments: [ReplySegment]) {
        guard let context else { return }
        for segment in segments {
            switch segment {
            case .bytes(var bytes):
                replies.writeBuffer(&bytes)
            case .slice(let slice):
                writeReplies(context)
                slice.write(to: context)
            }
        }
    }
}
