// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServer: one HTTP/1.1 connection.
//
// Owned by its channel's event loop. Takes one request after the other (the pipeline handler before it sees to that),
// asks the pages for an answer and writes it. Every request must be complete before its deadline, so a peer that sends
// one byte a minute does not keep a connection; an answer waits until the ones before it are taken, and as long. On
// `DrainEvent` an idle connection is closed, a busy one after its answer.
//
//     waiting --head--> reading --end--> answering --written--> waiting | closed
//            \--taken by another edge--> exchange --both ends--> waiting | closed

import Logging
import NIOCore
import NIOHTTP1
import Telemetry
import Transport

final class HTTPConnectionHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State {
        case waiting
        case reading(HTTPRequestHead, bodyBytes: Int)
        case answering(HTTPRequestHead)
        /// Another edge answers.
        case exchange(HTTPExchangeChannel)
        case closing
    }

    private let pages: HTTPPages
    private let limits: HTTPLimits
    private let requests: MetricFamily<Counter>
    private let taker: HTTPTaker?
    private let gate: HTTPGate?
    private let connection: ConnectionContext
    private let logger: Logger
    private var state = State.waiting
    private var isDraining = false
    /// The first request had its answer.
    private var hasAnswered = false
    private var deadline: Scheduled<Void>?
    /// An answer that waits until the peer takes the ones before it.
    private var unsent: HTTPAnswer?

    init(
        pages: HTTPPages, limits: HTTPLimits, requests: MetricFamily<Counter>, taker: HTTPTaker?,
        gate: HTTPGate?, connection: ConnectionContext, logger: Logger
    ) {
        self.taker = taker
        self.gate = gate
        self.pages = pages
        self.limits = limits
        self.requests = requests
        self.connection = connection
        self.logger = logger
    }

    func handlerAdded(context: ChannelHandlerContext) {
        arm(context, limits.firstRequestTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
        if case .exchange(let exchange) = state { exchange.close() }
        state = .closing
    }

    func channelInactive(context: ChannelHandlerContext) {
        if case .exchange(let exchange) = state { exchange.close() }
        state = .closing
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if case .head = part, case .waiting = state, hasAnswered { arm(context, limits.requestTimeout) }
        switch (part, state) {
        case (.head(let head), .waiting) where !Self.saysItsHost(head):
            let text = "The request is not HTTP/1.1 as it should be: one Host field is due (RFC 9112, section 3.2).\n"
            write(HTTPPages.refusal(.badRequest, text, closes: true), to: head, context)
        case (.head(let head), .waiting):
            if !take(head, context) { state = .reading(head, bodyBytes: 0) }
        case (.body(let bytes), .exchange(let exchange)):
            exchange.received(bytes)
        case (.end, .exchange(let exchange)):
            deadline?.cancel()
            exchange.receivedEnd()
        case (.body(let bytes), .reading(let head, let bodyBytes)):
            let total = bodyBytes + bytes.readableBytes
            state = .reading(head, bodyBytes: total)
            guard total > limits.bodyBytesMax else { return }
            let text = "No page takes a body, and this one is over \(limits.bodyBytesMax) bytes.\n"
            write(HTTPPages.refusal(.payloadTooLarge, text, closes: true), to: head, context)
        case (.end, .reading(let head, _)):
            answer(head, context)
        default:
            break  // what follows a request that was refused
        }
    }

    /// Two of them mean different brokers to different readers, and what a page may do depends on it.
    private static func saysItsHost(_ head: HTTPRequestHead) -> Bool {
        let count = head.headers["host"].count
        return count == 1 || count == 0 && head.version != .http1_1
    }

    /// Asks the other edge whether the request is its.
    private func take(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) -> Bool {
        guard let taker else { return false }
        let exchange = HTTPExchangeChannel(context, head, isDraining: { [unowned self] in isDraining }) {
            [unowned self] status, keepsAlive in
            requests.with("grpc", String(status)).increment()
            guard keepsAlive else {
                state = .closing
                return
            }
            state = .waiting
            awaitNext(context)
        }
        // It may answer at once.
        state = .exchange(exchange)
        if exchange.begin(taker, connection) { return true }
        state = .waiting
        return false
    }

    private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        state = .answering(head)
        deadline?.cancel()
        let loop = context.eventLoop
        let bound = NIOLoopBound((self, context), eventLoop: loop)
        guard let gate, HTTPPages.isGuarded(head.uri) else { return respond(to: head, context) }
        gate(head.headers.first(name: "authorization"), connection, loop) { refusal in
            let (handler, context) = bound.value
            guard let refusal else { return handler.respond(to: head, context) }
            handler.finish(HTTPPages.refusal(refusal), context)
        }
    }

    private func respond(to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let loop = context.eventLoop
        let bound = NIOLoopBound((self, context), eventLoop: loop)
        pages.respond(to: head.method, head.uri) { answer in
            if loop.inEventLoop { return bound.value.0.finish(answer, bound.value.1) }
            loop.execute { bound.value.0.finish(answer, bound.value.1) }
        }
    }

    private func finish(_ answer: HTTPAnswer, _ context: ChannelHandlerContext) {
        // The connection may be gone by the time a page is ready.
        guard case .answering(let head) = state, context.channel.isActive else { return }
        guard context.channel.isWritable else {
            unsent = answer
            return arm(context, limits.requestTimeout)
        }
        write(answer, to: head, context)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if case .exchange(let exchange) = state, context.channel.isWritable { exchange.writable() }
        if context.channel.isWritable, let answer = unsent {
            unsent = nil
            finish(answer, context)
        }
        context.fireChannelWritabilityChanged()
    }

    private func write(_ answer: HTTPAnswer, to request: HTTPRequestHead?, _ context: ChannelHandlerContext) {
        let keepsAlive = !answer.closes && !isDraining && (request?.isKeepAlive ?? false)
        var headers = HTTPHeaders([
            ("content-type", answer.contentType), ("content-length", String(answer.body.utf8.count)),
            ("cache-control", "no-store"), ("x-content-type-options", "nosniff"),
        ])
        for challenge in answer.challenges { headers.add(name: "www-authenticate", value: challenge) }
        if answer.status == .methodNotAllowed { headers.add(name: "allow", value: "GET, HEAD") }
        if !keepsAlive {
            headers.add(name: "connection", value: "close")
        } else if request?.version == .http1_0 {
            headers.add(name: "connection", value: "keep-alive")
        }
        requests.with(answer.page, String(answer.status.code)).increment()
        state = keepsAlive ? .waiting : .closing
        let head = HTTPResponseHead(version: .http1_1, status: answer.status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if request?.method != .HEAD {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil)
        }
        let written = context.writeAndFlush(wrapOutboundOut(.end(nil)))
        guard !keepsAlive else { return awaitNext(context) }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        written.whenComplete { _ in bound.value.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is DrainEvent {
            isDraining = true
            if case .waiting = state { context.close(promise: nil) }
            if case .exchange(let exchange) = state { exchange.drain() }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let cause = error as? HTTPParserError else {
            logger.debug("HTTP connection failed: \(error)", metadata: ["peer": "\(connection.remoteAddress)"])
            return context.close(promise: nil)
        }
        logger.info(
            "an HTTP request was not understood: \(cause)", metadata: ["peer": "\(connection.remoteAddress)"])
        if case .exchange(let exchange) = state { return exchange.abort() }
        guard case .closing = state else {
            let text = "The request is not HTTP/1.1 as it should be: \(cause).\n"
            return write(HTTPPages.refusal(.badRequest, text, closes: true), to: nil, context)
        }
    }

    /// The next request is due before the connection counts as idle, and complete soon after it has begun.
    private func awaitNext(_ context: ChannelHandlerContext) {
        hasAnswered = true
        arm(context, limits.idleTimeout)
    }

    /// (Re)starts the time within which the next request must have begun, or be complete.
    private func arm(_ context: ChannelHandlerContext, _ timeout: TimeAmount) {
        deadline?.cancel()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        deadline = context.eventLoop.scheduleTask(in: timeout) {
            let (handler, context) = bound.value
            handler.timedOut(context)
        }
    }

    private func timedOut(_ context: ChannelHandlerContext) {
        // A request that another edge takes has to come as quickly.
        guard case .reading(let head, _) = state else { return context.close(promise: nil) }
        write(
            HTTPPages.refusal(.requestTimeout, "The request was not complete in time.\n", closes: true), to: head,
            context)
    }
}
