// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a partition remembers of its producers and their transactions (KIP-98).
//
// Per producer id: the epoch, sequence range and offset of the last five batches, so that a batch that
// is sent again is answered with its original offset and a gap is refused (KIP-185); where its open
// transaction starts; and of all producers together, which transactions were aborted. Producers that have been idle for
// long are forgotten. A value type without I/O; owned by the partition, under its lock. What is not yet written can be
// undone.

import Bytes
import Records
import Storage

package typealias AbortedTransaction = Storage.AbortedTransaction

struct ProducerStates {
    struct Batch: Equatable {
        var baseSequence: Int32
        var lastSequence: Int32
        var baseOffset: Int64
        var lastOffset: Int64
        var timestamp: Int64
    }

    struct Entry: Equatable {
        var epoch: Int16
        /// Oldest first, at most five.
        var batches: [Batch] = []
        /// When this producer last wrote, ms since the epoch (the batch's max timestamp).
        var lastTimestamp: Int64
        /// Of the last marker; -1: there was none.
        var coordinatorEpoch: Int32 = -1
        /// First offset of the open transaction.
        var transactionStart: Int64?
        /// When this was last seen to be used, by the broker's clock. Not durable.
        var lastUseMs: Int64 = 0

        /// By what was written: the rest says only when.
        static func == (left: Entry, right: Entry) -> Bool {
            left.epoch == right.epoch && left.batches == right.batches && left.lastTimestamp == right.lastTimestamp
                && left.coordinatorEpoch == right.coordinatorEpoch && left.transactionStart == right.transactionStart
        }
    }

    enum Verdict: Equatable {
        case append
        case duplicate(Batch)
        case refuse(EngineError)
    }

    private(set) var entries: [Int64: Entry] = [:]
    /// By `lastOffset`.
    private(set) var aborted: [AbortedTransaction] = []
    /// First offsets of the open transactions, ascending.
    private(set) var openStarts: [Int64] = []
    /// What each append since the last `commit()` replaced; undone in reverse order.
    private var undo: [(producerId: Int64, entry: Entry?, baseOffset: Int64)] = []

    /// The first offset of the oldest open transaction: readers of committed records stop there.
    var firstOpenOffset: Int64? { openStarts.first }

    /// May this batch be appended? Batches without a producer id always may. A producer that is not known may begin
    /// with any sequence (what it wrote may have been deleted), unless its transactions are of version 2
    /// (`startsAtZero`).
    func check(_ header: BatchHeader, startsAtZero: Bool = false) -> Verdict {
        if sabotaged("ignoreSequence") { return .append }
        guard header.producerId >= 0 else { return .append }
        guard let entry = entries[header.producerId] else {
            return startsAtZero && header.baseSequence != 0
                ? .refuse(Self.outOfOrder(header, expected: 0)) : .append
        }
        if header.producerEpoch < entry.epoch { return .refuse(Self.fenced(header, entry)) }
        if header.producerEpoch > entry.epoch {
            return header.baseSequence == 0
                ? admit(header, entry) : .refuse(Self.outOfOrder(header, expected: 0))
        }
        let last = Self.lastSequence(of: header)
        if let known = entry.batches.first(where: {
            $0.baseSequence == header.baseSequence && $0.lastSequence == last
        }) {
            return .duplicate(known)
        }
        // After a marker with a new epoch the producer starts again.
        let expected = entry.batches.last.map { Self.next($0.lastSequence) } ?? 0
        if header.baseSequence == expected { return admit(header, entry) }
        // Kafka answers OUT_OF_ORDER_SEQUENCE_NUMBER for everything that neither follows nor repeats.
        return .refuse(Self.outOfOrder(header, expected: expected))
    }

    private func admit(_ header: BatchHeader, _ entry: Entry) -> Verdict {
        guard entry.transactionStart != nil, !header.isTransactional else { return .append }
        return .refuse(
            EngineError(
                .invalidTransactionState,
                "producer \(header.producerId) has an open transaction; end it before writing without one"))
    }

