// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: one bound address, and every connection that comes in by it.
//
// Binds, accepts, bounds the number of connections and gives each a `ProtocolDetectionHandler`.
// Safe to use from any thread; connections belong to the event loops of the group it was given. It
// knows neither the protocols nor what becomes of a connection after the detection.

import Bytes
import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One bound address, and every connection that comes in by it.
package final class Listener: Sendable {
    /// Where it really listens: the address and the port that the kernel chose for port 0.
    package let localAddress: SocketAddress
    package let name: String
    package let registry: ConnectionRegistry
    private let channel: any Channel
    private let counters: ListenerCounters

    /// Binds and starts to accept. Fails with one line that names the address, the cause and what
    /// to do.
    package static func bind(
        _ options: ListenerOptions, handlers: ProtocolHandlers, group: any EventLoopGroup,
        logger: Logger
    ) async throws(TransportError) -> Listener {
        let registry = ConnectionRegistry(limits: options.limits)
        let counters = ListenerCounters()
        let rules = DetectionRules(
            options: options, handlers: handlers, counters: counters, registry: registry, logger: logger)
        let bootstrap = bootstrap(rules: rules, registry: registry, group: group)
        let channel: any Channel
        do {
            channel = try await bootstrap.bind(host: bindHost(options.host), port: options.port)
                .get()
        } catch {
            throw bindError(error, options: options)
        }
        guard let address = channel.localAddress else {
            throw TransportError(.inputOutput, "cannot listen: the socket was closed at once")
        }
        return Listener(
            channel: channel, address: address, name: options.name, registry: registry,
            counters: counters)
    }

    private init(
        channel: any Channel, address: SocketAddress, name: String, registry: ConnectionRegistry,
        counters: ListenerCounters
    ) {
        self.channel = channel
        self.localAddress = address
        self.name = name
        self.registry = registry
        self.counters = counters
    }

    /// The bound address as text, without port.
    package var host: String { AddressText.of(localAddress) }
    package var port: Int { localAddress.port ?? 0 }
    package var connectionCount: Int { registry.count }
    package var statistics: ListenerStatistics { counters.snapshot }

    /// Closes the connections whose clients' certificates `context` says are revoked, bit by bit on `loop`.
    package func endRevoked(
        by context: TLSContext, on loop: any EventLoop, ended: @escaping @Sendable (ConnectionContext) -> Void
    ) {
        guard context.hasRevocationLists else { return }
        registry.end(on: loop, where: { context.hasRevoked($0) }, ended: ended)
    }

    /// Closes the listening socket; connections live on. Returns when the port is free. Idempotent.
    package func stopAccepting() async {
        channel.close(promise: nil)
        // The close future never fails.
        try? await channel.closeFuture.get()
    }

    /// Stops accepting, sends `DrainEvent` to every connection and returns when all are closed;
    /// those that are still open after `grace` are closed by force.
    package func drain(grace: TimeAmount) async {
        await stopAccepting()
        let loop = channel.eventLoop
        let deadline = NIODeadline.now() + grace
        let registry = registry
        registry.drain(deadline: deadline)
        let timer = loop.scheduleTask(deadline: deadline) { registry.closeAll() }
        // The promise behind this future is only ever succeeded.
        try? await registry.emptied(on: loop).get()
        timer.cancel()
    }
}

// MARK: - Binding

