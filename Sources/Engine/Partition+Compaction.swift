// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a partition's part in compaction. Same lock as the rest; the work itself is done without it.

import NIOConcurrencyHelpers
import Storage

extension Partition: CompactionOwner {
    package func underLock<Result>(
        _ body: (Log) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        try lock.withLockTyped { () throws(StorageError) -> Result in try body(log) }
    }

    /// With the lock held, by whoever put a cleaned segment in place.
    package func replaceAborted(in offsets: Range<Int64>, with kept: [AbortedTransaction]) {
        producers.replaceAborted(in: offsets, with: kept)
    }

    /// How much there is to compact, if it is enough to begin; closes the active segment if its records may not wait longer.
    func compactionDue(nowMs: Int64) throws(EngineError) -> CompactionState? {
        try lock.withLockTyped { () throws(EngineError) -> CompactionState? in
            guard !isClosed, log.configuration.compacts else { return nil }
            _ = try rolling { () throws(StorageError) in try log.rollIfDue(nowMs: nowMs) }
            // In memory nobody ever syncs, and what replaces a segment must be as durable as it was.
            if durability == .memory { try rolling { () throws(StorageError) in try log.syncAlone() } }
            // Most partitions have nothing to do, and are not made to read their producers for that.
            guard isDue(log.compactionState(nowMs: nowMs, lastStableOffset: .max)) else { return nil }
            let state = log.compactionState(nowMs: nowMs, lastStableOffset: try lastStableOffsetLocked())
            return isDue(state) ? state : nil
        }
    }

    private func isDue(_ state: CompactionState?) -> Bool {
        guard let state, state.dirtyBytes > 0 else { return false }
        return state.isOverdue || state.dirtyRatio > log.configuration.minCleanableDirtyRatio
    }

    /// Begins a round; nil if there is nothing to do any more.
    func beginCompaction(nowMs: Int64) throws(EngineError) -> LogCompaction? {
        try lock.withLockTyped { () throws(EngineError) -> LogCompaction? in
            guard !isClosed else { return nil }
            let context = CompactionContext(
                nowMs: nowMs, lastStableOffset: try lastStableOffsetLocked(), producers: producers.lastRecords,
                aborted: producers.aborted)
            do throws(StorageError) {
                return try LogCompaction(log, owner: self, context: context)
            } catch {
                throw EngineError(error)
            }
        }
    }

    /// Whether the topic is gone.
    var isGone: Bool { lock.withLock { isClosed } }
}
