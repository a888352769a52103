// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: TLS in a pipeline.
//
// A thin handler around one TLSSession: it moves bytes between session and channel, keeps the time
// of the handshake, and decides what the channel does when TLS ends. Owned by the channel's event
// loop. Handlers behind it see plaintext, and nothing at all before the handshake is over:
// `channelActive` and `channelReadComplete` are held back until then, or they would write before
// there are keys.
//
//   idle ──active──▶ handshaking ──▶ open ──close──▶ closed
//                         └──error, timeout──▶ failed (alert sent, closed soon after)
//
// After the handshake a `TLSHandshake` goes down the pipeline as a user inbound event, then
// `channelActive` if it was held back. A failure goes down as `errorCaught(TLSError)`; the handler
// closes the channel itself.

import NIOCore

/// TLS in a pipeline, as server or as client.
package final class TLSHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = IOData
    package typealias OutboundOut = IOData

    private enum Phase {
        case idle
        case handshaking
        case open
        case closed
        case failed
    }

    /// This much is encrypted before it is written and the channel is asked whether it takes more.
    private static let pieceBytesMax = 256 * 1024
    /// A plaintext buffer larger than this is not kept for the next read.
    private static let keptBytesMax = 16 * 1024

    private let session: TLSSession
    private let limits: TransportLimits
    private var phase = Phase.idle
    private var queue = TLSWriteQueue()
    private var plaintext = ByteBuffer()
    private var handshakeBytes = 0
    private var unreadControlBytes = 0
    private var timer: Scheduled<Void>?
    private var isActiveHeldBack = false
    private var hasDelivered = false
    private var isInputClosed = false
    /// Set while the output waits to be closed until the queue is sent.
    private var outputClosing: (isRequested: Bool, promise: EventLoopPromise<Void>?) = (false, nil)
    private var isOutputClosed = false

    /// The server's side; `clientAuthentication` says what is asked of the client.
    package static func server(
        context: TLSContext, clientAuthentication: ClientAuthentication,
        limits: TransportLimits = TransportLimits()
    ) throws(TransportError) -> TLSHandler {
        TLSHandler(
            session: try TLSSession(context: context, role: .server(clientAuthentication)),
            limits: limits)
    }

    /// The client's side. `host`, a name or an address, is checked against the server's certificate
    /// and, if it is a name, sent as SNI; nil checks the chain only.
    package static func client(
        context: TLSContext, host: String?, resuming resumption: TLSResumption? = nil,
        limits: TransportLimits = TransportLimits()
    ) throws(TransportError) -> TLSHandler {
        TLSHandler(
            session: try TLSSession(
                context: context, role: .client(host: host), resuming: resumption),
            limits: limits)
    }

    private init(session: TLSSession, limits: TransportLimits) {
        self.session = session
        self.limits = limits
    }

    /// Client side: what the latest ticket allows a later connection to resume. On the event loop
    /// only.
    package var resumption: TLSResumption? { session.resumption }

    // MARK: Coming and going

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { begin(context) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        stopTimer()
        queue.fail(ChannelError.ioOnClosedChannel)
    }

    package func channelActive(context: ChannelHandlerContext) {
        isActiveHeldBack = true
        begin(context)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        let endedIn = phase
        phase = .closed
        stopTimer()
        queue.fail(ChannelError.ioOnClosedChannel)
        outputClosing.promise?.fail(ChannelError.ioOnClosedChannel)
        outputClosing.promise = nil
        reportTruncation(endedIn, context)
        context.fireChannelInactive()
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else {
            return context.fireUserInboundEventTriggered(event)
        }
        if phase == .handshaking { return fail(Self.handshakeTruncated, context) }
        // After close_notify the handlers know already.
        guard phase == .open, !isInputClosed else { return }
        isInputClosed = true
        if session.hasPartialRecord { context.fireErrorCaught(Self.recordTruncated) }
        context.fireUserInboundEventTriggered(event)
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard phase == .idle else { return }
        phase = .handshaking
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: limits.handshakeTimeout) {
            let (handler, context) = bound.value
            handler.handshakeTimedOut(context)
        }
        // A client speaks first; a server has nothing to say yet.
        if case .client = session.role { advanceHandshake(context) }
    }

    // MARK: Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        switch phase {
        case .open:
            session.receive(bytes)
            deliver(context)
        case .handshaking:
            handshakeBytes += bytes.readableBytes
            guard handshakeBytes <= limits.handshakeBytesMax else {
                return fail(
                    TLSError(
                        .handshakeBound,
                        "TLS handshake of more than \(limits.handshakeBytesMax) bytes"), context)
            }
            session.receive(bytes)
            advanceHandshake(context)
        case .idle, .closed, .failed: break
        }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        if hasDelivered {
            hasDelivered = false
            if plaintext.storageCapacity > Self.keptBytesMax { plaintext = ByteBuffer() }
            context.fireChannelReadComplete()
        } else if phase == .handshaking || phase == .open {
            // Only half a record or a handshake message: without auto-read nobody else asks for
            // more.
            context.read()
        }
    }

    private func advanceHandshake(_ context: ChannelHandlerContext) {
        do throws(TLSError) {
            let handshake = try session.handshake()
            send(context)
            if let handshake { finishHandshake(handshake, context) }
        } catch {
            fail(error, context)
        }
    }

    private func finishHandshake(_ handshake: TLSHandshake, _ context: ChannelHandlerContext) {
        phase = .open
        stopTimer()
        context.fireUserInboundEventTriggered(handshake)
        if isActiveHeldBack, phase == .open {
            isActiveHeldBack = false
            context.fireChannelActive()
        }
        hasDelivered = true
        pump(context)
        // The peer's first data often comes with the end of its handshake.
        if phase == .open { deliver(context) }
    }

    /// Decrypts what was received and passes it on.
    private func deliver(_ context: ChannelHandlerContext) {
        plaintext.clear(minimumCapacity: session.inboundBytes)
        var end = TLSSession.ReadEnd.exhausted
        var failure: TLSError?
        do throws(TLSError) {
            end = try session.read(into: &plaintext)
        } catch {
            failure = error
        }
        if plaintext.readableBytes > 0, !isInputClosed {
            hasDelivered = true
            context.fireChannelRead(wrapInboundOut(plaintext))
        }
        if let failure {
            fail(failure, context)
        } else {
            answerControlMessages(context)
            if end == .closeNotify { closeNotifyReceived(context) }
        }
    }

    /// Key updates and the like are answered by the library while it reads. A peer that asks on and
    /// on but does not read the answers would make them pile up.
    private func answerControlMessages(_ context: ChannelHandlerContext) {
        guard phase == .open, let records = session.takeOutbound() else { return }
        if context.channel.isWritable {
            unreadControlBytes = 0
        } else {
            unreadControlBytes += records.readableBytes
        }
        context.writeAndFlush(wrapOutboundOut(.byteBuffer(records)), promise: nil)
        session.reuse(records)
        if unreadControlBytes > limits.unreadControlBytesMax {
            fail(
                TLSError(
                    .controlFlood, "the peer asks for key updates and does not read the answers"),
                context)
        }
    }

    private func closeNotifyReceived(_ context: ChannelHandlerContext) {
        guard phase == .open, !isInputClosed else { return }
        isInputClosed = true
        let isHalfClosureAllowed: Bool
        do {
            isHalfClosureAllowed =
                try context.channel.syncOptions?.getOption(.allowRemoteHalfClosure) ?? false
        } catch {
            // A channel that does not know the option has no half closure.
            isHalfClosureAllowed = false
        }
        if isHalfClosureAllowed {
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        } else {
            close(context: context, mode: .all, promise: nil)
        }
    }

    // MARK: Writing

    package func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        guard phase != .failed, phase != .closed, !isOutputClosed, !outputClosing.isRequested else {
            promise?.fail(
                phase == .open ? ChannelError.outputClosed : ChannelError.ioOnClosedChannel)
            return
        }
        queue.append(unwrapOutboundIn(data), promise)
    }

    package func flush(context: ChannelHandlerContext) {
        queue.flush()
        if phase == .open { pump(context) }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if phase == .open, context.channel.isWritable { pump(context) }
        context.fireChannelWritabilityChanged()
    }

    /// Encrypts and writes what was flushed, as long as the channel takes it.
    private func pump(_ context: ChannelHandlerContext) {
        while phase == .open, queue.hasFlushed, context.channel.isWritable {
            do throws(TLSError) {
                let promise = try queue.encrypt(
                    with: session, bytesMax: Self.pieceBytesMax, on: context.eventLoop)
                send(context, promise)
            } catch {
                fail(error, context)
            }
        }
        if outputClosing.isRequested, !queue.hasFlushed { finishClosingOutput(context) }
    }

    /// Writes what the session has for the peer.
    private func send(_ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>? = nil) {
        guard let records = session.takeOutbound() else {
            promise?.succeed()
            return
        }
        // This may come back here: a write that drains the channel makes it writable again.
        context.writeAndFlush(wrapOutboundOut(.byteBuffer(records)), promise: promise)
        session.reuse(records)
    }

    // MARK: Closing

    package func close(
        context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?
    ) {
        switch mode {
        case .input: context.close(mode: .input, promise: promise)
        case .output: closeOutput(context, promise)
        case .all:
            if phase == .open {
                // What does not fit into the socket now is lost, as with a channel without TLS.
                pump(context)
                sayCloseNotify(context)
            }
            if phase != .failed { phase = .closed }
            stopTimer()
            queue.fail(ChannelError.ioOnClosedChannel)
            context.close(mode: .all, promise: promise)
        }
    }

    private func closeOutput(_ context: ChannelHandlerContext, _ promise: EventLoopPromise<Void>?) {
        guard phase == .open else { return context.close(mode: .output, promise: promise) }
        guard !outputClosing.isRequested, !isOutputClosed else {
            promise?.fail(ChannelError.outputClosed)
            return
        }
        outputClosing = (true, promise)
        pump(context)
    }

    private func finishClosingOutput(_ context: ChannelHandlerContext) {
        let promise = outputClosing.promise
        outputClosing = (false, nil)
        queue.fail(ChannelError.outputClosed)
        sayCloseNotify(context)
        context.close(mode: .output, promise: promise)
    }

    private func sayCloseNotify(_ context: ChannelHandlerContext) {
        guard !isOutputClosed else { return }
        isOutputClosed = true
        session.shutdown()
        send(context)
    }

    // MARK: Failing

    /// Sends the alert that the session prepared, tells the handlers, and closes so that the alert
    /// arrives.
    private func fail(_ error: TLSError, _ context: ChannelHandlerContext) {
        guard phase != .failed, phase != .closed else { return }
        phase = .failed
        stopTimer()
        send(context)
        queue.fail(error)
        outputClosing.promise?.fail(error)
        outputClosing = (false, nil)
        context.fireErrorCaught(error)
        LingerHandler.close(context.channel, limits: limits)
    }

    private func handshakeTimedOut(_ context: ChannelHandlerContext) {
        guard phase == .handshaking else { return }
        let seconds = limits.handshakeTimeout.nanoseconds / 1_000_000_000
        fail(TLSError(.handshakeBound, "TLS handshake not over after \(seconds) s"), context)
    }

    private func reportTruncation(_ endedIn: Phase, _ context: ChannelHandlerContext) {
        switch endedIn {
        case .handshaking: context.fireErrorCaught(Self.handshakeTruncated)
        case .open where session.hasPartialRecord && !isInputClosed:
            context.fireErrorCaught(Self.recordTruncated)
        case .idle, .open, .closed, .failed: break
        }
    }

    private func stopTimer() {
        timer?.cancel()
        timer = nil
    }

    private static let handshakeTruncated = TLSError(
        .truncated, "the peer closed the connection in the middle of the TLS handshake")
    private static let recordTruncated = TLSError(
        .truncated, "the connection ended in the middle of a TLS record")
}
