// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: decides what a new connection is, and hands it to its edge.
//
// The only handler of a fresh connection. It looks at the first bytes, puts TLS in front of itself
// if they are TLS (and then decides once more, by ALPN or by the first bytes inside), asks the edge
// to add its handlers, passes on what was read, and leaves the pipeline: nothing of it is on the
// data path. Owned by the channel's event loop. Holds at most `ProtocolSniffer.bytesNeeded`
// undecided bytes plus one read. Every end that is not an edge is one log line that names the
// cause.
//
//   waiting ──TLS──▶ handshaking ──ALPN──▶ done        waiting ──HTTP, Kafka──▶ done
//                        └──none──▶ waiting (secured)  waiting ──unknown, refused, timeout──▶ done

import Logging
import NIOCore
import Synchronization

/// What the detection of one connection needs to know; the same for all connections of a listener.
struct DetectionRules: Sendable {
    var options: ListenerOptions
    var handlers: ProtocolHandlers
    var sniffer: ProtocolSniffer
    var counters: ListenerCounters
    var registry: ConnectionRegistry?
    /// Of all listeners together.
    var connectionLimits: ConnectionLimits? { options.connectionLimits }
    var logger: Logger

    init(
        options: ListenerOptions, handlers: ProtocolHandlers, counters: ListenerCounters,
        registry: ConnectionRegistry? = nil, logger: Logger
    ) {
        self.options = options
        self.handlers = handlers
        self.sniffer = ProtocolSniffer(kafkaFrameBytesMax: options.limits.kafkaFrameBytesMax)
        self.counters = counters
        self.registry = registry
        self.logger = logger
    }
}

