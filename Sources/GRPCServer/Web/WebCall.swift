// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one call that came as a web request: between a gRPC call and a sink that takes an HTTP answer.
//
//   request body -> translator -> call -> frames -> translator -> sink
//
// Confined to its connection's loop. Like a gRPC stream it is pulled: the call is asked for more only when the sink has room.

import GRPCWire
import HTTP2
import NIOCore
import Telemetry
import Transport

/// Where a web request's answer goes: an HTTP/2 stream or an HTTP/1.1 exchange.
protocol WebSink: AnyObject {
    /// `length`: of the body, where it is known.
    func head(_ head: WebHead, length: Int?)
    func write(_ bytes: ByteBuffer)
    func finish()
    /// The peer does not take what there is.
    var isHeldUp: Bool { get }
    /// There is something to send: call `WebCall.pull` when there is room.
    func resume()
    func abandon()
}

final class WebCall: CallStream {
    var outbound = ByteBuffer()
    /// What came while this was true is kept as it is: what it means is found out when the call may begin.
    var isInboundHeld = false {
        didSet { if oldValue, !isInboundHeld, hasRequest { readRequest() } }
    }
    var isHeldUp: Bool { sink.isHeldUp }
    private(set) var call: GRPCCall?
    private let translator: any WebTranslator
    private unowned let sink: any WebSink
    private let owner: any CallOwner
    private let fields: [(name: String, value: String)]
    private var hasHead = false
    private var isFinished = false
    /// What is answered when the request is complete, whatever it is: there are clients that take an earlier answer for a failure.
    private var refusal: GRPCStatus?
    private var hasRequest = false
    /// Bytes of the request so far, and what of them counts among the unfinished requests of all connections.
    private var received = 0
    private var shared = 0

    /// `fields` are added to the answer's head.
    init(
        _ translator: any WebTranslator, sink: any WebSink, owner: any CallOwner,
        fields: [(name: String, value: String)]
    ) {
        self.translator = translator
        self.sink = sink
        self.owner = owner
        self.fields = fields
    }

    func begin(_ route: GRPCRoute, encoding: MessageEncoding, deadline: NIODeadline?, head: HTTPHead) {
        let made = GRPCCall(connection: owner, stream: self, route: route, encoding: encoding, deadline: deadline)
        call = made
        made.begin(
            traceparent: head[TraceContext.headerName], clientId: head["client-id"], authorization: head["authorization"])
    }

    // MARK: The request

    func received(_ body: ByteBuffer) {
        guard !isFinished, refusal == nil else { return }
        received += body.readableBytes
        if received > Limits.unsharedRequestBytes {
            guard owner.server.memory.hasRoom() else {
                return refuse(
                    GRPCStatus(
                        .resourceExhausted, "UNFINISHED_REQUESTS", retryMs: 1000,
                        "unfinished requests of all connections hold too much already; try again later"))
            }
            owner.server.memory.adjust(by: received - shared)
            shared = received
        }
        call?.timed { forward { () throws(GRPCStatus) in try translator.received(body) } }
    }

    func receivedEnd() {
        guard !isFinished else { return }
        hasRequest = true
        if let refusal { return refuse(refusal) }
        if !isInboundHeld { readRequest() }
    }

    private func readRequest() {
        guard !isFinished, let call, !call.hasEnded else { return }
        call.timed {
            forward { () throws(GRPCStatus) in try translator.receivedEnd() }
            giveBack()
            if !isFinished { call.receivedEnd() }
        }
    }

    private func forward(_ translate: () throws(GRPCStatus) -> ByteBuffer) {
        do throws(GRPCStatus) {
            let frames = try translate()
            if frames.readableBytes > 0 { call?.received(frames) }
        } catch {
            if let call, !call.hasEnded { call.fail(error) } else { refuse(error) }
        }
    }

    private func giveBack() {
        if shared > 0 { owner.server.memory.adjust(by: -shared) }
        shared = 0
    }

    func closed() {
        isFinished = true
        giveBack()
        call?.closed()
    }

    // MARK: The answer

    func begin(_ fields: HTTP2FieldList) {
        if translator.beginsWithMessage { pullFirst() } else { beginAnswer() }
    }

    /// Without a head nobody asks for more.
    private func pullFirst() { pull(room: Limits.subscribeMessageBytesMin) }

    private func beginAnswer() {
        guard !hasHead, let head = translator.begin() else { return }
        write(head, length: nil)
    }

    func finish(_ status: GRPCStatus) {
        guard !isFinished else { return }
        if !hasRequest, !hasHead, status.isAboutRequest { return refuseAtEnd(status) }
        let status = forwardAnswer() ?? status
        isFinished = true
        giveBack()
        let (head, body) = translator.end(status)
        if !hasHead { write(head, length: body.readableBytes) }
        if body.readableBytes > 0 { sink.write(body) }
        sink.finish()
    }

    func refuse(_ status: GRPCStatus) { finish(status) }

    /// Nothing more is kept of the request.
    func refuseAtEnd(_ status: GRPCStatus) {
        refusal = status
        giveBack()
    }

    func resume() {
        guard !isFinished else { return }
        if translator.beginsWithMessage, !hasHead { pullFirst() } else { sink.resume() }
    }

    func abandon() {
        isFinished = true
        giveBack()
        sink.abandon()
    }

    /// There is room for about this many bytes.
    func pull(room: Int) {
        guard !isFinished, let call else { return }
        call.timed {
            if outbound.readableBytes == 0 { call.produce(room: room) }
            guard !isFinished, let failure = forwardAnswer() else { return }
            call.fail(failure)
        }
    }

    /// Gives what the call has said to the sink; returns why that is not possible.
    private func forwardAnswer() -> GRPCStatus? {
        guard outbound.readableBytes > 0 else { return nil }
        let frames = outbound
        outbound = ByteBuffer()
        do throws(GRPCStatus) {
            let body = try translator.answer(frames)
            beginAnswer()
            if body.readableBytes > 0 { sink.write(body) }
            return nil
        } catch {
            return error
        }
    }

    private func write(_ head: WebHead, length: Int?) {
        hasHead = true
        var head = head
        head.fields += fields
        head.fields.append(("x-content-type-options", "nosniff"))
        sink.head(head, length: length)
    }
}

extension GRPCStatus {
    /// What a request says is wrong, and that can wait until it has been said; everything else is answered at once.
    fileprivate var isAboutRequest: Bool {
        switch code {
        case .invalidArgument, .unimplemented, .internal: true
        default: false
        }
    }
}
