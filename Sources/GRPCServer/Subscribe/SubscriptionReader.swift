// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a subscription reads: from its cursor's place in the log to a batch whose records are delivered next.
//
//   nothing in hand --read from the log--> batches --open--> a batch --its records are delivered--> the next one
//
// A value of its subscription's. It holds at most one read of the log (256 KiB, or one larger batch), which can be given back
// at any time: the cursor says where to read again. The cursor moves with what was delivered or is not to be.

import Contract
import Engine
import GRPCWire
import NIOCore
import Records
import Storage

struct SubscriptionReader {
    private let cursor: Cursor
    private let origin: Martlet_V1_Origin
    /// Topics that the subscription does not do without.
    private let named: Set<String>
    /// Whole batches that were read and not yet opened.
    private var bytes = ByteBuffer()
    /// Which of the cursor's positions they belong to.
    private(set) var position = 0
    /// What the partition's offsets were.
    private var offsets: PartitionOffsets?
    /// Transactions whose batches are not delivered.
    private var aborted: [AbortedTransaction] = []
    /// The next offset to deliver.
    private var from: Int64 = 0
    private var batch: (reader: RecordBatchReader, cursor: RecordCursor)?
    /// Bytes of the log that were read for the current message.
    private var scanned = 0

    init(_ cursor: Cursor, origin: Martlet_V1_Origin, named: Set<String>) {
        self.cursor = cursor
        self.origin = origin
        self.named = named
    }

    var isEmpty: Bool { batch == nil && bytes.readableBytes == 0 }
    /// A batch is open.
    var hasBatch: Bool { batch != nil }
    /// Of the partition, when this was read.
    var highWatermark: Int64 { offsets?.highWatermark ?? 0 }

    /// Another message is filled.
    mutating func beginMessage() { scanned = 0 }

    /// Opens the next batch with records to deliver; false if there is none now, nil if enough was looked at for one message.
    mutating func nextBatch(_ decompressor: Decompressor) throws(GRPCStatus) -> Bool? {
        while true {
            if bytes.readableBytes == 0 {
                if scanned >= Limits.subscribeScanBytes { return nil }
                guard try readLog() else { return false }
                scanned += bytes.readableBytes
            }
            do throws(RecordError) {
                if try openBatch(decompressor) { return true }
            } catch {
                throw damaged(nil, error)
            }
        }
    }

    private mutating func openBatch(_ decompressor: Decompressor) throws(RecordError) -> Bool {
        guard let (header, batchBytes) = try BatchBytes.next(from: &bytes) else {
            throw RecordError(.corruptMessage, "the log ends in the middle of a batch")
        }
        // Control batches mark the ends of transactions; they hold nothing for a reader (KIP-98).
        let isHidden = header.isControl || aborted.contains { $0.contains(header) }
        if isHidden || header.nextOffset <= from {
            skip(header)
            return false
        }
        // A Kafka consumer checks this itself; here nobody else can. The base offset lies outside the checksum.
        guard BatchBytes.isCRCValid(batchBytes, header: header), header.baseOffset <= from else {
            throw RecordError(.corruptMessage, "its checksum or its offset is wrong")
        }
        let reader = try RecordBatchReader(
            batchBytes, decompressor: decompressor, limit: Limits.decompressedBatchBytes)
        batch = (reader, reader.start)
        return true
    }

    /// Appends records of the open batch, and moves the cursor behind them.
    mutating func append(
        to writer: inout RecordStreamWriter, limits: RecordStreamWriter.Limits, filters: RecordFilters?,
        into buffer: inout ByteBuffer
    ) throws(GRPCStatus) -> RecordStreamWriter.Outcome {
        guard let (reader, start) = batch else { preconditionFailure("there is a batch to read") }
        var records = start
        let outcome: RecordStreamWriter.Outcome
        do throws(RecordError) {
            defer { batch?.cursor = records }
            outcome = try writer.append(
                reader.records, cursor: &records, from: &from, limits: limits, filters: filters, into: &buffer)
        } catch {
            throw damaged(reader.header, error)
        }
        cursor.advance(position, to: from)
        return outcome
    }

