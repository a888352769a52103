// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one partition: its log, its producers, and who waits for it.
//
// Everything mutable is guarded by `lock`, held for one append, one write or one snapshot, never across a callback.
// Order of a record's life: append (offset assigned, bytes in the tail) -> writePending (in the page cache, readable,
// waiters woken) -> endSync (on stable storage, acks=all answered). Readers see what is written.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Records
import Storage

/// The appends of one partition between two writes; they succeed or fail together.
final class WriteGroup: @unchecked Sendable {
    // Unchecked: written once under the partition's lock, read by turns after they took that lock.
    private(set) var failure: EngineError?
    private var failedFrom = Int64.max

    /// Everything of this group from `offset` on never reached the log.
    func fail(_ error: EngineError, from offset: Int64) {
        failure = error
        failedFrom = offset
    }

    /// Why an append that ends before `endOffset` failed; nil if it is written.
    func failure(endOffset: Int64) -> EngineError? {
        endOffset > failedFrom ? failure : nil
    }
}

package final class Partition: @unchecked Sendable {
    // Unchecked: all mutable state is guarded by `lock`.
    package let topic: String
    package let topicId: TopicId
    package let index: Int32
    let clock: any Clock
    let durability: Durability
    private let groupCommit: GroupCommit
    private let metrics: TopicMetrics
    let lock = NIOLock()

    // Guarded by `lock`.
    let log: Log
    private var configuration: TopicConfiguration
    var producers: ProducerStates
    var producersLoaded = false
    var producersChanged = false
    var bytesSinceSnapshot: Int64 = 0
    private let snapshots: ProducerSnapshots
    var writing = WriteGroup()
    private var writtenBefore: Int64
    var bytesPending = 0
    private var waiters: [Waiter] = []
    private var syncWaiters: [SyncWaiter] = []
    var isClosed = false
    private var lastRefusal: StorageError?

    private struct SyncWaiter {
        var endOffset: Int64
        var turn: Turn
        var result: AppendResult
        var completion: AppendCompletion
    }

    /// `durability` says when acks=all is answered: after the sync (`disk`) or after the write. In memory nothing
    /// is ever synced.
    init(
        topic: String, topicId: TopicId, index: Int32, log: Log, configuration: TopicConfiguration,
        snapshots: ProducerSnapshots, clock: any Clock, durability: Durability, groupCommit: GroupCommit,
        metrics: TopicMetrics
    ) {
        self.topic = topic
        self.topicId = topicId
        self.index = index
        self.log = log
        self.configuration = configuration
        self.snapshots = snapshots
        self.clock = clock
        self.durability = durability
        self.groupCommit = groupCommit
        self.metrics = metrics
        producers = ProducerStates()
        writtenBefore = log.writtenEndOffset
    }

    /// `topic-index`, also the directory's name.
    package var name: String { "\(topic)-\(index)" }
}

// MARK: - Produce

extension Partition {
    /// Validates the batch, decompressing no more than `decompressedBytesMax` bytes for it, and appends it;
    /// `completion` runs on the turn's loop when it may be acknowledged, or at once if it is refused.
    /// `verify` decides whether a transactional batch belongs to an open transaction; without it none does.
    package func append(
        _ records: ByteBuffer, acks: Acks, allowsZstd: Bool = true, decompressedBytesMax: Int = .max, turn: Turn,
        verify: TransactionVerification? = nil, completion: @escaping AppendCompletion
    ) {
        do throws(EngineError) {
            try enqueue(
                records, acks: acks, allowsZstd: allowsZstd, decompressedBytesMax: decompressedBytesMax, turn: turn,
                verify: verify, completion: completion)
        } catch {
            completion(.failure(error))
        }
    }

