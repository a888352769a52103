// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: closes a connection so that the peer can still read the last words.
//
// A socket that is closed while received bytes are unread is reset, and a reset makes the peer's
// kernel drop what it has not read yet: the TLS alert or the 403. So the output is closed first,
// what the peer still sends is thrown away, and the socket is closed when the peer closes, or at a
// bound of bytes or time. Owned by the channel's event loop; stands first in the pipeline, so
// nothing behind it sees those bytes.

import NIOCore

/// Throws input away until the peer closes or a bound is reached.
final class LingerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let timeout: TimeAmount
    private var bytesLeft: Int
    private var timer: Scheduled<Void>?

    init(limits: TransportLimits) {
        timeout = limits.lingerTimeout
        bytesLeft = limits.lingerBytesMax
    }

    /// Closes the output of `channel`, and all of it soon after. What was flushed before is still
    /// sent.
    static func close(_ channel: any Channel, limits: TransportLimits) {
        guard channel.isActive else { return }
        do {
            try channel.pipeline.syncOperations.addHandler(
                LingerHandler(limits: limits), position: .first)
        } catch {
            // The pipeline is being torn down: there is nobody left to linger for.
            channel.close(promise: nil)
        }
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
        let closed = context.eventLoop.makePromise(of: Void.self)
        closed.futureResult.whenFailure { _ in channel.close(promise: nil) }
        context.close(mode: .output, promise: closed)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        bytesLeft -= unwrapInboundIn(data).readableBytes
        if bytesLeft < 0 { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Without auto-read nobody else asks for what is to be thrown away.
        context.read()
    }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
    }
}
