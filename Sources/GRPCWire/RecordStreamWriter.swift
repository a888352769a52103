// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: writes martlet.v1.SubscribeResponse messages straight from the log's record batches.
//
//   init -> (beginBatch -> append ... -> endBatch) ... -> finish
//
// The hot path of Subscribe: no object per record, one copy from the batch into the outbound buffer, sizes known before
// anything is written. Lengths that are only known afterwards (the frame's, a RecordBatch's) are filled in later; the
// latter are varints of a fixed four bytes, which every Protocol Buffers reader takes. The field numbers are those of
// proto/martlet/v1/streams.proto; a test compares with swift-protobuf. It writes through raw pointers, like the
// codecs of Records, because this loop decides what a subscriber gets.

import NIOCore
import Records

package struct RecordStreamWriter {
    /// What one message may hold.
    package struct Limits {
        /// Bytes of the message, after which no record is added; a first record always is.
        package var bytesMax: Int
        package var recordsMax: Int
        /// Records from this offset on are left out.
        package var endOffset: Int64

        package init(bytesMax: Int, recordsMax: Int = .max, endOffset: Int64 = .max) {
            self.bytesMax = bytesMax
            self.recordsMax = recordsMax
            self.endOffset = endOffset
        }
    }

    /// Why `append` returned.
    package enum Outcome: Equatable {
        /// The batch has no more records.
        case batchIsRead
        /// A limit was met: finish the message.
        case messageIsFull
        /// The end offset was met.
        case endIsReached
        /// The record at this offset is larger than any message may be.
        case recordIsTooLarge(offset: Int64)
    }

    /// The largest record that is put into a message. Far above what clients take by default (4 MiB), and far below what
    /// the length of a batch has room for.
    package static let recordBytesMax = 64 << 20

    package private(set) var recordCount = 0
    private let start: Int
    private var batchStart = 0
    private var countBefore = 0

    /// Begins a message with room for its frame.
    package init(into buffer: inout ByteBuffer) {
        start = buffer.writerIndex
        buffer.writeRepeatingByte(0, count: MessageFrame.prefixSize)
    }

    /// The fields that are the same for all records of a partition.
    package static func partitionFields(topic: String, partition: Int32) -> ByteBuffer {
        var fields = ByteBuffer()
        fields.writeInteger(UInt8(0x0a))
        fields.writeProtobufVarint(UInt64(topic.utf8.count))
        fields.writeString(topic)
        fields.writeInteger(UInt8(0x10))
        fields.writeProtobufVarint(UInt64(bitPattern: Int64(partition)))
        return fields
    }

    /// Begins a RecordBatch.
    package mutating func beginBatch(
        _ partitionFields: ByteBuffer, highWatermark: Int64, into buffer: inout ByteBuffer
    ) {
        countBefore = recordCount
        buffer.writeInteger(UInt8(0x0a))
        batchStart = buffer.writerIndex
        buffer.writeInteger(UInt32(0))
        buffer.writeImmutableBuffer(partitionFields)
        buffer.writeInteger(UInt8(0x18))
        buffer.writeProtobufVarint(UInt64(bitPattern: highWatermark))
    }

    /// Fills in the batch's length; a batch without records is taken back.
    package func endBatch(in buffer: inout ByteBuffer) {
        guard recordCount > countBefore else {
            buffer.moveWriterIndex(to: batchStart - 1)
            return
        }
        let size = UInt32(buffer.writerIndex - batchStart - 4)
        precondition(size < 1 << 28, "a batch of one message fits four bytes of varint")
        let padded = size & 0x7f | (size & 0x3f80) << 1 | (size & 0x1f_c000) << 2 | (size & 0xfe0_0000) << 3
        buffer.setInteger(padded | 0x0080_8080, at: batchStart, endianness: .little)
    }

    /// Fills in the frame's length; a message without records is taken back.
    package func finish(_ buffer: inout ByteBuffer) {
        guard recordCount > 0 else {
            buffer.moveWriterIndex(to: start)
            return
        }
        let size = UInt32(buffer.writerIndex - start - MessageFrame.prefixSize)
        buffer.setInteger(size, at: start + 1)
    }

    /// Appends records of one batch, from `cursor` on, except those before the offset `from`; moves both behind what was
    /// appended or, being none that `filters` want, passed over. `records` is the batch's record section.
    package mutating func append(
        _ records: ByteBuffer, cursor: inout RecordCursor, from: inout Int64, limits: Limits,
        filters: RecordFilters? = nil, into buffer: inout ByteBuffer
    ) throws(RecordError) -> Outcome {
        var walk = Walk(
            cursor: cursor, from: from, count: recordCount, written: buffer.writerIndex - start, limits: limits,
            filters: filters)
        defer {
            cursor = walk.cursor
            from = walk.from
            recordCount = walk.count
        }
        while true {
            let room = walk.spaceWanted(records.readableBytes)
            // SAFETY: both pointers are used within the closures only; `run` writes into the space it is given and reads
            // ranges that RecordCursor has checked against the source.
            try unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: room) {
                (space) throws(RecordError) -> Int in
                try unsafe records.withUnsafeReadableBytes { (source) throws(RecordError) -> Int in
                    try unsafe walk.run(source, into: space)
                }
            }
            if let outcome = walk.outcome { return outcome }
        }
    }
}

