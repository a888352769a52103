// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: EmbeddedChannels with TLSHandlers, and a handler that takes notes.

import NIOCore
import NIOEmbedded

@testable import Transport

/// Notes what reaches the end of a pipeline.
final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    var received = ByteBuffer()
    var reads = 0
    /// Everything but reads, in order.
    var events: [String] = []
    var handshake: TLSHandshake?
    var errors: [any Error] = []

    var tlsError: TLSError? { errors.lazy.compactMap { $0 as? TLSError }.first }

    func channelActive(context: ChannelHandlerContext) { events.append("active") }
    func channelInactive(context: ChannelHandlerContext) { events.append("inactive") }
    func channelReadComplete(context: ChannelHandlerContext) { events.append("readComplete") }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        received.writeBuffer(&bytes)
        reads += 1
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let event as TLSHandshake:
            handshake = event
            events.append("handshake")
        case let event as ChannelEvent: events.append("\(event)")
        default: events.append("\(type(of: event))")
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        errors.append(error)
        events.append("error")
    }
}

/// Counts reads that are asked for, and closes of each kind. Stands at the pipeline's front.
final class OutboundSpy: ChannelOutboundHandler {
    typealias OutboundIn = IOData

    var reads = 0
    var writes = 0
    var closes: [CloseMode] = []

    func read(context: ChannelHandlerContext) {
        reads += 1
        context.read()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        writes += 1
        context.write(data, promise: promise)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        closes.append(mode)
        // An EmbeddedChannel knows no half closure and would close altogether.
        if mode == .all { context.close(mode: mode, promise: promise) } else { promise?.succeed() }
    }
}

/// One side of a connection in memory.
struct Side {
    let channel: EmbeddedChannel
    let recorder = Recorder()
    let spy = OutboundSpy()

    init(_ handler: some ChannelHandler) throws {
        channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandlers([spy, handler, recorder])
    }

    func activate() throws {
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 9092), promise: nil)
    }

    func write(_ text: String) {
        channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
    }
}

/// A TLS client and a TLS server, joined.
struct TLSChannels {
    let client: Side
    let server: Side

    init(
        client: TLSContext? = nil, server: TLSContext? = nil,
        authentication: ClientAuthentication = .required,
        limits: TransportLimits = TransportLimits()
    ) throws {
        let authority = TestAuthority.shared
        self.client = try Side(
            TLSHandler.client(
                context: client ?? authority.clientContext(), host: "localhost", limits: limits))
        self.server = try Side(
            TLSHandler.server(
                context: server ?? authority.serverContext(), clientAuthentication: authentication,
                limits: limits))
    }

    /// Activates both and runs the handshake.
    func connect() throws {
        try server.activate()
        try client.activate()
        try exchange()
    }

    /// Carries bytes until neither side has any.
    func exchange() throws {
        while try move(client, server) || move(server, client) {}
    }

    /// Carries what `from` has sent; false if that was nothing. Like a kernel, loses it if `to` is
    /// closed.
    @discardableResult
    func move(_ from: Side, _ to: Side) throws -> Bool {
        guard let bytes = try from.channel.readOutbound(as: ByteBuffer.self) else { return false }
        if to.channel.isActive {
            to.channel.pipeline.fireChannelRead(bytes)
            to.channel.pipeline.fireChannelReadComplete()
        }
        return true
    }
}
