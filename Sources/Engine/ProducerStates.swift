// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a partition remembers of its idempotent producers (KIP-98, KIP-185).
//
// Per producer id: the epoch, and sequence range and offset of the last five batches, so that a batch that is
// sent again is answered with its original offset, and a gap is refused. A value type without I/O; owned by the
// partition, under its lock. Appends that are not yet written can be undone.

import Bytes
import Records

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
    }

    enum Verdict: Equatable {
        case append
        case duplicate(Batch)
        case refuse(EngineError)
    }

    private(set) var entries: [Int64: Entry] = [:]
    /// What each append since the last `commit()` replaced; undone in reverse order.
    private var undo: [(producerId: Int64, entry: Entry?, baseOffset: Int64)] = []

    /// May this batch be appended? Batches without a producer id always may.
    func check(_ header: BatchHeader) -> Verdict {
        if sabotaged("ignoreSequence") { return .append }
        guard header.producerId >= 0, let entry = entries[header.producerId] else { return .append }
        if header.producerEpoch < entry.epoch {
            return .refuse(
                EngineError(
                    .invalidProducerEpoch,
                    "producer \(header.producerId) has epoch \(entry.epoch); epoch \(header.producerEpoch) is fenced"))
        }
        if header.producerEpoch > entry.epoch {
            return header.baseSequence == 0
                ? .append : .refuse(Self.outOfOrder(header, expected: 0))
        }
        let last = Self.lastSequence(of: header)
        if let known = entry.batches.first(where: {
            $0.baseSequence == header.baseSequence && $0.lastSequence == last
        }) {
            return .duplicate(known)
        }
        guard let newest = entry.batches.last else { return .append }
        let expected = Self.next(newest.lastSequence)
        if header.baseSequence == expected { return .append }
        // Kafka answers OUT_OF_ORDER_SEQUENCE_NUMBER for everything that neither follows nor repeats.
        return .refuse(Self.outOfOrder(header, expected: expected))
    }

    /// The batch was appended at `baseOffset`.
    mutating func record(_ header: BatchHeader, baseOffset: Int64) {
        guard header.producerId >= 0 else { return }
        undo.append((header.producerId, entries[header.producerId], baseOffset))
        apply(header, baseOffset: baseOffset)
    }

    /// Applies a batch found in the log.
    mutating func apply(_ header: BatchHeader, baseOffset: Int64) {
        guard header.producerId >= 0, !header.isControl else { return }
        var entry = entries[header.producerId] ?? Entry(epoch: header.producerEpoch, lastTimestamp: 0)
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
        if entries[header.producerId] == nil, entries.count >= Limits.producersPerPartition { forgetOldest() }
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
    }

    /// Restores an entry from a snapshot.
    mutating func restore(_ producerId: Int64, _ entry: Entry) {
        entries[producerId] = entry
    }

    private mutating func forgetOldest() {
        guard let oldest = entries.min(by: { $0.value.lastTimestamp < $1.value.lastTimestamp }) else { return }
        entries[oldest.key] = nil
    }

    /// Sequence numbers wrap from Int32.max to 0.
    static func next(_ sequence: Int32) -> Int32 { sequence == .max ? 0 : sequence + 1 }

    static func lastSequence(of header: BatchHeader) -> Int32 {
        let last = Int64(header.baseSequence) + Int64(header.lastOffsetDelta)
        return Int32(truncatingIfNeeded: last > Int64(Int32.max) ? last - Int64(Int32.max) - 1 : last)
    }

    private static func outOfOrder(_ header: BatchHeader, expected: Int32) -> EngineError {
        EngineError(
            .outOfOrderSequence,
            "producer \(header.producerId) sent sequence \(header.baseSequence), expected \(expected)")
    }
}
