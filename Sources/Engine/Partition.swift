// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one partition: its log, its producers, and who waits for it.
//
// Everything mutable is guarded by `lock`, held for one append, one write or one snapshot, never across a callback;
// what may be taken under it is said in docs/ARCHITECTURE.md. Here: the state, and how records come in. Beside this file:
// Partition+Durability, +Reading, +Transactions, +Housekeeping.
// Order of a record's life: append (offset assigned, bytes in the tail) -> writePending (in the page cache, readable,
// waiters woken) -> endSync (on stable storage, acks=all answered). Readers see what is written.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Records
import Storage
import Telemetry

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
    let groupCommit: GroupCommit
    let metrics: TopicMetrics
    let lock = NIOLock()

    // Guarded by `lock`.
    let log: Log
    var configuration: TopicConfiguration
    var producers: ProducerStates
    var producersLoaded = false
    var producersChanged = false
    var bytesSinceSnapshot: Int64 = 0
    let snapshots: ProducerSnapshots
    var writing = WriteGroup()
    private var writtenBefore: Int64
    var bytesPending = 0
    var waiters: [Waiter] = []
    var syncWaiters: [SyncWaiter] = []
    var isClosed = false
    var lastRefusal: StorageError?

    struct SyncWaiter {
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

extension Partition {
    /// Validates the batch, decompressing no more than `decompressedBytesMax` bytes for it, and appends it;
    /// `completion` runs on the turn's loop when it may be acknowledged, or at once if it is refused.
    /// `verify` decides whether a transactional batch belongs to an open transaction; without it none does. The checksum of
    /// what was built here (`isBuiltHere`) is believed.
    package func append(
        _ records: ByteBuffer, acks: Acks, allowsZstd: Bool = true, decompressedBytesMax: Int = .max,
        isBuiltHere: Bool = false, turn: Turn,
        verify: TransactionVerification? = nil, completion: @escaping AppendCompletion
    ) {
        do throws(EngineError) {
            try enqueue(
                records, acks: acks, allowsZstd: allowsZstd, decompressedBytesMax: decompressedBytesMax,
                isBuiltHere: isBuiltHere, turn: turn, verify: verify, completion: completion)
        } catch {
            completion(.failure(error))
        }
    }

    /// The same, but a refusal is thrown and `completion` never runs before the turn's end.
    func enqueue(
        _ records: ByteBuffer, acks: Acks, allowsZstd: Bool = true, decompressedBytesMax: Int = .max,
        isBuiltHere: Bool = false, turn: Turn, verify: TransactionVerification? = nil,
        completion: @escaping AppendCompletion
    ) throws(EngineError) {
        var rules = lock.withLock { configuration.rules }
        rules.decompressedBytesMax = min(rules.decompressedBytesMax, decompressedBytesMax)
        let nowMs = clock.nowMs()
        let batch = try validate(
            records, rules, nowMs: nowMs, allowsZstd: allowsZstd, isBuiltHere: isBuiltHere,
            decompressor: BatchHeader.isCompressed(records) ? turn.decompressor : nil, turn: turn)
        let pending = try lock.withLockTyped { () throws(EngineError) -> Pending in
            try appendLocked(batch.records, batch.header, rules.isLogAppendTime ? nowMs : -1, verify)
        }
        let needsSync = acks == .all && durability == .disk && !sabotaged("answerBeforeSync")
        turn.add(
            self, group: pending.group, result: pending.result, endOffset: pending.endOffset,
            needsSync: needsSync || pending.mustFlush, completion: completion)
    }

    /// An append that waits for the turn's write.
    struct Pending {
        var group: WriteGroup
        var result: AppendResult
        var endOffset: Int64
        /// Whether `flush.messages` asks for a sync before it is acknowledged.
        var mustFlush = false
    }

    private func appendLocked(
        _ records: ByteBuffer, _ header: BatchHeader, _ logAppendTimeMs: Int64,
        _ verify: TransactionVerification?
    ) throws(EngineError) -> Pending {
        if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
        try loadProducers()
        var result = AppendResult(baseOffset: 0, logAppendTimeMs: logAppendTimeMs, logStartOffset: log.startOffset)
        let startsAtZero = header.isTransactional && verify?.version == .two
        switch producers.check(header, startsAtZero: startsAtZero) {
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
        if header.producerId >= 0 { producers.record(header, baseOffset: result.baseOffset, nowMs: clock.nowMs()) }
        producersChanged = producersChanged || header.producerId >= 0
        bytesSinceSnapshot += Int64(header.sizeInBytes)
        bytesPending += header.sizeInBytes
        let endOffset = result.baseOffset + Int64(header.lastOffsetDelta) + 1
        let mustFlush = durability != .memory && endOffset - log.syncedEndOffset >= configuration.flushMessages
        return Pending(group: writing, result: result, endOffset: endOffset, mustFlush: mustFlush)
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
        guard bytes > 0, durability != .memory else { return }
        if isFlushedAtOnce { groupCommit.enqueue(self) } else { groupCommit.enqueueDelayed(self, bytes: bytes) }
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
        _ records: ByteBuffer, _ rules: BatchRules, nowMs: Int64, allowsZstd: Bool, isBuiltHere: Bool,
        decompressor: Decompressor?, turn: Turn
    ) throws(EngineError) -> (records: ByteBuffer, header: BatchHeader) {
        do {
            let batch = try BatchValidator(rules: rules).validate(
                records, nowMs: nowMs, allowsZstd: allowsZstd, isBuiltHere: isBuiltHere, decompressor: decompressor)
            var stored = records
            if let codec = rules.compression, codec.type != batch.header.compression {
                stored = try recompress(records, codec, rules, turn)
                guard rules.isLogAppendTime else { return (stored, try BatchBytes.header(of: stored)) }
                stored = BatchBytes.withLogAppendTime(stored, nowMs: nowMs)
            } else if rules.isLogAppendTime {
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

    /// The batch in the topic's codec; by that it may have become too large.
    private func recompress(
        _ records: ByteBuffer, _ codec: Compression, _ rules: BatchRules, _ turn: Turn
    ) throws(RecordError) -> ByteBuffer {
        let batch = try RecordBatchReader(records, decompressor: turn.decompressor, limit: rules.decompressedBytesMax)
        let stored = try BatchRewriter.recompress(batch, codec, compressor: turn.compressor)
        guard stored.readableBytes <= rules.maxMessageBytes else {
            throw RecordError(
                .messageTooLarge, "the batch has \(stored.readableBytes) bytes once it is stored as compression.type says,"
                    + " and the topic takes \(rules.maxMessageBytes)")
        }
        return stored
    }

    /// Whether `flush.ms` is shorter than what the background takes.
    private var isFlushedAtOnce: Bool { lock.withLock { configuration.flushMs < Limits.backgroundSyncMs } }

    func loadProducers() throws(EngineError) {
        guard !producersLoaded else { return }
        if !sabotaged("forgetProducers") { producers = try snapshots.load(log: log) }
        producersLoaded = true
    }
}
