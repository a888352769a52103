// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what compaction leaves of one batch.
//
// The rules are Kafka's (Cleaner.cleanInto and MemoryRecords.filterTo):
//   records     a record stays if it is the newest of its key, or lies behind what the map covers; without a key it goes.
//   tombstones  stay until the batch's delete horizon, which the first cleaning that meets them sets (KIP-534).
//   aborted     records of aborted transactions go.
//   markers     stay as long as a batch of their transaction does, and from then until a delete horizon.
//   empty       a batch without records stays if it is its producer's last, or ends the range that is cleaned.
// Not thread-safe: one round owns it.

import NIOCore
import Records

/// What of a producer must be found in the log.
package struct LastProducerRecord: Equatable, Sendable {
    /// Offset of its last record; nil: only a marker.
    package var offset: Int64?
    package var epoch: Int16

    package init(offset: Int64?, epoch: Int16) {
        self.offset = offset
        self.epoch = epoch
    }
}

final class BatchFilter {
    let map: OffsetMap
    private let nowMs: Int64
    private let deleteRetentionMs: Int64
    /// The end of the range that is cleaned.
    private let endOffset: Int64
    private let producers: [Int64: LastProducerRecord]
    private var transactions: CleanedTransactions
    private let decompressor = Decompressor()
    private let compressor = Compressor()

    init(
        map: OffsetMap, nowMs: Int64, deleteRetentionMs: Int64, endOffset: Int64, producers: [Int64: LastProducerRecord],
        aborted: [AbortedTransaction]
    ) {
        self.map = map
        self.nowMs = nowMs
        self.deleteRetentionMs = deleteRetentionMs
        self.endOffset = endOffset
        self.producers = producers
        transactions = CleanedTransactions(aborted)
    }

    /// Aborted transactions of which something is left, among the batches since the last call.
    func takeKeptTransactions() -> [AbortedTransaction] { transactions.takeKept() }

    /// The batch as it is to be written; nil if nothing of it is.
    func filter(_ bytes: ByteBuffer, _ header: BatchHeader) throws(StorageError) -> ByteBuffer? {
        let isMarkerOfNothing = header.isControl && transactions.isMarkerOfNothing(bytes, header)
        let isDiscarded =
            header.isControl
            ? isMarkerOfNothing && header.deleteHorizonMs.map { $0 <= nowMs } ?? false
            : transactions.isAborted(header)
        let staysEmpty = isLastOfProducer(header) || header.nextOffset == endOffset
        if isDiscarded || header.recordCount == 0 { return staysEmpty ? emptied(bytes, header) : nil }
        let batch = try open(bytes)
        let (kept, hasTombstones) = try records(of: batch)
        guard !kept.isEmpty else { return staysEmpty ? emptied(bytes, header) : nil }
        let needsHorizon = (hasTombstones || isMarkerOfNothing) && header.deleteHorizonMs == nil
        if kept.count == Int(header.recordCount) && !needsHorizon { return bytes }
        let horizon = needsHorizon ? nowMs.addingReportingOverflow(deleteRetentionMs) : nil
        return BatchRewriter.rewrite(
            batch, keeping: kept, deleteHorizonMs: horizon.map { $0.overflow ? .max : $0.partialValue },
            compressor: compressor)
    }

    private func emptied(_ bytes: ByteBuffer, _ header: BatchHeader) -> ByteBuffer {
        header.recordCount == 0 ? bytes : BatchRewriter.emptied(header)
    }

    private func isLastOfProducer(_ header: BatchHeader) -> Bool {
        guard header.producerId >= 0, let last = producers[header.producerId] else { return false }
        if let offset = last.offset { return header.lastOffset == offset && !header.isControl }
        return header.isControl && header.producerEpoch == last.epoch
    }

    private func open(_ bytes: ByteBuffer) throws(StorageError) -> RecordBatchReader {
        do throws(RecordError) {
            return try RecordBatchReader(bytes, decompressor: decompressor)
        } catch {
            throw StorageError(.corrupt, "a batch cannot be read: \(error.message)")
        }
    }

    /// The records that stay, and whether one of them deletes its key.
    private func records(of batch: RecordBatchReader) throws(StorageError) -> (kept: [RecordLayout], hasTombstones: Bool) {
        var kept: [RecordLayout] = []
        kept.reserveCapacity(Int(batch.header.recordCount))
        var hasTombstones = false
        let keepsTombstones = batch.header.deleteHorizonMs.map { nowMs < $0 } ?? true
        var cursor = batch.start
        do throws(RecordError) {
            // SAFETY: the pointer is used within the closure only.
            try unsafe batch.records.withUnsafeReadableBytes { (bytes) throws(RecordError) in
                while let record = try unsafe cursor.next(in: bytes) {
                    guard unsafe isKept(record, in: bytes, batch.header, keepsTombstones) else { continue }
                    kept.append(record)
                    hasTombstones = hasTombstones || (record.valueLength < 0 && !batch.header.isControl)
                }
            }
        } catch {
            throw StorageError(.corrupt, "a batch cannot be read: \(error.message)")
        }
        return (kept, hasTombstones)
    }

    private func isKept(
        _ record: RecordLayout, in bytes: UnsafeRawBufferPointer, _ header: BatchHeader, _ keepsTombstones: Bool
    ) -> Bool {
        if header.isControl || record.offset > map.latestOffset { return true }
        guard let range = record.keyRange else { return false }
        let newest = unsafe map.offset(of: UnsafeRawBufferPointer(rebasing: bytes[range])) ?? -1
        return record.offset >= newest && (record.valueLength >= 0 || keepsTombstones)
    }
}
