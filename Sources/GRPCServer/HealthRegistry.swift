// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: whether the broker serves, and who wants to know when that changes.
//
// Safe to use from any thread; one lock, never held across a callback. All services share one state: they stand on one
// engine. Watchers are told on their own loop.

import NIOCore
import Synchronization

package final class HealthRegistry: Sendable {
    /// Full names of the services that have a state.
    let services: [String]
    private let state = Mutex(State())

    private struct State: Sendable {
        var isServing = true
        var warning: String?
        var watchers: [UInt64: Watcher] = [:]
        var lastId: UInt64 = 0
    }

    private struct Watcher: Sendable {
        var loop: any EventLoop
        var changed: @Sendable (Bool) -> Void
    }

    init(services: [String]) {
        self.services = services
    }

    package var isServing: Bool { state.withLock { $0.isServing } }

    /// What will become a problem, in ASCII; nil if nothing will.
    package var warning: String? { state.withLock { $0.warning } }

    package func set(warning: String?) { state.withLock { $0.warning = warning } }

    /// Tells all watchers, if this changes anything.
    package func set(isServing: Bool) {
        let told = state.withLock { state -> [Watcher] in
            guard state.isServing != isServing else { return [] }
            state.isServing = isServing
            return Array(state.watchers.values)
        }
        for watcher in told { watcher.loop.execute { watcher.changed(isServing) } }
    }

    /// Registers a watcher, which is told of changes after the state returned; nil if there are too many.
    func watch(
        on loop: any EventLoop, changed: @escaping @Sendable (Bool) -> Void
    ) -> (id: UInt64, isServing: Bool)? {
        state.withLock { state in
            guard state.watchers.count < Limits.healthWatchers else { return nil }
            state.lastId += 1
            state.watchers[state.lastId] = Watcher(loop: loop, changed: changed)
            return (state.lastId, state.isServing)
        }
    }

    func unwatch(_ id: UInt64) {
        _ = state.withLock { $0.watchers.removeValue(forKey: id) }
    }
}