extension Listener {
    private static func bootstrap(
        rules: DetectionRules, registry: ConnectionRegistry, group: any EventLoopGroup
    ) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: Int32(clamping: rules.options.backlog))
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        AcceptFailureHandler(
                            logger: rules.logger, listenerName: rules.options.name))
                    guard let rate = rules.options.acceptedPerSecond else { return }
                    try channel.pipeline.syncOperations.addHandler(
                        AcceptPacingHandler(rate: rate, rules: rules, now: channel.eventLoop.now))
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try accept(channel, rules: rules, registry: registry)
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(
                    minimum: 2 * 1024, initial: 4 * 1024, maximum: 1024 * 1024)
            )
            .childChannelOption(
                .writeBufferWaterMark, value: .init(low: 128 * 1024, high: 512 * 1024))
    }

    private static func accept(
        _ channel: any Channel, rules: DetectionRules, registry: ConnectionRegistry
    ) throws {
        rules.counters.accepted.add(1, ordering: .relaxed)
        let (id, admission) = registry.enter(channel)
        if admission == .dropped {
            rules.counters.refused.add(1, ordering: .relaxed)
            throw ChannelError.eof
        }
        let connection = ConnectionContext(
            id: id, localHost: AddressText.of(channel.localAddress),
            localPort: channel.localAddress?.port ?? 0,
            remoteAddress: AddressText.of(channel.remoteAddress),
            remotePort: channel.remoteAddress?.port ?? 0, listenerName: rules.options.name)
        var refusal: Refusal? =
            admission == .refused ? .tooManyConnections(max: rules.options.limits.connectionsMax) : nil
        if refusal == nil, let limits = rules.connectionLimits {
            let address = connection.remoteAddress
            let verdict = limits.enter(address)
            switch verdict {
            case .admitted: break
            case .refused(let cause): refusal = cause
            case .delayed(let ms): return turnAway(channel, connection, ms: ms, limits, rules)
            case .dropped(let cause):
                log(connection, "closed: \(cause.explanation)", rules)
                throw ChannelError.eof
            }
            channel.closeFuture.whenComplete { _ in limits.leave(address, verdict) }
        }
        try channel.pipeline.syncOperations.addHandler(
            ProtocolDetectionHandler(rules: rules, connection: connection, refusal: refusal))
    }

    /// Keeps a connection that came too soon unread for a while, so that whoever opens them in a loop has to wait.
    private static func turnAway(
        _ channel: any Channel, _ connection: ConnectionContext, ms: Int32, _ limits: ConnectionLimits,
        _ rules: DetectionRules
    ) {
        rules.counters.refused.add(1, ordering: .relaxed)
        log(connection, "refused: connections from this address come faster than its connection_creation_rate", rules)
        channel.closeFuture.whenComplete { _ in limits.leave(connection.remoteAddress, .delayed(ms: ms)) }
        _ = channel.setOption(.autoRead, value: false)
        channel.eventLoop.scheduleTask(in: .milliseconds(Int64(ms))) { channel.close(promise: nil) }
    }

    private static func log(_ connection: ConnectionContext, _ message: String, _ rules: DetectionRules) {
        rules.logger.warning(
            "\(message)",
            metadata: [
                "listener": "\(rules.options.name)", "connection": "\(connection.id)",
                "remote": "\(connection.remoteAddress):\(connection.remotePort)",
            ])
    }

    /// `*` and the empty name are every address, of both families.
    private static func bindHost(_ host: String) -> String {
        host.isEmpty || host == "*" ? "::" : host
    }

    private static func bindError(_ error: any Error, options: ListenerOptions) -> TransportError {
        let address =
            options.host.contains(":")
            ? "[\(options.host)]:\(options.port)" : "\(options.host):\(options.port)"
        guard let failure = error as? IOError else {
            return TransportError(
                .addressNotAvailable,
                "cannot listen on \(address): the host name cannot be resolved; "
                    + "use an address of this machine"
            )
        }
        let number = failure.errnoCode
        let (code, rest): (TransportError.Code, String) =
            switch number {
            case EADDRINUSE:
                (
                    .addressInUse,
                    "the port is already in use; stop the other process "
                        + "(`ss -ltnp 'sport = :\(options.port)'` shows it), "
                        + "or choose another port (0 takes a free one)"
                )
            case EADDRNOTAVAIL:
                (
                    .addressNotAvailable,
                    "this machine has no such address; `ip addr` lists those it has"
                )
            case EACCES:
                (.permission, "no permission; ports below 1024 need root or CAP_NET_BIND_SERVICE")
            default: (.inputOutput, "\(failure)")
            }
        return TransportError(code, "cannot listen on \(address): \(rest)", errno: number)
    }
}