    /// The same, but a refusal is thrown and `completion` never runs before the turn's end.
    func enqueue(
        _ records: ByteBuffer, acks: Acks, allowsZstd: Bool = true, decompressedBytesMax: Int = .max, turn: Turn,
        verify: TransactionVerification? = nil, completion: @escaping AppendCompletion
    ) throws(EngineError) {
        var rules = lock.withLock { configuration.rules }
        rules.decompressedBytesMax = min(rules.decompressedBytesMax, decompressedBytesMax)
        let nowMs = clock.nowMs()
        let batch = try validate(
            records, rules, nowMs: nowMs, allowsZstd: allowsZstd,
            decompressor: BatchHeader.isCompressed(records) ? turn.decompressor : nil)
        let pending = try lock.withLockTyped { () throws(EngineError) -> Pending in
            try appendLocked(batch.records, batch.header, rules.isLogAppendTime ? nowMs : -1, verify)
        }
        turn.add(
            self, group: pending.group, result: pending.result, endOffset: pending.endOffset,
            needsSync: acks == .all && durability == .disk && !sabotaged("answerBeforeSync"), completion: completion)
    }

    /// An append that waits for the turn's write.
    struct Pending {
        var group: WriteGroup
        var result: AppendResult
        var endOffset: Int64
    }

    private func appendLocked(
        _ records: ByteBuffer, _ header: BatchHeader, _ logAppendTimeMs: Int64,
        _ verify: TransactionVerification?
    ) throws(EngineError) -> Pending {
        if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
        try loadProducers()
        var result = AppendResult(baseOffset: 0, logAppendTimeMs: logAppendTimeMs, logStartOffset: log.startOffset)
        switch producers.check(header) {
        case .refuse(let error):
            throw error
        case .duplicate(let batch):
            result.baseOffset = batch.baseOffset
            result.logAppendTimeMs = configuration.rules.isLogAppendTime ? batch.timestamp : -1
            return Pending(group: writing, result: result, endOffset: batch.lastOffset + 1)
        case .append:
            // Under the lock, so that no marker can come between this look and the append.
            if header.isTransactional { try verifyTransaction(header, verify) }
        }
        do {
            result.baseOffset = try log.append(records, header: header, leaderEpoch: 0)
        } catch {
            failWriting(error)
            throw EngineError(error)
        }
        producers.record(header, baseOffset: result.baseOffset)
        producersChanged = producersChanged || header.producerId >= 0
        bytesSinceSnapshot += Int64(header.sizeInBytes)
        bytesPending += header.sizeInBytes
        return Pending(
            group: writing, result: result, endOffset: result.baseOffset + Int64(header.lastOffsetDelta) + 1)
    }

    /// Ends a turn: writes the tail and wakes whoever waits for these bytes.
    func writePending() {
        var woken: [Waiter] = []
        var bytes = 0
        lock.withLock {
            do throws(StorageError) {
                try log.write()
                producers.commit()
                bytes = log.writtenEndOffset > writtenBefore ? bytesPending : 0
                bytesPending = 0
                if bytes > 0 {
                    lastRefusal = nil
                    metrics.bytesIn.add(bytes)
                    metrics.recordsIn.add(Int(log.writtenEndOffset - writtenBefore))
                    writtenBefore = log.writtenEndOffset
                    writing = WriteGroup()
                    woken = waiters
                }
            } catch {
                failWriting(error)
            }
        }
        for waiter in woken { waiter.arrived(bytes: bytes) }
        // Nobody may wait for it, but it is to be durable soon: it bounds what a start after a crash has to read.
        if bytes > 0, durability != .memory { groupCommit.enqueueDelayed(self, bytes: bytes) }
    }

    /// What waited for this write is gone from the log; the producers forget it, the group's appends fail.
    func failWriting(_ error: StorageError) {
        producers.rollBack(from: log.writtenEndOffset)
        writing.fail(EngineError(error), from: log.writtenEndOffset)
        lastRefusal = error
        writing = WriteGroup()
        bytesPending = 0
    }

    /// The batch as it is to be stored: as received, but for the timestamps that are the broker's to set.
    private func validate(
        _ records: ByteBuffer, _ rules: BatchRules, nowMs: Int64, allowsZstd: Bool, decompressor: Decompressor?
    ) throws(EngineError) -> (records: ByteBuffer, header: BatchHeader) {
        do {
            let batch = try BatchValidator(rules: rules).validate(
                records, nowMs: nowMs, allowsZstd: allowsZstd, decompressor: decompressor)
            var stored = records
            if rules.isLogAppendTime {
                stored = BatchBytes.withLogAppendTime(records, nowMs: nowMs)
            } else if let maxTimestamp = batch.correctedMaxTimestamp {
                stored = BatchBytes.withMaxTimestamp(records, maxTimestamp)
            } else {
                return (records, batch.header)
            }
            return (stored, try BatchBytes.header(of: stored))
        } catch {
            throw EngineError(error, in: name)
        }
    }