/// Decides what a new connection is, and hands it to its edge.
final class ProtocolDetectionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private enum State {
        case waiting
        case handshaking
        case done
    }

    private let rules: DetectionRules
    private let refusal: Refusal?
    private var connection: ConnectionContext
    private var state = State.waiting
    private var received = ByteBuffer()
    private var timer: Scheduled<Void>?
    /// The client has proved a certificate that names nobody, or was revoked meanwhile.
    private var unwelcome: Refusal?
    private var hasChosenByALPN = false
    /// With what the handshake began.
    private var tlsContext: TLSContext?

    /// `refusal`: there are too many; find out the protocol only to say so.
    init(rules: DetectionRules, connection: ConnectionContext, refusal: Refusal?) {
        self.rules = rules
        self.connection = connection
        self.refusal = refusal
    }

    func handlerAdded(context: ChannelHandlerContext) {
        startTimer(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        timer = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard state == .waiting else {
            // Bytes that were already on their way when the connection was refused.
            return
        }
        var bytes = unwrapInboundIn(data)
        if received.readableBytes == 0 { received = bytes } else { received.writeBuffer(&bytes) }
        switch rules.sniffer.judge(received) {
        case .undecided: break
        case .found(let wire): decide(wire, context)
        case .unknown(let what): refuseUnknown(what, context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case let handshake as TLSHandshake where state == .handshaking:
            handshakeEnded(handshake, context)
        case is DrainEvent where state != .done:
            finish(context) { context.close(promise: nil) }
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    /// TLS failed, or the socket did. TLS has told the peer and closes the channel itself.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard state != .done else { return context.fireErrorCaught(error) }
        finish(context) {
            if let error = error as? TLSError {
                rules.counters.handshakesFailed.add(1, ordering: .relaxed)
                log(.warning, "TLS handshake failed: \(error)")
                rules.options.onFailedLogin?(connection, "\(error)")
            } else {
                log(.debug, "connection failed: \(error)")
                context.close(promise: nil)
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if state != .done {
            finish(context) { log(.debug, "closed by the peer before it showed a protocol") }
        }
        context.fireChannelInactive()
    }

    // MARK: - Decisions

    private func decide(_ wire: WireProtocol, _ context: ChannelHandlerContext) {
        if let refusal = refusal(of: wire) { return refuse(refusal, wire, context) }
        if wire == .tls { startTLS(context) } else { handOver(wire, context) }
    }

    private func refusal(of wire: WireProtocol) -> Refusal? {
        if let refusal { return refusal }
        if connection.isTLS { return unwelcome ?? (wire == .http2 && !hasChosenByALPN ? .http2WithoutALPN : nil) }
        if wire == .tls { return rules.options.tls == nil ? .tlsOff : nil }
        switch rules.options.plaintext {
        case .allowed: return nil
        case .off: return .plaintextOff
        case .loopbackOnly:
            return isLoopback(connection.remoteAddress) ? nil : .plaintextNotLoopback
        }
    }

    /// Puts TLS in front of this handler and feeds it what was read, through the pipeline's front.
    private func startTLS(_ context: ChannelHandlerContext) {
        guard !connection.isTLS, let store = rules.options.tls else {
            return refuseUnknown("TLS inside TLS", context)
        }
        do {
            let current = store.current
            tlsContext = current
            let tls = try TLSHandler.server(
                context: current, clientAuthentication: rules.options.clientAuthentication,
                limits: rules.options.limits)
            try context.pipeline.syncOperations.addHandler(tls, position: .before(self))
        } catch {
            return finish(context) {
                log(.error, "cannot start TLS: \(error)")
                context.close(promise: nil)
            }
        }
        state = .handshaking
        timer?.cancel()
        let bytes = received
        received = ByteBuffer()
        context.pipeline.syncOperations.fireChannelRead(NIOAny(bytes))
    }

    private func handshakeEnded(_ handshake: TLSHandshake, _ context: ChannelHandlerContext) {
        rules.counters.handshakes.add(1, ordering: .relaxed)
        if handshake.isResumed { rules.counters.handshakesResumed.add(1, ordering: .relaxed) }
        connection.isTLS = true
        hasChosenByALPN = handshake.applicationProtocol != nil
        connection.serverName = handshake.serverName
        if let name = handshake.serverName { connection.localHost = name }
        if let certificate = handshake.peerCertificate {
            connection.peerCertificate = certificate
            rules.options.seenClients?.note(certificate)
            switch rules.options.principal(certificate) {
            case .success(let principal): connection.principal = principal
            case .failure(let nobody):
                let refusal = Refusal.noPrincipal(subject: certificate.subject, reason: nobody.reason)
                unwelcome = refusal
                rules.options.onFailedLogin?(connection, refusal.explanation)
            }
            rules.registry?.note(connection)
            // Whoever ends what is revoked looks at the connections that are noted, after new lists are in force.
            if let current = rules.options.tls?.current, current !== tlsContext, current.hasRevoked(certificate) {
                unwelcome = .revoked(subject: certificate.subject)
            }
        }
        tlsContext = nil
        switch handshake.applicationProtocol {
        case "h2": decide(.http2, context)
        case "http/1.1": decide(.http1, context)
        default:
            state = .waiting
            startTimer(context)
        }
    }

    private func handOver(_ wire: WireProtocol, _ context: ChannelHandlerContext) {
        finish(context) {
            do {
                switch wire {
                case .kafka: try rules.handlers.kafka(context.channel, connection)
                case .http2: try rules.handlers.http2(context.channel, connection)
                case .http1, .tls: try rules.handlers.http1(context.channel, connection)
                }
            } catch {
                log(.error, "cannot serve \(wire.rawValue): \(error)")
                return context.close(promise: nil)
            }
            if received.readableBytes > 0 {
                context.fireChannelRead(wrapInboundOut(received))
            }
            received = ByteBuffer()
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        }
    }

    private func refuse(_ refusal: Refusal, _ wire: WireProtocol, _ context: ChannelHandlerContext)
    {
        finish(context) {
            rules.counters.refused.add(1, ordering: .relaxed)
            let kind =
                wire == .tls || connection.isTLS ? wire.rawValue : "plaintext " + wire.rawValue
            log(.warning, "refused a \(kind) client: \(refusal.explanation)")
            if let answer = refusal.answer(in: wire) {
                context.writeAndFlush(NIOAny(answer), promise: nil)
            }
            LingerHandler.close(context.channel, limits: rules.options.limits)
        }
    }

    private func refuseUnknown(_ what: String, _ context: ChannelHandlerContext) {
        finish(context) {
            rules.counters.refused.add(1, ordering: .relaxed)
            let inside = connection.isTLS ? " inside TLS" : ""
            log(.warning, "closed: \(what)\(inside) on a port for Kafka, HTTP/2 and HTTP/1.1")
            context.close(promise: nil)
        }
    }

    // MARK: - Timer, end and log

    private func startTimer(_ context: ChannelHandlerContext) {
        timer?.cancel()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: rules.options.limits.detectionTimeout) {
            let (handler, context) = bound.value
            handler.timedOut(context)
        }
    }

    private func timedOut(_ context: ChannelHandlerContext) {
        guard state == .waiting else { return }
        finish(context) {
            let seconds = rules.options.limits.detectionTimeout.nanoseconds / 1_000_000_000
            log(
                .info,
                "closed: sent \(received.readableBytes) bytes in \(seconds) s, "
                    + "too few to tell a protocol"
            )
            context.close(promise: nil)
        }
    }

    /// Marks the decision as taken before `body` runs, which may re-enter this handler.
    private func finish(_ context: ChannelHandlerContext, _ body: () -> Void) {
        state = .done
        timer?.cancel()
        timer = nil
        body()
    }

    private func log(_ level: Logger.Level, _ message: String) {
        rules.logger.log(
            level: level, "\(message)",
            metadata: [
                "listener": "\(rules.options.name)", "connection": "\(connection.id)",
                "remote": "\(connection.remoteAddress):\(connection.remotePort)",
            ])
    }
}

/// Whether a numeric address belongs to this machine alone.
package func isLoopback(_ address: String) -> Bool {
    address == "::1" || address.hasPrefix("127.")
}