    /// Why a marker may not be written; nil if it may.
    func refusalOfMarker(producerId: Int64, epoch: Int16, coordinatorEpoch: Int32) -> EngineError? {
        guard let entry = entries[producerId] else { return nil }
        if epoch < entry.epoch {
            return EngineError(
                .invalidProducerEpoch,
                "producer \(producerId) has epoch \(entry.epoch); a marker of epoch \(epoch) is fenced")
        }
        if coordinatorEpoch < entry.coordinatorEpoch {
            return EngineError(
                .transactionCoordinatorFenced,
                "coordinator epoch \(coordinatorEpoch) is older than \(entry.coordinatorEpoch)")
        }
        return nil
    }

    /// The batch was appended at `baseOffset`.
    mutating func record(_ header: BatchHeader, baseOffset: Int64, nowMs: Int64 = 0) {
        guard header.producerId >= 0 else { return }
        undo.append((header.producerId, entries[header.producerId], baseOffset))
        apply(header, baseOffset: baseOffset)
        entries[header.producerId]?.lastUseMs = nowMs
    }

    /// The marker was appended at `offset`.
    mutating func record(
        _ marker: TransactionMarker, _ header: BatchHeader, coordinatorEpoch: Int32, offset: Int64
    ) {
        undo.append((header.producerId, entries[header.producerId], offset))
        apply(marker, header, coordinatorEpoch: coordinatorEpoch, offset: offset)
    }

    /// Applies a batch of records found in the log.
    mutating func apply(_ header: BatchHeader, baseOffset: Int64) {
        guard header.producerId >= 0, !header.isControl else { return }
        var entry =
            entries[header.producerId] ?? Entry(epoch: header.producerEpoch, lastTimestamp: 0)
        if entry.epoch != header.producerEpoch {
            entry.epoch = header.producerEpoch
            entry.batches.removeAll(keepingCapacity: true)
        }
        if entry.batches.count == Limits.batchesPerProducer { entry.batches.removeFirst() }
        entry.batches.append(
            Batch(
                baseSequence: header.baseSequence, lastSequence: Self.lastSequence(of: header),
                baseOffset: baseOffset, lastOffset: baseOffset + Int64(header.lastOffsetDelta),
                timestamp: header.maxTimestamp))
        entry.lastTimestamp = header.maxTimestamp
        if header.isTransactional, entry.transactionStart == nil {
            entry.transactionStart = baseOffset
            openStarts.append(baseOffset)
        }
        if entries[header.producerId] == nil { makeRoom() }
        entries[header.producerId] = entry
    }

    /// Applies a marker found in the log: the producer's transaction, if one is open, has ended.
    mutating func apply(
        _ marker: TransactionMarker, _ header: BatchHeader, coordinatorEpoch: Int32, offset: Int64
    ) {
        var entry =
            entries[header.producerId] ?? Entry(epoch: header.producerEpoch, lastTimestamp: 0)
        if entry.epoch != header.producerEpoch {
            entry.epoch = header.producerEpoch
            entry.batches.removeAll(keepingCapacity: true)
        }
        entry.lastTimestamp = header.maxTimestamp
        entry.coordinatorEpoch = max(entry.coordinatorEpoch, coordinatorEpoch)
        if let start = entry.transactionStart {
            entry.transactionStart = nil
            openStarts.removeAll { $0 == start }
            if marker == .abort, !sabotaged("showAborted"), (aborted.last?.lastOffset ?? -1) < offset {
                aborted.append(
                    AbortedTransaction(
                        producerId: header.producerId, firstOffset: start, lastOffset: offset,
                        lastStableOffset: openStarts.first ?? offset + 1))
            }
        }
        if entries[header.producerId] == nil { makeRoom() }
        entries[header.producerId] = entry
    }

    /// What was appended so far is written.
    mutating func commit() {
        if !undo.isEmpty { undo.removeAll(keepingCapacity: true) }
    }

    /// What was appended from `offset` on never reached the log.
    mutating func rollBack(from offset: Int64) {
        for change in undo.reversed() where change.baseOffset >= offset {
            entries[change.producerId] = change.entry
        }
        undo.removeAll()
        while let last = aborted.last, last.lastOffset >= offset { aborted.removeLast() }
        openStarts = entries.values.compactMap(\.transactionStart).sorted()
    }

