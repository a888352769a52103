// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: questions to, and patches of, a batch's bytes where they lie.
//
// Stateless functions. Patches write fixed fields of a batch that the caller has already checked to
// be whole; those that touch what the CRC covers set the CRC again.

import Bytes
import NIOCore

package enum BatchBytes {
    /// The head of the batch at the reader index, if the whole batch is there and its magic is 2.
    package static func header(of bytes: ByteBuffer) throws(RecordError) -> BatchHeader {
        guard let header = BatchHeader(bytes) else {
            throw RecordError(
                .corruptMessage,
                """
                \(bytes.readableBytes) bytes are too few for a record batch, which has a head of \
                \(BatchHeader.size)
                """
            )
        }
        guard header.magic == 2 else { throw wrongMagic(header.magic) }
        guard header.sizeInBytes >= BatchHeader.size, header.sizeInBytes <= bytes.readableBytes
        else {
            throw RecordError(
                .corruptMessage,
                """
                the batch says it has \(header.sizeInBytes) bytes, but \(bytes.readableBytes) are \
                there
                """
            )
        }
        return header
    }

    /// Whether the checksum of the batch at the reader index, which must be whole, is right.
    package static func isCRCValid(_ bytes: ByteBuffer, header: BatchHeader) -> Bool {
        // SAFETY: the pointer is used within the closure only.
        unsafe bytes.withUnsafeReadableBytes { bytes in
            guard header.sizeInBytes >= BatchHeader.size, header.sizeInBytes <= bytes.count else {
                return false
            }
            return unsafe crc(bytes, size: header.sizeInBytes) == header.crc
        }
    }

    /// Takes the next batch, with its head, from a run of batches as Fetch answers and segment
    /// files hold them. nil at the end, and where the last batch is cut short: a fetch may end in
    /// the middle of one.
    package static func next(
        from bytes: inout ByteBuffer
    ) throws(RecordError) -> (header: BatchHeader, bytes: ByteBuffer)? {
        guard let header = BatchHeader(bytes) else { return nil }
        guard header.magic == 2 else { throw wrongMagic(header.magic) }
        guard header.sizeInBytes >= BatchHeader.size else {
            throw RecordError(
                .corruptMessage,
                """
                the batch at offset \(header.baseOffset) says it has \(header.sizeInBytes) bytes, \
                fewer than its head
                """
            )
        }
        guard let batch = bytes.readSlice(length: header.sizeInBytes) else { return nil }
        return (header, batch)
    }

    /// Sets what a broker assigns. Both fields lie before what the CRC covers.
    package static func assign(baseOffset: Int64, leaderEpoch: Int32, in batch: inout ByteBuffer) {
        batch.setInteger(baseOffset, at: batch.readerIndex)
        batch.setInteger(leaderEpoch, at: batch.readerIndex + 12)
    }

    /// A copy of the batch whose records all carry the time `nowMs`, as
    /// `message.timestamp.type=LogAppendTime` asks: the timestamp type bit and the maximum are set,
    /// base timestamp and deltas stay (KIP-32, KIP-98).
    package static func withLogAppendTime(_ batch: ByteBuffer, nowMs: Int64) -> ByteBuffer {
        var copy = ByteBuffer()
        copy.reserveCapacity(batch.readableBytes)
        copy.writeImmutableBuffer(batch)
        let attributes: Int16 = copy.getInteger(at: 21) ?? 0
        copy.setInteger(attributes | 0x08, at: 21)
        setMaxTimestamp(nowMs, in: &copy)
        return copy
    }

    /// A copy of the batch with this maximum timestamp: for the producer that declared a wrong one.
    package static func withMaxTimestamp(_ batch: ByteBuffer, _ maxTimestamp: Int64) -> ByteBuffer {
        var copy = ByteBuffer()
        copy.reserveCapacity(batch.readableBytes)
        copy.writeImmutableBuffer(batch)
        setMaxTimestamp(maxTimestamp, in: &copy)
        return copy
    }

    private static func setMaxTimestamp(_ maxTimestamp: Int64, in batch: inout ByteBuffer) {
        batch.setInteger(maxTimestamp, at: batch.readerIndex + 35)
        setCRC(in: &batch)
    }

    /// Computes the CRC of the one batch that fills `batch`, and sets it.
    static func setCRC(in batch: inout ByteBuffer) {
        // SAFETY: the pointer is used within the closure only.
        let value = unsafe batch.withUnsafeReadableBytes { bytes in
            unsafe crc(bytes, size: bytes.count)
        }
        batch.setInteger(value, at: batch.readerIndex + 17)
    }

    /// - Precondition: `size` is between 61 and `bytes.count`.
    @inline(__always) static func crc(_ bytes: UnsafeRawBufferPointer, size: Int) -> UInt32 {
        // SAFETY: the range lies inside `bytes` by the precondition; slicing checks it again.
        unsafe crc32c(UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.crcStart..<size]))
    }

    static func wrongMagic(_ magic: Int8) -> RecordError {
        guard magic == 0 || magic == 1 else {
            return RecordError(.corruptMessage, "no record batch has magic \(magic)")
        }
        return RecordError(
            .unsupportedMagic,
            """
            message format \(magic) is not taken, only record batches of magic 2: use a client of \
            Kafka 0.11 or later
            """
        )
    }
}