    /// The open batch's records are delivered.
    mutating func finishBatch() {
        guard let header = batch?.reader.header else { return }
        batch = nil
        skip(header)
    }

    /// Gives back what was read ahead.
    mutating func drop() {
        batch = nil
        bytes = ByteBuffer()
    }

    private mutating func skip(_ header: BatchHeader) {
        from = max(from, header.nextOffset)
        cursor.advance(position, to: from)
    }

    // MARK: The log

    /// Reads what comes next in one of the partitions; false if all are read.
    private mutating func readLog() throws(GRPCStatus) -> Bool {
        while true {
            do throws(EngineError) {
                guard let chunk = try cursor.next(maxBytes: Limits.subscribeReadBytes) else {
                    bytes = ByteBuffer()
                    return false
                }
                position = chunk.position
                offsets = chunk.offsets
                from = chunk.from
                aborted = chunk.aborted
                bytes.clear()
                do throws(StorageError) {
                    try chunk.slice.read(into: &bytes)
                } catch {
                    throw EngineError(error)
                }
                return true
            } catch {
                if error.code == .unknownTopic, leave(cursor.current) { continue }
                guard error.code == .offsetOutOfRange, try skipToOrigin() else {
                    let place = cursor.current < cursor.positions.count ? cursor.positions[cursor.current].partition : nil
                    throw GRPCStatus(error, of: place)
                }
            }
        }
    }

    /// Forgets a topic that was deleted, if the subscription does without it.
    private func leave(_ index: Int) -> Bool {
        guard !named.contains(cursor.positions[index].partition.topic) else { return false }
        cursor.remove(index)
        return true
    }

    /// Retention has removed what came next: goes on at the origin, if the caller chose one.
    private func skipToOrigin() throws(GRPCStatus) -> Bool {
        var hasMoved = false
        for (index, position) in cursor.positions.enumerated() {
            let offsets = position.partition.offsets
            guard position.offset < offsets.start else { continue }
            guard let offset = origin.offset(offsets) else {
                throw .outOfRange(
                    position.offset, of: position.partition, offsets,
                    "offsets \(position.offset) to \(offsets.start - 1) of \(position.partition.name) were removed by retention"
                        + " before they were read; set origin to go on behind such a gap")
            }
            cursor.advance(index, to: offset)
            hasMoved = true
        }
        return hasMoved
    }

    private func damaged(_ header: BatchHeader?, _ error: RecordError) -> GRPCStatus {
        let partition = cursor.positions[position].partition
        let offset = header?.baseOffset ?? from
        let at = "offset \(offset) of \(partition.name)"
        let place = GRPCStatus.place(partition) + [("offset", "\(offset)")]
        return error.code == .decompressedTooLarge
            ? GRPCStatus(
                .resourceExhausted, "BATCH_TOO_LARGE", place, "the batch at \(at): \(error.message); begin behind it")
            : GRPCStatus(
                .dataLoss, "CORRUPT_DATA", place, "the batch at \(at) cannot be read: \(error.message); begin behind it")
    }
}

extension GRPCStatus {
    static func place(_ partition: Partition) -> [(key: String, value: String)] {
        [("topic", partition.topic), ("partition", "\(partition.index)")]
    }

    /// An offset to read from that is not in the log.
    static func outOfRange(
        _ offset: Int64, of partition: Partition, _ offsets: PartitionOffsets, _ message: String
    ) -> GRPCStatus {
        GRPCStatus(
            .outOfRange, "OFFSET_OUT_OF_RANGE",
            place(partition) + [
                ("offset", "\(offset)"), ("start_offset", "\(offsets.start)"), ("end_offset", "\(offsets.highWatermark)"),
            ], message)
    }
}
