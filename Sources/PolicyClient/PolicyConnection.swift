// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClient: one HTTP/1.1 connection to an external policy: one question at a time.
//
// Confined to its channel's event loop, which is the client's. What it reads is bounded before it is kept.

import Engine
import NIOCore
import NIOHTTP1
import Transport

/// What came of a question on a connection.
enum PolicyOutcome {
    case answer(PolicyAnswer)
    /// The connection ended before a byte of the answer: it may have been too old.
    case unanswered(String)
}

final class PolicyConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let address: PolicyAddress
    /// Which of the client's authorities it was made with.
    let trustNumber: Int
    /// The connection may take a question; or, once, it is of no use any more, and why.
    private let onIdle: (PolicyConnection) -> Void
    private let onEnd: (PolicyConnection, String?) -> Void
    private var context: ChannelHandlerContext?
    private var pending: ((PolicyOutcome) -> Void)?
    private var status: HTTPResponseHead?
    private var body: [UInt8] = []
    private var hasEnded = false
    private(set) var questions = 0
    /// Whether it ever could take one.
    private(set) var wasReady = false

    init(
        _ address: PolicyAddress, trustNumber: Int, onIdle: @escaping (PolicyConnection) -> Void,
        onEnd: @escaping (PolicyConnection, String?) -> Void
    ) {
        self.address = address
        self.trustNumber = trustNumber
        self.onIdle = onIdle
        self.onEnd = onEnd
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func send(_ input: String, authorization: String?, completion: @escaping (PolicyOutcome) -> Void) {
        precondition(pending == nil, "a connection to the policy is asked one thing at a time")
        guard let context else { return completion(.unanswered("the connection was closed")) }
        pending = completion
        questions += 1
        status = nil
        body = []
        let bytes = ByteBuffer(string: input)
        var fields: HTTPHeaders = [
            "host": address.hostField, "content-type": "application/json", "accept": "application/json",
            "content-length": "\(bytes.readableBytes)", "user-agent": "martlet",
        ]
        if let authorization { fields.add(name: "authorization", value: authorization) }
        let head = HTTPRequestHead(version: .http1_1, method: .POST, uri: address.path, headers: fields)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(bytes))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    /// Nobody waits for the answer any more: what would come is not the next one's.
    func close() {
        pending = nil
        end(nil)
    }

    /// After the handshake, where there is one.
    func channelActive(context: ChannelHandlerContext) {
        wasReady = true
        onIdle(self)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): status = head
        case .body(let bytes):
            guard body.count + bytes.readableBytes <= Limits.answerBytes else {
                return end(.answer(.failed("its answer is larger than \(Limits.answerBytes) bytes")))
            }
            body += Array(buffer: bytes)
        case .end: answered()
        }
    }

    private func answered() {
        // An answer to nothing: whatever comes next cannot be told apart from it.
        guard let status, let pending else { return close() }
        self.pending = nil
        let answer = PolicyDocument.answer(status: Int(status.status.code), body: body)
        body = []
        pending(.answer(answer))
        if status.isKeepAlive, !hasEnded { onIdle(self) } else { close() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let cause = "the connection was closed before it answered"
        end(status == nil ? .unanswered(cause) : .answer(.failed(cause)))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let cause = (error as? TLSError).map { "TLS failed: \($0.message)" } ?? "its answer cannot be read: \(error)"
        end(.answer(.failed(cause)))
    }

    private func end(_ outcome: PolicyOutcome?) {
        guard !hasEnded else { return }
        hasEnded = true
        let pending = pending
        self.pending = nil
        context?.close(promise: nil)
        onEnd(self, outcome?.cause)
        if let outcome { pending?(outcome) }
    }
}

extension PolicyOutcome {
    fileprivate var cause: String? {
        switch self {
        case .unanswered(let cause), .answer(.failed(let cause)): cause
        case .answer: nil
        }
    }
}