    func loadProducers() throws(EngineError) {
        guard !producersLoaded else { return }
        if !sabotaged("forgetProducers") { producers = try snapshots.load(log: log) }
        producersLoaded = true
    }
}

// MARK: - Durability

extension Partition: SyncParticipant {
    /// Runs `completion` on the turn's loop once everything below `endOffset` is on stable storage.
    func whenSynced(
        _ endOffset: Int64, turn: Turn, result: AppendResult, completion: @escaping AppendCompletion
    ) {
        let now: Result<AppendResult, EngineError>? = lock.withLock {
            if let failure = log.failure { return .failure(EngineError(failure)) }
            if log.syncedEndOffset >= endOffset { return .success(result) }
            syncWaiters.append(
                SyncWaiter(endOffset: endOffset, turn: turn, result: result, completion: completion))
            return nil
        }
        if let now { completion(now) } else { groupCommit.enqueue(self) }
    }

    package func beginSync() -> SyncWork? {
        let work = lock.withLock { log.beginSync() }
        // Nothing to sync: an earlier round has covered everybody, or the log has failed since they queued.
        if work == nil { answerSyncWaiters() }
        return work
    }

    package func endSync(_ work: SyncWork, failure: StorageError?) {
        lock.withLock { log.endSync(work, failure: failure) }
        // Nothing was tried: whoever waits goes on waiting, for a round that finds a descriptor.
        if failure?.code == .tooManyOpenFiles { groupCommit.enqueueDelayed(self) }
        answerSyncWaiters()
    }

    /// Makes durable what is written, in this thread. For the broker's own logs at start.
    func syncNow() throws(EngineError) {
        try lock.withLockTyped { () throws(EngineError) -> Void in
            do throws(StorageError) { try log.syncAlone() } catch { throw EngineError(error) }
        }
    }

    /// Answers those whose records are durable, and everybody else too if the log can sync no more.
    private func answerSyncWaiters() {
        let (durable, lost, failure) = lock.withLock { () -> ([SyncWaiter], [SyncWaiter], StorageError?) in
            let split = syncWaiters.partition { $0.endOffset > log.syncedEndOffset }
            let durable = Array(syncWaiters[..<split])
            let rest = Array(syncWaiters[split...])
            syncWaiters = log.failure == nil ? rest : []
            return (durable, log.failure == nil ? [] : rest, log.failure)
        }
        answer(durable, failure: nil)
        answer(lost, failure: failure.map { EngineError($0) })
    }

    /// One delivery per turn.
    private func answer(_ ready: [SyncWaiter], failure: EngineError?) {
        var turns: [(turn: Turn, completions: [@Sendable () -> Void])] = []
        for waiter in ready {
            let body: @Sendable () -> Void = {
                waiter.completion(failure.map { .failure($0) } ?? .success(waiter.result))
            }
            if let at = turns.firstIndex(where: { $0.turn === waiter.turn }) {
                turns[at].completions.append(body)
            } else {
                turns.append((waiter.turn, [body]))
            }
        }
        for (turn, completions) in turns { turn.deliver(completions) }
    }

}

// MARK: - Read

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
        let complete = lock.withLock {
            if isClosed || log.writtenEndOffset != seenEnd || waiters.count >= Limits.waitersPerPartition {
                return true
            }
            waiters.append(waiter)
            return false
        }
        if complete { waiter.complete() }
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

// MARK: - Housekeeping

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

    /// Runs what may roll the log, and so write what waits; if that fails, those who wait must be told. With the lock held.
    private func rolling<T>(_ body: () throws(StorageError) -> T) throws(EngineError) -> T {
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

extension NIOLock {
    /// `withLock` that keeps the error's type.
    @inline(__always)
    func withLockTyped<T, Failure: Error>(_ body: () throws(Failure) -> T) throws(Failure) -> T {
        lock()
        defer { unlock() }
        return try body()
    }
}
