// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the open connections of one listener.
//
// Needed for four things only: to count them against the limit, to tell them all that the broker
// stops, to know when the last one is gone, and to end those whose certificate was revoked. Safe to
// use from any thread. One lock, taken when a connection comes, when its client's certificate is
// known, and when it goes; no channel is touched while it is held.

import NIOCore
import Synchronization

/// The open connections of one listener.
package final class ConnectionRegistry: Sendable {
    /// What becomes of a connection that was just accepted.
    enum Admission: Sendable, Equatable {
        case admitted
        /// Over the limit, but there is room to say so in the peer's protocol.
        case refused
        /// Far over the limit, or the listener is draining: closed without a word.
        case dropped
    }

    private struct State {
        var channels: [UInt64: any Channel] = [:]
        /// Those whose clients have shown a certificate.
        var certified: [UInt64: ConnectionContext] = [:]
        var isDraining = false
        var emptied: [EventLoopPromise<Void>] = []
    }

    private static let lastId = Atomic<UInt64>(0)

    private let state = Mutex(State())
    private let connectionsMax: Int
    private let refusedAtOnceMax: Int

    init(limits: TransportLimits) {
        connectionsMax = limits.connectionsMax
        refusedAtOnceMax = limits.connectionsRefusedAtOnceMax
    }

    /// Connections that are open now, refused ones included.
    package var count: Int {
        state.withLock { $0.channels.count }
    }

    /// Enters a channel until it is closed. Call on the channel's event loop.
    func enter(_ channel: any Channel) -> (id: UInt64, admission: Admission) {
        let id = Self.lastId.add(1, ordering: .relaxed).newValue
        let admission = state.withLock { state -> Admission in
            let count = state.channels.count
            guard !state.isDraining, count < connectionsMax + refusedAtOnceMax else {
                return .dropped
            }
            state.channels[id] = channel
            return count < connectionsMax ? .admitted : .refused
        }
        if admission != .dropped {
            channel.closeFuture.whenComplete { _ in self.leave(id) }
        }
        return (id, admission)
    }

    private func leave(_ id: UInt64) {
        let emptied = state.withLock { state -> [EventLoopPromise<Void>] in
            state.channels[id] = nil
            state.certified[id] = nil
            guard state.channels.isEmpty else { return [] }
            defer { state.emptied = [] }
            return state.emptied
        }
        for promise in emptied { promise.succeed() }
    }

    /// The client has shown a certificate.
    func note(_ connection: ConnectionContext) {
        state.withLock { state in
            if state.channels[connection.id] != nil { state.certified[connection.id] = connection }
        }
    }

    /// Connections looked at before other work of the loop comes first.
    static let endedAtOnceMax = 256

    /// Closes the connections whose clients' certificates are now revoked, a few at a time on `loop`; `ended` is told of each.
    func end(
        on loop: any EventLoop, where isRevoked: @escaping @Sendable (PeerCertificate) -> Bool,
        ended: @escaping @Sendable (ConnectionContext) -> Void
    ) {
        let ids = state.withLock { Array($0.certified.keys) }
        end(ids[...], loop, isRevoked, ended)
    }

    private func end(
        _ ids: ArraySlice<UInt64>, _ loop: any EventLoop, _ isRevoked: @escaping @Sendable (PeerCertificate) -> Bool,
        _ ended: @escaping @Sendable (ConnectionContext) -> Void
    ) {
        for id in ids.prefix(Self.endedAtOnceMax) {
            let found = state.withLock { state in
                state.channels[id].flatMap { channel in state.certified[id].map { (channel, $0) } }
            }
            guard let (channel, connection) = found, let certificate = connection.peerCertificate, isRevoked(certificate)
            else { continue }
            ended(connection)
            channel.close(promise: nil)
        }
        let rest = ids.dropFirst(Self.endedAtOnceMax)
        guard !rest.isEmpty else { return }
        loop.execute { self.end(rest, loop, isRevoked, ended) }
    }

    /// Admits nobody from now on and sends `DrainEvent` down every pipeline.
    func drain(deadline: NIODeadline) {
        let channels = state.withLock { state -> [any Channel] in
            state.isDraining = true
            return Array(state.channels.values)
        }
        for channel in channels {
            channel.pipeline.fireUserInboundEventTriggered(DrainEvent(deadline: deadline))
        }
    }

    /// Closes what is still open.
    func closeAll() {
        for channel in state.withLock({ Array($0.channels.values) }) {
            channel.close(promise: nil)
        }
    }

    /// Succeeds as soon as no connection is open.
    func emptied(on loop: any EventLoop) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        let isEmpty = state.withLock { state -> Bool in
            if !state.channels.isEmpty { state.emptied.append(promise) }
            return state.channels.isEmpty
        }
        if isEmpty { promise.succeed() }
        return promise.futureResult
    }
}
