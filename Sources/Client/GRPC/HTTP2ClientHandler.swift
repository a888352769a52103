// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: an HTTP/2 session in a pipeline, the client's side.
//
// Owned by its channel's loop. Moves bytes between session and channel: what was read goes in at
// once, what the session wants to send is collected when a read is complete, or on `flush` after
// requests from elsewhere; while the channel is not writable nothing is collected, so what waits is
// bounded.

import Bytes
import HTTP2
import NIOCore
import Transport

/// What the owner of a connection is told.
protocol HTTP2ClientOwner: AnyObject {
    /// Requests can be sent.
    func connectionReady(_ handler: HTTP2ClientHandler)
    /// The connection is over; every stream has been told.
    func connectionFailed(_ error: ClientError)
}

/// The last handler of an HTTP/2 connection.
final class HTTP2ClientHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let session: HTTP2Session
    let endpoint: Endpoint
    private let isSecure: Bool
    private let authorization: String?
    private let owner: any HTTP2ClientOwner
    private var context: ChannelHandlerContext?
    private var hasAnswered = false
    private var isOver = false
    private static let collectBytes = 64 * 1024

    init(
        endpoint: Endpoint, isSecure: Bool, authorization: String? = nil, owner: any HTTP2ClientOwner,
        configuration: HTTP2Configuration = HTTP2ClientHandler.largeWindows
    ) {
        self.endpoint = endpoint
        self.isSecure = isSecure
        self.authorization = authorization
        self.owner = owner
        session = HTTP2Session(role: .client, configuration: configuration, clock: SystemClock())
    }

    /// Windows that keep a fast sender going.
    static let largeWindows: HTTP2Configuration = {
        var configuration = HTTP2Configuration()
        configuration.streamWindowBytes = 4 << 20
        configuration.connectionWindowBytes = 16 << 20
        return configuration
    }()

    /// The request headers of a method. `permanent`: never freed, for lists that are used all the
    /// time.
    func headers(path: String, permanent: Bool = false) -> HTTP2FieldList {
        let fields = [
            (name: ":method", value: "POST"), (name: ":scheme", value: isSecure ? "https" : "http"),
            (name: ":path", value: path), (name: ":authority", value: endpoint.description),
            (name: "content-type", value: "application/grpc"), (name: "te", value: "trailers"),
            (name: "user-agent", value: "martlet"),
        ] + (authorization.map { [(name: "authorization", value: $0)] } ?? [])
        return HTTP2FieldList(fields, permanent: permanent)
    }

    /// Sends what has been submitted.
    func flush() {
        guard let context else { return }
        if writeCollected(context) { context.flush() }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        flush()
        owner.connectionReady(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        hasAnswered = true
        do throws(HTTP2Error) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            fail(notHTTP2(error), context)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
        if session.isDone && !isOver { context.close(promise: nil) }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { flush() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let handshake = event as? TLSHandshake, handshake.applicationProtocol != "h2" {
            fail(
                ClientError(.connection, "\(endpoint) speaks TLS but does not offer HTTP/2"),
                context)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(ClientError(describing: error, on: endpoint), context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(.closed(endpoint, hasAnswered: hasAnswered, isSecure: isSecure), context)
        self.context = nil
    }

    /// Writes what the session has to send; whether there was something.
    private func writeCollected(_ context: ChannelHandlerContext) -> Bool {
        var hasWritten = false
        var isMore = true
        while isMore && context.channel.isWritable {
            var buffer = ByteBuffer()
            do throws(HTTP2Error) {
                isMore = try session.collect(into: &buffer, limit: Self.collectBytes)
            } catch {
                fail(notHTTP2(error), context)
                return hasWritten
            }
            guard buffer.readableBytes > 0 else { break }
            context.write(wrapOutboundOut(buffer), promise: nil)
            hasWritten = true
        }
        return hasWritten
    }

    private func notHTTP2(_ error: HTTP2Error) -> ClientError {
        ClientError(
            .badAnswer,
            """
            \(endpoint) does not answer in HTTP/2 (\(error.message)): is it a Martlet broker, and \
            does it expect TLS (--ca, --cert, --key)?
            """
        )
    }

    private func fail(_ error: ClientError, _ context: ChannelHandlerContext) {
        guard !isOver else { return }
        isOver = true
        session.connectionClosed()
        owner.connectionFailed(error)
        context.close(promise: nil)
    }
}
