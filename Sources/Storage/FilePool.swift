// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the bound on open files of one file system.
//
// A log may have thousands of segments and a broker thousands of logs, but a process has few descriptors. Every file
// of the real file system belongs to a pool; when it holds as many descriptors as it may, the one that was not used for
// longest (by a clock with a second chance) is closed, and opened again by its next use. What was written and not synced
// is synced before that, because a failure of writing it back is only told to those who have the file open.
//
// Descriptors that somebody else still holds (a reply on its way) are counted until they are closed, so the bound
// is kept as well as it can be without making anybody wait. `state` guards the list; a file's own lock may be held when
// taking it, never the other way round.

import Synchronization

/// The open files of one file system. Safe to use from any thread.
package final class FilePool: Sendable {
    /// Descriptors that are kept open at most, as long as they are not held by somebody else.
    package let limit: Int
    private let descriptors = Atomic<Int>(0)
    private let reopenings = Atomic<Int>(0)
    private let state = Mutex(State())

    private struct State {
        /// Every file with a descriptor, in no order; each knows its place.
        var open: [PooledDescriptor] = []
        /// Where the clock's hand is.
        var hand = 0
        var onPressure: (@Sendable () -> Void)?
    }

    package init(limit: Int = .max) {
        precondition(limit > 0, "a pool holds at least one file")
        self.limit = limit
    }

    /// Descriptors that are open now.
    package var openCount: Int { descriptors.load(ordering: .relaxed) }
    /// How often a file was opened again that had been closed to make room.
    package var reopenedCount: Int { reopenings.load(ordering: .relaxed) }

    /// `body` is called when there is no room but by syncing: whoever can sync many files at once should do so soon. It
    /// runs on whichever thread needs room, and may not use files.
    package func whenPressed(_ body: @escaping @Sendable () -> Void) {
        state.withLock { $0.onPressure = body }
    }

    /// One descriptor more, counted as long as the result lives.
    func lease() -> Lease { Lease(self) }

    final class Lease: Sendable {
        private let pool: FilePool

        fileprivate init(_ pool: FilePool) {
            self.pool = pool
            pool.descriptors.add(1, ordering: .relaxed)
        }

        deinit { pool.descriptors.subtract(1, ordering: .relaxed) }
    }

    func countReopening() { reopenings.add(1, ordering: .relaxed) }

    /// Closes files until another one may be opened; with `extra`, so many more.
    func makeRoom(extra: Int = 0) {
        let target = extra == 0 ? limit - 1 : max(0, min(limit, openCount) - extra)
        guard openCount > target else { return }
        // Twice round: the first time may only take second chances away.
        evict(downTo: target, syncing: false)
        guard openCount > target else { return }
        state.withLock { $0.onPressure }?()
        evict(downTo: target, syncing: true)
    }

    private func evict(downTo target: Int, syncing: Bool) {
        var steps = 2 * state.withLock { $0.open.count }
        while openCount > target, steps > 0, let candidate = next() {
            steps -= 1
            candidate.close(syncing: syncing)
        }
    }

    private func next() -> PooledDescriptor? {
        state.withLock { state in
            guard !state.open.isEmpty else { return nil }
            state.hand = (state.hand + 1) % state.open.count
            return state.open[state.hand]
        }
    }

    /// With the file's lock held.
    func add(_ file: PooledDescriptor) {
        state.withLock { state in
            file.place = state.open.count
            state.open.append(file)
        }
    }

    /// With the file's lock held.
    func remove(_ file: PooledDescriptor) {
        state.withLock { state in
            guard let last = state.open.popLast(), last !== file else { return }
            state.open[file.place] = last
            last.place = file.place
        }
    }
}
