// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: one HTTP/2 connection: bytes to and from its session, its calls, and draining.
//
//   bytes -> HTTP2Session -> route -> GRPCCall -> method -> answer in the stream's buffer -> collected once a turn -> bytes
//
//   open --DrainEvent--> GOAWAY, streams ended --ping answered or 1 s--> new calls refused --last call ended--> closed
//
// Confined to its channel's event loop. Output is collected only while the channel is writable, so what a connection
// holds is bounded by the channel's mark, one collection, and one message for each stream. Reading stops while the
// peer does not take what it is sent.

import Engine
import GRPCWire
import HTTP2
import Logging
import NIOCore
import Records
import Telemetry
import Transport

final class GRPCConnection: ChannelDuplexHandler, @unchecked Sendable {
    // Unchecked: every entry point runs on the channel's event loop; other threads only hold the reference.
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    let server: GRPCServer
    let peer: ConnectionContext
    let turn: Turn
    let loop: any EventLoop
    /// Bytes of requests that are not complete, of all calls.
    var bufferedBytes = 0
    var heldCalls = 0
    lazy var decompressor = Decompressor()
    private(set) lazy var gatherer = server.publishing.gatherer(for: turn)
    private let session: HTTP2Session
    private var context: ChannelHandlerContext?
    private var outbound = ByteBuffer()
    /// The call whose request still shares the bytes of the current read.
    private var sharing: GRPCCall?
    private lazy var deadlines = CallDeadlines(loop) { [unowned self] in openCalls }
    private var goAwayTimer: Scheduled<Void>?
    private var unkeyedPartition: UInt32
    private var isReading = false
    private var isFlushing = false
    private var flushIsComing = false
    private var readIsHeld = false
    private var isDraining = false
    /// When the last stream ended, or the connection began.
    var unusedSince = NIODeadline.uptimeNanoseconds(0)
    var idleCheck: Scheduled<Void>?

    init(server: GRPCServer, peer: ConnectionContext, loop: any EventLoop) {
        self.server = server
        self.peer = peer
        self.loop = loop
        turn = server.engine.turns.turn(for: loop)
        session = HTTP2Session(role: .server, configuration: server.http2, clock: server.engine.clock)
        unkeyedPartition = UInt32(truncatingIfNeeded: peer.id)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        session.delegate = self
        server.metrics.connectionOpened()
        if peer.peerCertificate != nil {
            server.engine.audit.record(
                AuditEvent(
                    .login,
                    AuditSubject(
                        principal: peer.principal, address: peer.remoteAddress, port: peer.remotePort, wire: "grpc",
                        listener: peer.listenerName), "certificate", .succeeded))
        }
        watchIdleness()
        // The server's SETTINGS: a server speaks first as well (RFC 9113, section 3.4).
        flush()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        abandon()
        server.metrics.connectionClosed()
    }

    func channelInactive(context: ChannelHandlerContext) {
        abandon()
        context.fireChannelInactive()
    }

    /// The peer is gone: every call is told so.
    private func abandon() {
        context = nil
        deadlines.cancel()
        idleCheck?.cancel()
        idleCheck = nil
        goAwayTimer?.cancel()
        goAwayTimer = nil
        session.connectionClosed()
    }

    /// Where records without key and partition go: every request to the next one, so that they spread.
    func nextUnkeyedPartition(of count: Int) -> Int32 {
        unkeyedPartition &+= 1
        return Int32(Int(unkeyedPartition) % max(1, count))
    }
}

// MARK: - In