/// One walk over a batch's records, stopped and continued where the output has to grow.
private struct Walk {
    var cursor: RecordCursor
    var from: Int64
    var count: Int
    var written: Int
    let limits: RecordStreamWriter.Limits
    private let filters: RecordFilters?
    var outcome: RecordStreamWriter.Outcome?
    /// The size of a record that did not fit into the space offered.
    private var sizeNeeded = 0

    init(
        cursor: RecordCursor, from: Int64, count: Int, written: Int, limits: RecordStreamWriter.Limits,
        filters: RecordFilters?
    ) {
        self.filters = filters
        self.cursor = cursor
        self.from = from
        self.count = count
        self.written = written
        self.limits = limits
    }

    /// A good guess of what the rest of the batch takes; offsets and timestamps grow by some 20 bytes a record.
    func spaceWanted(_ sectionSize: Int) -> Int {
        let rest = sectionSize - cursor.position + 24 * cursor.remaining
        return max(sizeNeeded, min(max(rest, 0), limits.bytesMax))
    }

    mutating func run(
        _ source: UnsafeRawBufferPointer, into space: UnsafeMutableRawBufferPointer
    ) throws(RecordError) -> Int {
        guard let base = space.baseAddress else { preconditionFailure("space was asked for") }
        var used = 0
        sizeNeeded = 0
        while true {
            let before = cursor
            guard let record = try unsafe cursor.next(in: source) else {
                outcome = .batchIsRead
                return used
            }
            if record.offset < from { continue }
            if let filters, try unsafe !filters.accepts(record, source) {
                from = record.offset + 1
                continue
            }
            let headersSize = record.headerCount == 0 ? 0 : try unsafe RecordFields.headersSize(record, source)
            let bodySize = RecordFields.size(record) + headersSize
            let size = Protobuf.fieldSize(bodySize)
            if let stop = stop(before: record, size: size, room: space.count - used) {
                cursor = before
                outcome = stop
                return used
            }
            if sizeNeeded > 0 {
                cursor = before
                return used
            }
            // SAFETY: `size` bytes fit behind `used`, checked in `stop`.
            try unsafe RecordFields.write(record, bodySize: bodySize, source, to: base + used)
            used += size
            written += size
            count += 1
            from = record.offset + 1
        }
    }

    /// Whether a record is not to be written, and why; sets `sizeNeeded` where only space is missing.
    private mutating func stop(
        before record: RecordLayout, size: Int, room: Int
    ) -> RecordStreamWriter.Outcome? {
        if record.offset >= limits.endOffset { return .endIsReached }
        if size > RecordStreamWriter.recordBytesMax { return .recordIsTooLarge(offset: record.offset) }
        if count >= limits.recordsMax || (count > 0 && written + size > limits.bytesMax) { return .messageIsFull }
        if size > room { sizeNeeded = size }
        return nil
    }
}
