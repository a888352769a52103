// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: the fixed 61-byte head of a Kafka record batch, magic 2 (KIP-98).
//
// A plain value read from bytes; it owns nothing. Reading checks only that 61 bytes are there:
// whether the batch is sound is `BatchValidator`'s question. The CRC covers the bytes from
// `attributes` to the end, so base offset and leader epoch may be patched without touching it.

import Bytes
import NIOCore

/// How a batch's records are compressed (attributes, bits 0 to 2).
package enum CompressionType: UInt8, Sendable, CaseIterable {
    case none = 0
    case gzip = 1
    case snappy = 2
    case lz4 = 3
    case zstd = 4
}

/// The head of a record batch. Offsets and timestamps (ms since the epoch) are absolute.
package struct BatchHeader: Equatable, Sendable {
    /// Bytes from the start of a batch to its first record.
    package static let size = 61
    /// Bytes before `partitionLeaderEpoch`: base offset and batch length, not counted by
    /// `batchLength`.
    package static let logOverhead = 12
    /// Where the bytes covered by the CRC start.
    package static let crcStart = 21

    package var baseOffset: Int64
    package var batchLength: Int32
    package var partitionLeaderEpoch: Int32
    package var magic: Int8
    package var crc: UInt32
    package var attributes: Int16
    package var lastOffsetDelta: Int32
    package var baseTimestamp: Int64
    package var maxTimestamp: Int64
    package var producerId: Int64
    package var producerEpoch: Int16
    package var baseSequence: Int32
    package var recordCount: Int32

    package init(
        baseOffset: Int64, batchLength: Int32, partitionLeaderEpoch: Int32, magic: Int8,
        crc: UInt32,
        attributes: Int16, lastOffsetDelta: Int32, baseTimestamp: Int64, maxTimestamp: Int64,
        producerId: Int64,
        producerEpoch: Int16, baseSequence: Int32, recordCount: Int32
    ) {
        self.baseOffset = baseOffset
        self.batchLength = batchLength
        self.partitionLeaderEpoch = partitionLeaderEpoch
        self.magic = magic
        self.crc = crc
        self.attributes = attributes
        self.lastOffsetDelta = lastOffsetDelta
        self.baseTimestamp = baseTimestamp
        self.maxTimestamp = maxTimestamp
        self.producerId = producerId
        self.producerEpoch = producerEpoch
        self.baseSequence = baseSequence
        self.recordCount = recordCount
    }

    /// Reads a head from the first 61 bytes; nil if there are fewer.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size else { return nil }
        func load<T: FixedWidthInteger>(_ offset: Int, as type: T.Type) -> T {
            // SAFETY: `offset` + the field's size is at most 61, checked above.
            unsafe T(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
        baseOffset = load(0, as: Int64.self)
        batchLength = load(8, as: Int32.self)
        partitionLeaderEpoch = load(12, as: Int32.self)
        magic = load(16, as: Int8.self)
        crc = load(17, as: UInt32.self)
        attributes = load(21, as: Int16.self)
        lastOffsetDelta = load(23, as: Int32.self)
        baseTimestamp = load(27, as: Int64.self)
        maxTimestamp = load(35, as: Int64.self)
        producerId = load(43, as: Int64.self)
        producerEpoch = load(51, as: Int16.self)
        baseSequence = load(53, as: Int32.self)
        recordCount = load(57, as: Int32.self)
    }

    /// Reads a head at the buffer's reader index without moving it.
    package init?(_ buffer: ByteBuffer) {
        // SAFETY: the pointer is used within the closure only.
        guard let header = unsafe buffer.withUnsafeReadableBytes({ unsafe BatchHeader($0) }) else {
            return nil
        }
        self = header
    }

    /// The whole batch, head included, in bytes.
    package var sizeInBytes: Int { Int(batchLength) + Self.logOverhead }
    package var lastOffset: Int64 { baseOffset &+ Int64(lastOffsetDelta) }
    package var nextOffset: Int64 { lastOffset &+ 1 }
    /// nil for the codes 5 to 7, which no version of Kafka defines.
    package var compression: CompressionType? { CompressionType(rawValue: UInt8(attributes & 7)) }
    package var isLogAppendTime: Bool { attributes & 0x08 != 0 }
    package var isTransactional: Bool { attributes & 0x10 != 0 }
    package var isControl: Bool { attributes & 0x20 != 0 }
    /// From when on the batch's tombstones, or its marker, may go (KIP-534). It stands in place of the
    /// base timestamp: records are relative to it all the same.
    package var deleteHorizonMs: Int64? { attributes & 0x40 != 0 ? baseTimestamp : nil }

    /// Whether the batch at the buffer's reader index says that it belongs to a transaction.
    package static func isTransactional(_ batch: ByteBuffer) -> Bool {
        batch.getInteger(at: batch.readerIndex + 22, as: UInt8.self).map { $0 & 0x10 != 0 } ?? false
    }

    /// Whether the batch at the buffer's reader index says that its records are compressed.
    package static func isCompressed(_ batch: ByteBuffer) -> Bool {
        batch.getInteger(at: batch.readerIndex + 22, as: UInt8.self).map { $0 & 7 != 0 } ?? false
    }
}
