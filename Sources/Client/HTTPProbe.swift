// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: one GET of a broker's page, and what the handshake before it agreed on.
//
// For the doctor: the answer is read to the end of the connection, which the request asks for, and is bounded.

import NIOCore
import NIOPosix
import Transport

/// What a broker answered.
package struct HTTPProbe: Sendable {
    package var status: Int
    package var body: String
    /// nil in plaintext.
    package var handshake: TLSHandshake?

    private static let bytesMax = 256 * 1024

    /// Asks for `path`; the connection is closed afterwards.
    package static func get(_ path: String, _ options: ConnectionOptions) async throws -> HTTPProbe {
        let group = MultiThreadedEventLoopGroup.singleton
        let dialer = try Dialer(options, applicationProtocols: ["http/1.1"])
        let loop = group.any()
        let answer = loop.makePromise(of: HTTPProbe.self)
        let request = "GET \(path) HTTP/1.1\r\nHost: \(options.endpoint.host)\r\nConnection: close\r\n\r\n"
        let channel: any Channel
        do {
            channel = try await dialer.dial(options.endpoint, on: loop) { _ in
                [ProbeHandler(request: request, endpoint: options.endpoint, bytesMax: bytesMax, answer: answer)]
            }.get()
        } catch {
            answer.fail(error)
            throw error
        }
        let timer = loop.scheduleTask(in: .milliseconds(options.requestTimeoutMs)) {
            answer.fail(ClientError(.timeout, "\(options.endpoint) did not answer in \(options.requestTimeoutMs) ms"))
            channel.close(promise: nil)
        }
        defer { timer.cancel() }
        return try await answer.futureResult.get()
    }
}

/// Sends the request when the connection is ready and collects until it is closed. Owned by its loop.
private final class ProbeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: String
    private let endpoint: Endpoint
    private let bytesMax: Int
    private let answer: EventLoopPromise<HTTPProbe>
    private var handshake: TLSHandshake?
    private var text = ""

    init(request: String, endpoint: Endpoint, bytesMax: Int, answer: EventLoopPromise<HTTPProbe>) {
        self.request = request
        self.endpoint = endpoint
        self.bytesMax = bytesMax
        self.answer = answer
    }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: request)), promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSHandshake { handshake = event }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        text += String(buffer: unwrapInboundIn(data))
        if text.utf8.count > bytesMax { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        answer.fail(ClientError(describing: error, on: endpoint))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        let words = text.split(separator: " ", maxSplits: 2)
        guard words.count > 1, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]),
            let end = text.firstRange(of: "\r\n\r\n")
        else {
            return answer.fail(
                ClientError.closed(endpoint, hasAnswered: false, isSecure: handshake != nil))
        }
        answer.succeed(HTTPProbe(status: status, body: String(text[end.upperBound...]), handshake: handshake))
    }
}
