// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who wants to know when something changes: topics come, grow or go; access rules are others.
//
// Safe to use from any thread; one lock, never held across a callback. Observers are told on their own loop that something has
// changed, not what: they look themselves, and it is changed by then.

import NIOCore
import Synchronization

package final class Changes: Sendable {
    private let state = Mutex(State())
    private let happenings = Atomic<UInt64>(0)

    private struct State: Sendable {
        var observers: [UInt64: Observer] = [:]
        var lastId: UInt64 = 0
    }

    private struct Observer: Sendable {
        var loop: any EventLoop
        var changed: @Sendable () -> Void
    }

    /// How many there have been: whoever looked before it began to observe has to look again if this has grown.
    package var count: UInt64 { happenings.load(ordering: .acquiring) }

    /// Runs `changed` on `loop` after every change from now on, until `remove`.
    package func observe(on loop: any EventLoop, changed: @escaping @Sendable () -> Void) -> UInt64 {
        state.withLock { state in
            state.lastId += 1
            state.observers[state.lastId] = Observer(loop: loop, changed: changed)
            return state.lastId
        }
    }

    package func remove(_ id: UInt64) {
        _ = state.withLock { $0.observers.removeValue(forKey: id) }
    }

    func happened() {
        happenings.add(1, ordering: .acquiringAndReleasing)
        let told = state.withLock { Array($0.observers.values) }
        for observer in told { observer.loop.execute(observer.changed) }
    }
}
