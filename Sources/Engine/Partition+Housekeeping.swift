// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a partition needs now and then: configuration, retention, snapshots, its end. Same lock as the
// rest.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Storage

extension Partition {
    /// New configuration for the topic; retention and limits follow at once.
    func apply(_ configuration: TopicConfiguration) {
        lock.withLock {
            self.configuration = configuration
            log.configuration = configuration.log
        }
    }

    /// Drops what retention no longer keeps. Returns how many segments went.
    func applyRetention(nowMs: Int64) throws(EngineError) -> Int {
        try lock.withLockTyped { () throws(EngineError) -> Int in
            guard !isClosed else { return 0 }
            return try rolling { () throws(StorageError) in try log.applyRetention(nowMs: nowMs) }
        }
    }

    /// Forgets producers that have been idle for `afterMs`. Returns how many.
    func forgetIdleProducers(nowMs: Int64, afterMs: Int64) -> Int {
        lock.withLock { isClosed || !producersLoaded ? 0 : producers.forgetIdle(nowMs: nowMs, afterMs: afterMs) }
    }

    /// Runs what may roll the log, and so write what waits; if that fails, those who wait must be told. With the lock held.
    func rolling<T>(_ body: () throws(StorageError) -> T) throws(EngineError) -> T {
        let end = log.endOffset
        do throws(StorageError) {
            return try body()
        } catch {
            if log.endOffset < end { failWriting(error) }
            throw EngineError(error)
        }
    }

    /// Moves the start of the log up to `offset` (the high watermark if -1). Returns the new start.
    package func deleteRecords(before offset: Int64) throws(EngineError) -> Int64 {
        try lock.withLockTyped { () throws(EngineError) -> Int64 in
            let target = offset == -1 ? log.writtenEndOffset : offset
            guard target >= log.startOffset, target <= log.writtenEndOffset else {
                throw EngineError(
                    .offsetOutOfRange,
                    "cannot delete before \(target): \(name) has offsets \(log.startOffset) to \(log.writtenEndOffset)")
            }
            try rolling { () throws(StorageError) in try log.deleteRecords(before: target) }
            return log.startOffset
        }
    }

    /// Writes the producers' snapshot for the end of the written log, if producers wrote since the last one or a
    /// start without it would have to walk much of the log. Only between turns: what is appended must be written.
    func snapshotProducers(isLast: Bool) throws(EngineError) {
        try lock.withLockTyped { () throws(EngineError) -> Void in
            let isDue = producersChanged || bytesSinceSnapshot >= ProducerSnapshots.snapshotEveryBytes
            guard isDue || (isLast && bytesSinceSnapshot > 0), log.endOffset == log.writtenEndOffset else { return }
            producers.forgetAborted(before: log.segmentBase(of: log.startOffset))
            try snapshots.save(producers, log: log)
            producersChanged = false
            bytesSinceSnapshot = 0
        }
    }

    /// Makes the log read-only because of something that was found elsewhere. Whoever waits for a sync is told.
    func fail(_ error: StorageError) {
        lock.withLock {
            log.fail(error)
            producers.rollBack(from: log.writtenEndOffset)
            writing.fail(EngineError(log.failure ?? error), from: log.writtenEndOffset)
            writing = WriteGroup()
            bytesPending = 0
        }
        answerSyncWaiters()
    }

    /// What the data directory's checkpoint is to say of this log; nil once it is closed.
    func checkpoint() -> LogCheckpoint? {
        lock.withLock { isClosed ? nil : log.checkpoint() }
    }

    /// The broker stops: nothing is taken any more, everything is on disk.
    func shutDown() -> LogCheckpoint {
        close(EngineError(.shuttingDown, "the broker is stopping"))
        return lock.withLock { log.close() }
    }

    /// The topic is gone or the broker stops: writes what waits, then wakes everybody.
    func close(_ reason: EngineError) {
        writePending()
        let (woken, unanswered) = lock.withLock {
            isClosed = true
            defer { waiters = []; syncWaiters = [] }
            return (waiters, syncWaiters)
        }
        for waiter in woken { waiter.complete() }
        answer(unanswered, failure: reason)
    }

    /// The log itself, for the data directory's checkpoint; only with the partition closed or inside `locked`.
    func withLog<T>(_ body: (Log) throws -> T) rethrows -> T {
        try lock.withLock { try body(log) }
    }
}
