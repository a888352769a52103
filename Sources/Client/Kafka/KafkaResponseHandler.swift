// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: matches responses to requests on one Kafka connection.
//
// Owned by its channel's loop. Kafka answers in order, so the waiting requests are a queue; a
// response with another correlation id than the first in it ends the connection. Every request is
// completed once: by its response, by the timeout, or by the end of the connection.

import NIOCore
import Transport

/// The last handler of a Kafka connection.
final class KafkaResponseHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private struct Waiting {
        var correlationId: Int32
        var deadline: NIODeadline
        var promise: EventLoopPromise<ByteBuffer>
    }

    private let endpoint: Endpoint
    private let isSecure: Bool
    private let timeout: TimeAmount
    private let ready: EventLoopPromise<Void>
    private var waiting = CircularBuffer<Waiting>()
    private var splitter = FrameSplitter()
    private var nextCorrelationId: Int32 = 1
    private let hasLogin: Bool
    private var answers = 0
    private var failure: ClientError?
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    /// Known once it is ready.
    private(set) var isCertificateShown = false

    /// - Parameter ready: kept when requests can be sent, after a TLS handshake if there is one.
    init(
        endpoint: Endpoint, isSecure: Bool, hasLogin: Bool, timeoutMs: Int64, ready: EventLoopPromise<Void>
    ) {
        self.hasLogin = hasLogin
        self.endpoint = endpoint
        self.isSecure = isSecure
        timeout = .milliseconds(timeoutMs)
        self.ready = ready
    }

    /// Sends the frame that `encode` makes with the correlation id it gets; the promise is kept
    /// with the response's frame.
    func send(
        _ promise: EventLoopPromise<ByteBuffer>, encode: (Int32) throws -> ByteBuffer
    ) {
        guard let context, failure == nil, context.channel.isActive else {
            return promise.fail(
                failure
                    ?? closed)
        }
        let id = nextCorrelationId
        nextCorrelationId = id == .max ? 1 : id + 1
        do {
            let frame = try encode(id)
            waiting.append(
                Waiting(correlationId: id, deadline: .now() + timeout, promise: promise))
            context.writeAndFlush(wrapOutboundOut(frame), promise: nil)
            if timer == nil { watch(context) }
        } catch {
            promise.fail(ClientError(.invalidArgument, "the request cannot be encoded: \(error)"))
        }
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let handshake = event as? TLSHandshake { isCertificateShown = handshake.isCertificateShown }
        context.fireUserInboundEventTriggered(event)
    }

    func channelActive(context: ChannelHandlerContext) { ready.succeed() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        splitter.append(unwrapInboundIn(data))
        do throws(ClientError) {
            while let frame = try splitter.next() { try complete(frame) }
        } catch {
            fail(error, context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(ClientError(describing: error, on: endpoint), context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(closed, context)
    }

    private var closed: ClientError {
        // Everybody may ask for the versions; whoever goes on without a login that is wanted is cut off.
        guard answers == 1, !hasLogin else {
            return .closed(endpoint, hasAnswered: answers > 0, isSecure: isSecure)
        }
        return ClientError(
            .connection,
            "\(endpoint) closed the connection: it may want a login (--user, or --cert and --key); its log says why")
    }

    private func complete(_ frame: ByteBuffer) throws(ClientError) {
        let id = frame.getInteger(at: frame.readerIndex, as: Int32.self)
        guard let first = waiting.first, first.correlationId == id else {
            throw ClientError(
                .badAnswer, "\(endpoint) sent an answer that belongs to no request: is it a broker?"
            )
        }
        answers += 1
        waiting.removeFirst()
        first.promise.succeed(frame)
    }

    private func fail(_ error: ClientError, _ context: ChannelHandlerContext) {
        if failure == nil { failure = error }
        let reason = failure ?? error
        timer?.cancel()
        timer = nil
        ready.fail(reason)
        while let first = waiting.popFirst() { first.promise.fail(reason) }
        if context.channel.isActive { context.close(promise: nil) }
    }

    /// One timer, for the request that waits longest.
    private func watch(_ context: ChannelHandlerContext) {
        guard let first = waiting.first else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(deadline: first.deadline) {
            let (handler, context) = bound.value
            handler.timer = nil
            guard let first = handler.waiting.first else { return }
            guard first.deadline <= .now() else { return handler.watch(context) }
            let seconds = Double(handler.timeout.nanoseconds) / 1e9
            handler.fail(
                ClientError(.timeout, "no answer from \(handler.endpoint) in \(seconds) s"), context
            )
        }
    }
}
