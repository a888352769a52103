// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a web request of an HTTP/1.1 connection, which it owns for the time of one exchange.
//
// Confined to the connection's loop. The answer is written while the peer takes it, in pieces, after the other connections of
// the turn.

import Engine
import GRPCWire
import NIOCore
import Records
import Synchronization
import Transport

final class HTTPWebSink: WebSink, CallOwner, HTTPExchangeHandler, TurnParticipant, @unchecked Sendable {
    // Unchecked: see above.
    let server: GRPCServer
    let peer: ConnectionContext
    let loop: any EventLoop
    let turn: Turn
    private(set) lazy var gatherer = server.publishing.gatherer(for: turn)
    lazy var decompressor = Decompressor()
    var bufferedBytes = 0
    var heldCalls = 0
    private let exchange: any HTTPExchange
    private var call: WebCall?
    private var deadline: Scheduled<Void>?
    private var isOver = false
    private var pumpIsComing = false
    private var hasWritten = false

    private init(_ server: GRPCServer, _ peer: ConnectionContext, _ loop: any EventLoop, _ exchange: any HTTPExchange) {
        self.server = server
        self.peer = peer
        self.loop = loop
        self.exchange = exchange
        turn = server.engine.turns.turn(for: loop)
    }

    /// Takes a web request; nil: it is none.
    static func take(
        _ server: GRPCServer, _ head: HTTPHead, _ peer: ConnectionContext, _ loop: any EventLoop,
        _ exchange: any HTTPExchange
    ) -> HTTPWebSink? {
        guard let request = WebRequest(head) else { return nil }
        let sink = HTTPWebSink(server, peer, loop, exchange)
        sink.call = server.begin(request, head, sink: sink, owner: sink)
        if let at = sink.call?.call?.deadline {
            sink.deadline = loop.scheduleTask(deadline: at) { sink.call?.call?.expire() }
        }
        return sink
    }

    // MARK: The exchange

    func received(_ body: ByteBuffer) { call?.received(body) }
    func receivedEnd() { call?.receivedEnd() }
    func writable() { scheduleFlush() }
    func drain() { call?.call?.drain() }

    func closed() {
        isOver = true
        deadline?.cancel()
        deadline = nil
        call?.closed()
        call = nil
    }

    // MARK: The answer

    func head(_ head: WebHead, length: Int?) {
        var fields = head.fields
        if !head.contentType.isEmpty { fields.insert(("content-type", head.contentType), at: 0) }
        exchange.respond(head.status, fields, length: length)
    }

    func write(_ bytes: ByteBuffer) {
        hasWritten = true
        exchange.write(bytes)
    }

    var isHeldUp: Bool { !exchange.isWritable }

    func finish() {
        guard !isOver else { return }
        isOver = true
        deadline?.cancel()
        deadline = nil
        exchange.end()
    }

    func abandon() {
        isOver = true
        exchange.abort()
    }

    func resume() { scheduleFlush() }

    // MARK: The owner

    func scheduleFlush() {
        guard !pumpIsComing, !isOver else { return }
        pumpIsComing = true
        turn.atEnd(self)
    }

    func turnEnded() {
        pumpIsComing = false
        guard !isOver, exchange.isWritable, let call else { return }
        hasWritten = false
        call.pull(room: Limits.writeBytes)
        // Goes on after the other connections of the loop.
        guard hasWritten, !isOver, !pumpIsComing else { return }
        pumpIsComing = true
        loop.execute { self.turnEnded() }
    }

    func nextUnkeyedPartition(of count: Int) -> Int32 {
        Int32(Int(server.unkeyed.wrappingAdd(1, ordering: .relaxed).newValue) % max(1, count))
    }

    func keepLater(_ call: GRPCCall) { call.keepReceived() }
    func forget(_ call: GRPCCall) {}
}
