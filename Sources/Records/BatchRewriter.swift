// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: makes a batch anew from some of its records: for compaction and for another codec.
//
// What makes a batch itself stays: its offsets from first to last, producer, epoch, sequence, leader
// epoch and the kind of its time. Records keep offset and time; where the base timestamp changes
// (KIP-534 puts the delete horizon there) their deltas are written again, all else is copied.
// Stateless functions over bytes that were checked before.

import Bytes
import NIOCore

package enum BatchRewriter {
    /// The batch with only `kept` of its records, in order. With `deleteHorizonMs` that becomes its
    /// delete horizon. The codec is the batch's own unless another is given.
    package static func rewrite(
        _ batch: RecordBatchReader, keeping kept: [RecordLayout], deleteHorizonMs: Int64? = nil,
        compression: Compression? = nil, compressor: Compressor
    ) -> ByteBuffer {
        var header = batch.header
        let base = deleteHorizonMs ?? header.baseTimestamp
        let codec = compression ?? Compression(header.compression ?? .none)
        var records = ByteBuffer()
        records.reserveCapacity(kept.reduce(0) { $0 + $1.end - $1.start + 10 })
        for record in kept {
            if base == header.baseTimestamp {
                if var whole = batch.slice(record.start..<record.end) { records.writeBuffer(&whole) }
            } else {
                write(record, of: batch, baseTimestamp: base, into: &records)
            }
        }
        if !header.isLogAppendTime {
            header.maxTimestamp = kept.reduce(-1) { max($0, $1.timestamp) }
        }
        header.baseTimestamp = base
        header.recordCount = Int32(kept.count)
        header.attributes = header.attributes & ~7 | Int16(codec.type.rawValue)
        if deleteHorizonMs != nil { header.attributes |= 0x40 }
        return finish(header, records: records, codec, compressor)
    }

    /// The same batch in another codec.
    package static func recompress(
        _ batch: RecordBatchReader, _ codec: Compression, compressor: Compressor
    ) throws(RecordError) -> ByteBuffer {
        var header = batch.header
        if !header.isLogAppendTime {
            header.maxTimestamp = try batch.recordWithMaxTimestamp()?.timestamp ?? -1
        }
        header.attributes = header.attributes & ~7 | Int16(codec.type.rawValue)
        return finish(header, records: batch.records, codec, compressor)
    }

    /// The batch without records: it keeps its offsets taken and says what its producer sent last.
    package static func emptied(_ header: BatchHeader) -> ByteBuffer {
        var header = header
        header.baseTimestamp = -1
        header.recordCount = 0
        header.attributes &= ~0x47
        return finish(header, records: ByteBuffer(), Compression(.none), nil)
    }

    private static func finish(
        _ header: BatchHeader, records: ByteBuffer, _ codec: Compression, _ compressor: Compressor?
    ) -> ByteBuffer {
        var header = header
        var batch = ByteBuffer()
        batch.reserveCapacity(BatchHeader.size + records.readableBytes)
        batch.writeRepeatingByte(0, count: BatchHeader.size)
        if let compressor, codec.type != .none {
            // SAFETY: the pointer is used within the closure only.
            unsafe records.withUnsafeReadableBytes { bytes in
                unsafe compressor.compress(bytes, codec.type, level: codec.level, into: &batch)
            }
        } else {
            batch.writeImmutableBuffer(records)
        }
        header.batchLength = Int32(batch.readableBytes - BatchHeader.logOverhead)
        // SAFETY: the batch has its 61 bytes of head; the pointer is used within the closure only.
        unsafe batch.withUnsafeMutableReadableBytes { bytes in unsafe header.write(to: bytes) }
        BatchBytes.setCRC(in: &batch)
        return batch
    }

    /// A record with its time relative to another base.
    private static func write(
        _ record: RecordLayout, of batch: RecordBatchReader, baseTimestamp: Int64,
        into output: inout ByteBuffer
    ) {
        let header = batch.header
        let timestampDelta = record.timestamp &- baseTimestamp
        let offsetDelta = record.offset - header.baseOffset
        let key = batch.slice(record.keyRange)
        // Value and headers stand behind the key, as they are.
        let keyEnd = record.keyStart + max(0, record.keyLength)
        let rest = batch.slice(keyEnd..<record.end) ?? ByteBuffer()
        var size = 1 + Varint.size(timestampDelta) + Varint.size(offsetDelta)
        size += Varint.size(Int64(record.keyLength)) + max(0, record.keyLength)
        size += rest.readableBytes
        let total = Varint.size(Int64(size)) + size - rest.readableBytes
        // SAFETY: the space has room for `total` bytes, which is what the fields add up to; the
        // writer checks it, and is used within the closure only.
        unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { space in
            var writer = unsafe RecordWriter(space, limit: total)
            unsafe writer.varint(Int64(size))
            unsafe writer.byte(0)
            unsafe writer.varint(timestampDelta)
            unsafe writer.varint(offsetDelta)
            unsafe writer.nullable(key)
            return unsafe writer.position
        }
        output.writeImmutableBuffer(rest)
    }
}