extension GRPCConnection {
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        do throws(HTTP2Error) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            return close("\(error)")
        }
        if let sharing {
            self.sharing = nil
            sharing.keepReceived()
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flush()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if context.channel.isWritable { context.read() } else { readIsHeld = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if !isReading { flush() }
            if readIsHeld {
                readIsHeld = false
                context.read()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is DrainEvent { drain() }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        server.logger.debug(
            "gRPC connection failed", metadata: ["peer": "\(peer.remoteAddress)", "cause": "\(error)"])
        context.close(promise: nil)
    }

    /// A call has an incomplete request that shares the bytes of this read. Only the last such call does.
    func keepLater(_ call: GRPCCall) {
        if let sharing, sharing !== call { sharing.keepReceived() }
        sharing = call
    }

    var hasOpenStreams: Bool { session.streamCount > 0 }

    private var openCalls: [GRPCCall] {
        session.openStreams.compactMap { $0.handler as? GRPCCall ?? ($0.handler as? HTTP2WebSink)?.call?.call }
    }

    func forget(_ call: GRPCCall) {
        if sharing === call { sharing = nil }
    }
}

// MARK: - Calls

extension GRPCConnection: HTTP2SessionDelegate {
    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        if !CallHead.isGRPC(fields), let request = WebRequest(fields.head) {
            // Fields are missing, maybe the one that says whose page this is.
            guard !fields.isTruncated else { return stream.respond(GRPCFields.refusal(431), endOfStream: true) }
            return begin(request, fields.head, endOfStream: endOfStream, on: stream)
        }
        guard fields.matches(.method, "POST") else {
            return stream.respond(GRPCFields.refusal(405, [("allow", "POST")]), endOfStream: true)
        }
        guard CallHead.isGRPC(fields) else {
            return stream.respond(GRPCFields.refusal(415), endOfStream: true)
        }
        do throws(GRPCStatus) {
            let call = makeCall(try CallHead(fields, server.router, server.http2), stream)
            stream.handler = call
            if let deadline = call.deadline { deadlines.watch(deadline) }
            call.begin(
                traceparent: fields.value(named: TraceContext.headerName), clientId: fields.value(named: "client-id"),
                authorization: fields.value(named: "authorization"))
            if endOfStream { call.receivedEnd(on: stream) }
        } catch {
            stream.respond(GRPCFields.trailersOnly(error), endOfStream: true)
        }
    }

    /// A browser's call.
    private func begin(_ request: WebRequest, _ head: HTTPHead, endOfStream: Bool, on stream: HTTP2Stream) {
        let sink = HTTP2WebSink(stream, self)
        stream.handler = sink
        sink.call = server.begin(request, head, sink: sink, owner: self)
        if let deadline = sink.call?.call?.deadline { deadlines.watch(deadline) }
        if endOfStream { sink.call?.receivedEnd() }
    }

    private func makeCall(_ head: CallHead, _ stream: HTTP2Stream) -> GRPCCall {
        GRPCCall(
            connection: self, stream: stream, route: head.route, encoding: head.encoding,
            answers: head.takesCompressed ? server.compressors.compressor(for: loop) : nil,
            deadline: head.timeout.map { loop.now + $0 })
    }

    func receivedSettings() {}
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) {}
    func allStreamsEnded() { unusedSince = loop.now }

    func receivedPingAnswer() {
        if isDraining { refuseNewCalls() }
    }
}

// MARK: - Out

extension GRPCConnection: TurnParticipant {
    /// Has what was submitted sent: after the current read, or at the end of the loop's turn.
    func scheduleFlush() {
        guard !isReading, !isFlushing, !flushIsComing else { return }
        flushIsComing = true
        turn.atEnd(self)
    }

    func turnEnded() {
        flushIsComing = false
        if !isReading { flush() }
    }

    /// Goes on with a long output after the other connections of the loop.
    private func flushLater() {
        guard !flushIsComing else { return }
        flushIsComing = true
        loop.execute { self.turnEnded() }
    }

    private func flush() {
        guard let context, !isFlushing else { return }
        isFlushing = true
        var hasMore = true
        var writes = 0
        do throws(HTTP2Error) {
            while hasMore, context.channel.isWritable, writes < Limits.writesPerTurn {
                outbound.clear()
                hasMore = try session.collect(into: &outbound, limit: Limits.writeBytes)
                if outbound.readableBytes == 0 { break }
                context.writeAndFlush(wrapOutboundOut(outbound), promise: nil)
                writes += 1
            }
        } catch {
            isFlushing = false
            return close("\(error)")
        }
        isFlushing = false
        if outbound.capacity > Limits.keptWriteBytes, !hasMore { outbound = ByteBuffer() }
        if session.isDone { return closeWhenDone() }
        if hasMore, context.channel.isWritable { flushLater() }
    }

    /// The session has nothing left to say: drained, or ended by an error of the peer's.
    private func closeWhenDone() {
        guard let context else { return }
        if let code = session.goAwaySent, code != .noError {
            report("HTTP/2 error \(code.rawValue): \(session.diagnostic ?? "the client broke the protocol")")
        }
        context.close(promise: nil)
    }

    /// Ends the connection for something the peer did, after what can still be said (a GOAWAY).
    private func close(_ cause: String) {
        guard let context else { return }
        report(cause)
        self.context = nil
        outbound.clear()
        // What a failed session has left to send is worth a try; another failure changes nothing.
        if let _ = try? session.collect(into: &outbound, limit: Limits.writeBytes), outbound.readableBytes > 0 {
            context.writeAndFlush(wrapOutboundOut(outbound), promise: nil)
        }
        context.close(promise: nil)
    }

    private func report(_ cause: String) {
        server.logger.warning(
            "gRPC connection closed: \(cause)",
            metadata: ["peer": "\(peer.remoteAddress):\(peer.remotePort)", "principal": "\(peer.principal)"])
        server.metrics.connectionRefused()
    }
}

// MARK: - Draining

extension GRPCConnection {
    /// Sends GOAWAY, ends streams, and closes the connection when what was on its way is done.
    func drain() {
        guard !isDraining, context != nil else { return }
        isDraining = true
        session.announceShutdown()
        session.ping()
        for call in openCalls { call.drain() }
        goAwayTimer = loop.scheduleTask(in: .seconds(Limits.goAwaySeconds)) { self.refuseNewCalls() }
        flush()
    }

    /// Whoever called before it heard of the GOAWAY has been heard.
    private func refuseNewCalls() {
        guard let timer = goAwayTimer else { return }
        timer.cancel()
        goAwayTimer = nil
        session.refuseNewStreams()
        scheduleFlush()
    }
}
