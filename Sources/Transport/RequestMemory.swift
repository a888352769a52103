// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the bound on bytes of unfinished requests that all connections hold together.
//
//   none --reserve, there is room--> held --release--> none
//   none --reserve, there is none--> waiting --room, in the order of asking--> held
//
// A connection reserves the whole of a request before it reads the rest of it, and does not read while it waits. What is
// held can therefore always be finished, so nobody waits for ever: the last request that is let in may go over the limit,
// none is let in above it. A peer that announces a request and then sends nothing would keep others waiting: while
// somebody waits, holders are asked now and then to show progress (`onPressed`). `state` guards all; no callback
// runs under it.

import NIOCore
import Synchronization

/// The memory for unfinished requests of all connections. Safe to use from any thread.
package final class RequestMemory: Sendable {
    /// In bytes.
    package let limit: Int
    private let askEvery: TimeAmount
    private let state = Mutex(State())

    private struct State {
        var used = 0
        /// First come, first served; those that were given up in between are skipped.
        var waiting = CircularBuffer<Reservation>()
        var holders: [ObjectIdentifier: Reservation] = [:]
        var isAsking = false
    }

    /// While somebody waits, holders are asked every `askEvery`.
    package init(limit: Int, askEvery: TimeAmount = .seconds(10)) {
        self.limit = limit
        self.askEvery = askEvery
    }

    /// Bytes that are held.
    package var used: Int { state.withLock { $0.used } }
    /// Connections that wait for room.
    package var waitingCount: Int { state.withLock { $0.waiting.count { $0.isWaiting } } }

    /// One connection's share. Made and released on its event loop.
    package final class Reservation: @unchecked Sendable {
        // Unchecked: `phase` and `bytes` are guarded by the memory's lock; all else is immutable.
        fileprivate enum Phase { case waiting, held, released }

        fileprivate let memory: RequestMemory
        fileprivate let loop: any EventLoop
        fileprivate let onGranted: @Sendable () -> Void
        fileprivate let onPressed: @Sendable () -> Void
        fileprivate var phase = Phase.waiting
        fileprivate let bytes: Int

        fileprivate var isWaiting: Bool { phase == .waiting }

        fileprivate init(
            _ memory: RequestMemory, bytes: Int, loop: any EventLoop, onGranted: @escaping @Sendable () -> Void,
            onPressed: @escaping @Sendable () -> Void
        ) {
            self.memory = memory
            self.bytes = bytes
            self.loop = loop
            self.onGranted = onGranted
            self.onPressed = onPressed
        }

        /// Gives the bytes back, or gives up waiting for them. Once.
        package func release() { memory.release(self) }
    }

    /// Reserves `bytes`. If there is room they are held at once and the result says so; otherwise `onGranted` runs on `loop`
    /// when they are. `onPressed` runs on `loop` now and then while others wait.
    package func reserve(
        _ bytes: Int, on loop: any EventLoop, onGranted: @escaping @Sendable () -> Void,
        onPressed: @escaping @Sendable () -> Void
    ) -> (reservation: Reservation, isHeld: Bool) {
        let reservation = Reservation(self, bytes: bytes, loop: loop, onGranted: onGranted, onPressed: onPressed)
        let (isHeld, mustAsk) = state.withLock { state -> (Bool, Bool) in
            if state.used < limit && state.waiting.isEmpty {
                hold(reservation, &state)
                return (true, false)
            }
            state.waiting.append(reservation)
            defer { state.isAsking = true }
            return (false, !state.isAsking)
        }
        if mustAsk { askLater(on: loop) }
        return (reservation, isHeld)
    }

    /// Whether `bytes` more could be held now; nothing is reserved.
    package func hasRoom() -> Bool { state.withLock { $0.used < limit } }

    /// Changes what is held without asking, for who cannot wait and refuses instead (see `hasRoom`).
    package func adjust(by bytes: Int) {
        grant(state.withLock { state in
            state.used += bytes
            return next(&state)
        })
    }

    private func release(_ reservation: Reservation) {
        grant(state.withLock { state in
            switch reservation.phase {
            case .held:
                state.used -= reservation.bytes
                state.holders[ObjectIdentifier(reservation)] = nil
            case .waiting, .released: break
            }
            let gaveUp = reservation.isWaiting
            reservation.phase = .released
            if gaveUp { state.waiting.removeAll { $0 === reservation } }
            return next(&state)
        })
    }

    private func hold(_ reservation: Reservation, _ state: inout State) {
        state.used += reservation.bytes
        reservation.phase = .held
        state.holders[ObjectIdentifier(reservation)] = reservation
    }

    /// Those whose turn it is, as far as there is room.
    private func next(_ state: inout State) -> [Reservation] {
        var granted: [Reservation] = []
        while let first = state.waiting.first, !first.isWaiting || state.used < limit {
            state.waiting.removeFirst()
            guard first.isWaiting else { continue }
            hold(first, &state)
            granted.append(first)
        }
        return granted
    }

    private func grant(_ reservations: [Reservation]) {
        for reservation in reservations { reservation.loop.execute(reservation.onGranted) }
    }

    private func askLater(on loop: any EventLoop) {
        loop.scheduleTask(in: askEvery) { self.ask(on: loop) }
    }

    private func ask(on loop: any EventLoop) {
        let holders = state.withLock { state -> [Reservation] in
            state.isAsking = state.waiting.contains { $0.isWaiting }
            return state.isAsking ? Array(state.holders.values) : []
        }
        guard !holders.isEmpty || state.withLock({ $0.isAsking }) else { return }
        for holder in holders { holder.loop.execute(holder.onPressed) }
        askLater(on: loop)
    }
}
