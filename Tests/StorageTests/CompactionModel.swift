// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: a compacted log beside a model of what it must hold.
//
// The model knows every record ever appended, by offset. After any life, crashes included, what is read must be a subset of
// that in order, hold the newest record of every key that is durable, and nothing of an aborted transaction.

import NIOCore
import Records
import Testing

@testable import Storage

/// Owns one log the way a partition does, in one thread.
final class CompactionLog: CompactionOwner {
    var log: Log
    var aborted: [AbortedTransaction] = []
    var producers: [Int64: LastProducerRecord] = [:]

    init(_ log: Log) { self.log = log }

    func underLock<Result>(_ body: (Log) throws(StorageError) -> Result) throws(StorageError) -> Result { try body(log) }

    func replaceAborted(in offsets: Range<Int64>, with kept: [AbortedTransaction]) {
        aborted.removeAll { offsets.contains($0.lastOffset) }
        aborted = (aborted + kept).sorted { $0.lastOffset < $1.lastOffset }
    }

    /// One whole round, in steps of `bytes`. Returns what it did; nil if there was nothing to do.
    @discardableResult
    func compact(
        nowMs: Int64 = 10_000, stable: Int64 = .max, keys: Int = 1000, bytes: Int = .max
    ) throws -> CompactionResult? {
        var context = CompactionContext(nowMs: nowMs, lastStableOffset: stable, producers: producers, aborted: aborted)
        context.keys = keys
        guard let round = try LogCompaction(log, owner: self, context: context) else { return nil }
        while try !round.run(bytes: bytes) {}
        return round.result
    }

    /// Appends one batch of keyed records; a nil value is a tombstone.
    @discardableResult
    func append(
        _ records: [(key: String?, value: String?)], timestamp: Int64 = 1_000, compression: CompressionType = .none,
        producer: RecordBatchBuilder.Producer = .none, isTransactional: Bool = false
    ) throws -> Int64 {
        var builder = RecordBatchBuilder(compression: compression, producer: producer)
        builder.isTransactional = isTransactional
        for record in records {
            builder.append(
                key: record.key.map { ByteBuffer(string: $0) }, value: record.value.map { ByteBuffer(string: $0) },
                timestamp: timestamp)
        }
        return try append(builder.finish())
    }

    func append(_ batch: ByteBuffer) throws -> Int64 {
        let header = try BatchBytes.header(of: batch)
        let offset = try log.append(batch, header: header, leaderEpoch: 0)
        if header.producerId >= 0, !header.isControl {
            producers[header.producerId] = LastProducerRecord(
                offset: offset + Int64(header.lastOffsetDelta), epoch: header.producerEpoch)
        }
        return offset
    }

    func end(_ marker: TransactionMarker, of producerId: Int64, first: Int64) throws {
        let offset = try append(marker.batch(producerId: producerId, epoch: 0, coordinatorEpoch: 0, timestamp: 1_000))
        guard marker == .abort else { return }
        aborted.append(
            AbortedTransaction(producerId: producerId, firstOffset: first, lastOffset: offset, lastStableOffset: offset + 1))
    }

    /// Closes the active segment, durably.
    func seal() throws {
        try log.roll()
        try log.syncNow()
    }

    struct Read: Equatable {
        var offset: Int64
        var key: String
        var value: String?
    }

    /// Every batch there is, as reading from `offset` on yields them.
    func batches(from start: Int64? = nil) throws -> [RecordBatchReader] {
        var found: [RecordBatchReader] = []
        var offset = start ?? log.startOffset
        while offset < log.writtenEndOffset {
            // What a loss of power took from the middle of what was not durable yet.
            if let range = log.quarantined.first(where: { $0.offsets.contains(offset) }) {
                offset = range.offsets.upperBound
                continue
            }
            guard var bytes = try log.bytes(from: offset, maxBytes: 700) else { break }
            while let (header, batch) = try BatchBytes.next(from: &bytes) {
                #expect(BatchBytes.isCRCValid(batch, header: header))
                #expect(header.nextOffset > offset)
                found.append(try RecordBatchReader(batch, decompressor: Decompressor()))
                offset = header.nextOffset
            }
        }
        return found
    }

    /// Every record outside of control batches.
    func records(from start: Int64? = nil) throws -> [Read] {
        try batches(from: start).filter { !$0.header.isControl }.flatMap { batch in
            var batch = batch
            var records: [Read] = []
            while let record = try batch.next() {
                records.append(
                    Read(
                        offset: record.offset, key: record.key.map { String(buffer: $0) } ?? "-",
                        value: record.value.map { String(buffer: $0) }))
            }
            return records
        }
    }
}

extension LogConfiguration {
    static func compacted(segmentBytes: Int64 = 1 << 20) -> LogConfiguration {
        var configuration = LogConfiguration()
        configuration.compacts = true
        configuration.deletes = false
        configuration.segmentBytes = segmentBytes
        configuration.indexIntervalBytes = 200
        configuration.deleteRetentionMs = 500
        return configuration
    }
}
