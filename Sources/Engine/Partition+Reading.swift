// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: reads of a partition, and those who wait for more. Same lock as the rest.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Storage
import Telemetry

/// A partition's offsets at one moment.
package struct PartitionOffsets: Sendable {
    package var start: Int64
    /// End of what is written.
    package var highWatermark: Int64
}

extension Partition {
    package var offsets: PartitionOffsets {
        lock.withLock { PartitionOffsets(start: log.startOffset, highWatermark: log.writtenEndOffset) }
    }

    /// End of what this process knows to be durable: as far as a checkpoint can describe it.
    package var syncedEndOffset: Int64 { lock.withLock { log.syncedEndOffset } }

    package var sizeInBytes: Int64 { lock.withLock { log.sizeInBytes } }

    /// Why the last write was refused, if it was, although the log takes writes: no space, no descriptor.
    package var refusal: StorageError? { lock.withLock { log.failure == nil ? lastRefusal : nil } }

    /// Why the log is read-only, if it is.
    package var failure: StorageError? { lock.withLock { log.failure } }

    /// Whole batches from the one containing `offset`: at least one, then what fits in `maxBytes`; nil at the end.
    /// Throws `offsetOutOfRange`, `corruptData`, or a storage failure.
    package func read(
        from offset: Int64, maxBytes: Int
    ) throws(EngineError) -> (slice: LogSlice?, offsets: PartitionOffsets) {
        try lock.withLockTyped { () throws(EngineError) -> (slice: LogSlice?, offsets: PartitionOffsets) in
            let end = sabotaged("earlyHighWatermark") ? log.endOffset : log.writtenEndOffset
            let offsets = PartitionOffsets(start: log.startOffset, highWatermark: end)
            if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
            do throws(StorageError) {
                return (try log.read(from: offset, maxBytes: maxBytes), offsets)
            } catch {
                throw EngineError(error)
            }
        }
    }

    /// Where reading goes on behind the damage that is known at `offset`; nil if none is.
    package func endOfDamage(at offset: Int64) -> Int64? {
        lock.withLock { log.quarantined.first { $0.offsets.contains(offset) }?.offsets.upperBound }
    }

    /// Counts what was sent to a client.
    package func delivered(records: Int, bytes: Int) {
        metrics.recordsOut.add(records)
        metrics.bytesOut.add(bytes)
    }

    /// First record at or after `timestamp` (ms since the epoch); nil if there is none.
    package func offset(forTimestamp timestamp: Int64) throws(EngineError) -> (offset: Int64, timestamp: Int64)? {
        try lock.withLockTyped { () throws(EngineError) -> (offset: Int64, timestamp: Int64)? in
            do throws(StorageError) { return try log.offset(forTimestamp: timestamp) } catch { throw EngineError(error) }
        }
    }

    /// The record with the highest timestamp; nil if the log is empty.
    package func offsetOfMaxTimestamp() throws(EngineError) -> (offset: Int64, timestamp: Int64)? {
        try lock.withLockTyped { () throws(EngineError) -> (offset: Int64, timestamp: Int64)? in
            do throws(StorageError) { return try log.offsetOfMaxTimestamp() } catch { throw EngineError(error) }
        }
    }

    /// Adds a waiter that has seen everything below `seenEnd`.
    func register(_ waiter: Waiter, seenEnd: Int64) {
        let (isOver, isFull) = lock.withLock {
            if isClosed || log.writtenEndOffset != seenEnd { return (true, false) }
            guard waiters.count < Limits.waitersPerPartition else { return (false, true) }
            waiters.append(waiter)
            return (false, false)
        }
        if isOver { waiter.complete() }
        if isFull { waiter.completeSoon() }
    }

    /// Long polls that wait here.
    var waiterCount: Int { lock.withLock { waiters.count } }

    func unregister(_ waiter: Waiter) {
        lock.withLock {
            guard let at = waiters.firstIndex(where: { $0 === waiter }) else { return }
            waiters.swapAt(at, waiters.count - 1)
            waiters.removeLast()
        }
    }
}