    /// Forgets the producers that wrote nothing for `afterMs`, neither by the broker's clock nor by their own, and have
    /// no open transaction. Whoever is first seen here counts as used now. Returns how many went.
    mutating func forgetIdle(nowMs: Int64, afterMs: Int64) -> Int {
        let before = entries.count
        for (producerId, entry) in entries {
            if entry.lastUseMs == 0 {
                entries[producerId]?.lastUseMs = nowMs
            } else if entry.transactionStart == nil, nowMs - max(entry.lastUseMs, entry.lastTimestamp) >= afterMs {
                entries[producerId] = nil
            }
        }
        return before - entries.count
    }

    /// Restores an entry from a snapshot.
    mutating func restore(_ producerId: Int64, _ entry: Entry) {
        entries[producerId] = entry
        guard let start = entry.transactionStart else { return }
        let at = openStarts.firstIndex { $0 > start } ?? openStarts.endIndex
        openStarts.insert(start, at: at)
    }

    /// Restores what index files hold; they are in order.
    mutating func restore(_ aborted: [AbortedTransaction]) {
        self.aborted = aborted
    }

    /// Compaction has replaced the records at these offsets: of the aborted transactions that ended there, these are left.
    mutating func replaceAborted(in offsets: Range<Int64>, with kept: [AbortedTransaction]) {
        let first = aborted.firstIndex { $0.lastOffset >= offsets.lowerBound } ?? aborted.endIndex
        let end = aborted[first...].firstIndex { $0.lastOffset >= offsets.upperBound } ?? aborted.endIndex
        aborted.replaceSubrange(first..<end, with: kept)
    }

    /// What compaction has to leave in the log, so that a start finds every producer's last sequence and epoch.
    var lastRecords: [Int64: LastProducerRecord] {
        entries.mapValues { LastProducerRecord(offset: $0.batches.last?.lastOffset, epoch: $0.epoch) }
    }

    /// Forgets aborted transactions that lie wholly before the start of the log.
    mutating func forgetAborted(before offset: Int64) {
        let gone = aborted.prefix { $0.lastOffset < offset }.count
        if gone > 0 { aborted.removeFirst(gone) }
    }

    /// The aborted transactions with records in `from ..< below`: what a reader of committed records has to
    /// skip there.
    func aborted(from: Int64, below: Int64) -> [AbortedTransaction] {
        var low = 0
        var high = aborted.count
        while low < high {
            let middle = (low + high) / 2
            if aborted[middle].lastOffset < from { low = middle + 1 } else { high = middle }
        }
        return aborted[low...].filter { $0.firstOffset < below }
    }

    /// Forgets the producer that has been idle longest; never one with an open transaction.
    private mutating func makeRoom() {
        guard entries.count >= Limits.producersPerPartition else { return }
        let idle = entries.lazy.filter { $0.value.transactionStart == nil }
        guard let oldest = idle.min(by: { $0.value.lastTimestamp < $1.value.lastTimestamp }) else {
            return
        }
        entries[oldest.key] = nil
    }

    /// Sequence numbers wrap from Int32.max to 0.
    static func next(_ sequence: Int32) -> Int32 { sequence == .max ? 0 : sequence + 1 }

    static func lastSequence(of header: BatchHeader) -> Int32 {
        let last = Int64(header.baseSequence) + Int64(header.lastOffsetDelta)
        return Int32(
            truncatingIfNeeded: last > Int64(Int32.max) ? last - Int64(Int32.max) - 1 : last)
    }

    private static func outOfOrder(_ header: BatchHeader, expected: Int32) -> EngineError {
        EngineError(
            .outOfOrderSequence,
            "producer \(header.producerId) sent sequence \(header.baseSequence), expected \(expected)")
    }

    private static func fenced(_ header: BatchHeader, _ entry: Entry) -> EngineError {
        EngineError(
            .invalidProducerEpoch,
            "producer \(header.producerId) has epoch \(entry.epoch); epoch \(header.producerEpoch) is fenced")
    }
}
