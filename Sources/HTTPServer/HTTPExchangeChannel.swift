// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServer: one request that another edge answers: its side of the connection.
//
// Confined to the channel's loop. It is over when the request and the answer are both complete, or when the connection ends; an
// answer that is complete before its request ends the connection.

import NIOCore
import NIOHTTP1
import Transport

final class HTTPExchangeChannel: HTTPExchange {
    private let context: ChannelHandlerContext
    private let request: HTTPRequestHead
    private let isDraining: () -> Bool
    private let over: (_ status: Int, _ keepsAlive: Bool) -> Void
    private var handler: (any HTTPExchangeHandler)?
    private var status = 0
    private var hasRequest = false
    private var hasAnswer = false
    private var isClosed = false

    init(
        _ context: ChannelHandlerContext, _ request: HTTPRequestHead, isDraining: @escaping () -> Bool,
        over: @escaping (_ status: Int, _ keepsAlive: Bool) -> Void
    ) {
        self.context = context
        self.request = request
        self.isDraining = isDraining
        self.over = over
    }

    /// Offers the request; false if it is not taken.
    func begin(_ taker: HTTPTaker, _ connection: ConnectionContext) -> Bool {
        let head = HTTPHead(
            method: request.method.rawValue, target: request.uri,
            fields: request.headers.map { (name: $0.name.lowercased(), value: $0.value) })
        guard let handler = taker(head, connection, context.eventLoop, self) else { return false }
        if !isClosed { self.handler = handler } else { handler.closed() }
        // A client that asks first whether its body is welcome waits for this (RFC 9110, section 10.1.1).
        if !isClosed, !hasAnswer, status == 0, request.version == .http1_1,
            request.headers[canonicalForm: "expect"].contains(where: { $0.lowercased() == "100-continue" })
        {
            let head = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
        }
        return true
    }

    // MARK: From the connection

    func received(_ body: ByteBuffer) { handler?.received(body) }

    func receivedEnd() {
        hasRequest = true
        handler?.receivedEnd()
        if hasAnswer { finish(keepsAlive: keepsAlive) }
    }

    func writable() { handler?.writable() }
    func drain() { handler?.drain() }

    /// The connection is gone.
    func close() {
        isClosed = true
        let handler = self.handler
        self.handler = nil
        handler?.closed()
    }

    // MARK: From the edge that answers

    var isWritable: Bool { !isClosed && context.channel.isWritable }

    private var keepsAlive: Bool { request.isKeepAlive && !isDraining() && request.version == .http1_1 }

    /// Nothing but the end of the request is to come.
    private var isBodiless: Bool { [.GET, .HEAD, .OPTIONS].contains(request.method) }

    func respond(_ status: Int, _ fields: [(name: String, value: String)], length: Int?) {
        guard !isClosed else { return }
        self.status = status
        var headers = HTTPHeaders(fields.map { ($0.name, $0.value) })
        if let length, status != 204 { headers.add(name: "content-length", value: String(length)) }
        if !headers.contains(name: "cache-control") { headers.add(name: "cache-control", value: "no-store") }
        if !keepsAlive || !hasRequest && !isBodiless { headers.add(name: "connection", value: "close") }
        let version: HTTPVersion = request.version == .http1_0 ? .http1_0 : .http1_1
        let head = HTTPResponseHead(version: version, status: HTTPResponseStatus(statusCode: status), headers: headers)
        context.writeAndFlush(NIOAny(HTTPServerResponsePart.head(head)), promise: nil)
    }

    func write(_ bytes: ByteBuffer) {
        guard !isClosed else { return }
        context.writeAndFlush(NIOAny(HTTPServerResponsePart.body(.byteBuffer(bytes))), promise: nil)
    }

    func end() {
        guard !isClosed, !hasAnswer else { return }
        hasAnswer = true
        let written = context.writeAndFlush(NIOAny(HTTPServerResponsePart.end(nil)))
        if hasRequest, keepsAlive { return finish(keepsAlive: true) }
        // What still comes of the request is nobody's.
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        if keepsAlive, !hasRequest, isBodiless { return }
        finish(keepsAlive: false)
        written.whenComplete { _ in bound.value.close(promise: nil) }
    }

    func abort() {
        guard !isClosed else { return }
        finish(keepsAlive: false)
        context.close(promise: nil)
    }

    private func finish(keepsAlive: Bool) {
        guard !isClosed else { return }
        close()
        over(status, keepsAlive)
    }
}
