// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: builds one record batch, magic 2 (KIP-98).
//
// A value with one owner. Records are encoded into one buffer as they come, behind room for the
// head, so that an uncompressed batch is finished by patching 61 bytes and one checksum. It bounds
// nothing: whoever takes records from a peer has bounded them before.

import Bytes
import NIOCore

/// Collects records and finishes them into a batch.
package struct RecordBatchBuilder: Sendable {
    /// Whom an idempotent or transactional batch comes from.
    package struct Producer: Equatable, Sendable {
        package var id: Int64
        package var epoch: Int16
        package var baseSequence: Int32

        package init(id: Int64, epoch: Int16, baseSequence: Int32) {
            self.id = id
            self.epoch = epoch
            self.baseSequence = baseSequence
        }

        /// No idempotence.
        package static let none = Producer(id: -1, epoch: -1, baseSequence: -1)
    }

    private var buffer: ByteBuffer
    package private(set) var recordCount: Int32 = 0
    private var baseTimestamp: Int64 = -1
    private var maxTimestamp: Int64 = -1

    package var compression: CompressionType
    package var producer: Producer
    package var isTransactional = false
    package var isControl = false

    /// - Parameter capacity: bytes to reserve, the head included.
    package init(
        compression: CompressionType = .none, producer: Producer = .none, capacity: Int = 1024
    ) {
        self.compression = compression
        self.producer = producer
        buffer = ByteBuffer()
        buffer.reserveCapacity(max(capacity, BatchHeader.size))
    }

    /// The batch's size if it is not compressed.
    package var sizeInBytes: Int { max(buffer.readableBytes, BatchHeader.size) }

    /// Appends a record.
    package mutating func append(
        key: ByteBuffer?, value: ByteBuffer?, headers: [RecordHeader] = [], timestamp: Int64
    ) {
        // SAFETY: the pointers are used within the closures only.
        unsafe Self.withBytes(key) { key in
            unsafe Self.withBytes(value) { value in
                unsafe append(key, value, headers, timestamp)
            }
        }
    }

    /// Appends a record whose key and value are parts of what can be read of `bytes`.
    package mutating func append(
        key: Range<Int>?, value: Range<Int>?, of bytes: ByteBuffer, headers: [RecordHeader], timestamp: Int64
    ) {
        // SAFETY: the pointers are used within the closure only; slicing checks the ranges.
        unsafe bytes.withUnsafeReadableBytes { bytes in
            let key = unsafe key.map { unsafe UnsafeRawBufferPointer(rebasing: bytes[$0]) }
            let value = unsafe value.map { unsafe UnsafeRawBufferPointer(rebasing: bytes[$0]) }
            unsafe append(key, value, headers, timestamp)
        }
    }

    private mutating func append(
        _ key: UnsafeRawBufferPointer?, _ value: UnsafeRawBufferPointer?, _ headers: [RecordHeader], _ timestamp: Int64
    ) {
        if buffer.readableBytes == 0 { buffer.writeRepeatingByte(0, count: BatchHeader.size) }
        if recordCount == 0 { baseTimestamp = timestamp }
        maxTimestamp = max(maxTimestamp, timestamp)
        let timestampDelta = timestamp &- baseTimestamp
        let offsetDelta = Int64(recordCount)
        var size = 1 + Varint.size(timestampDelta) + Varint.size(offsetDelta)
        size += unsafe Self.size(key?.count) + Self.size(value?.count) + Varint.size(Int64(headers.count))
        for header in headers {
            size += Self.size(header.key.utf8.count) + Self.size(header.value?.readableBytes)
        }
        let total = Varint.size(Int64(size)) + size
        // SAFETY: the space has room for `total` bytes, which is what the fields below add up to;
        // the writer checks it, and is used within the closure only.
        unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { space in
            var writer = unsafe RecordWriter(space, limit: total)
            unsafe writer.varint(Int64(size))
            unsafe writer.byte(0)
            unsafe writer.varint(timestampDelta)
            unsafe writer.varint(offsetDelta)
            unsafe writer.nullable(key)
            unsafe writer.nullable(value)
            unsafe writer.varint(Int64(headers.count))
            for header in headers {
                unsafe writer.text(header.key)
                unsafe writer.nullable(header.value)
            }
            return unsafe writer.position
        }
        recordCount += 1
    }

    /// The finished batch; the builder is empty then and can be filled again.
    /// - Precondition: there is a record.
    package mutating func finish(
        baseOffset: Int64 = 0, leaderEpoch: Int32 = -1,
        compressor: @autoclosure () -> Compressor = Compressor()
    ) -> ByteBuffer {
        precondition(recordCount > 0, "a batch has a record")
        var batch = ByteBuffer()
        if compression == .none {
            // The batch takes the builder's storage along, so that nothing is copied.
            swap(&batch, &buffer)
        } else {
            batch.reserveCapacity(buffer.readableBytes / 2 + BatchHeader.size)
            batch.writeRepeatingByte(0, count: BatchHeader.size)
            // SAFETY: used within the closure only; `append` wrote 61 bytes before the first
            // record.
            unsafe buffer.withUnsafeReadableBytes { bytes in
                let records = unsafe UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.size...])
                unsafe compressor().compress(records, compression, into: &batch)
            }
            buffer.clear()
        }
        var attributes = Int16(compression.rawValue)
        if isTransactional { attributes |= 0x10 }
        if isControl { attributes |= 0x20 }
        let header = BatchHeader(
            baseOffset: baseOffset,
            batchLength: Int32(batch.readableBytes - BatchHeader.logOverhead),
            partitionLeaderEpoch: leaderEpoch, magic: 2, crc: 0, attributes: attributes,
            lastOffsetDelta: recordCount - 1, baseTimestamp: baseTimestamp,
            maxTimestamp: maxTimestamp, producerId: producer.id, producerEpoch: producer.epoch,
            baseSequence: producer.baseSequence, recordCount: recordCount)
        // SAFETY: the batch has its 61 bytes of head; the pointer is used within the closure only.
        unsafe batch.withUnsafeMutableReadableBytes { bytes in
            unsafe header.write(to: bytes)
            let crc = unsafe BatchBytes.crc(UnsafeRawBufferPointer(bytes), size: bytes.count)
            unsafe bytes.storeBytes(of: crc.bigEndian, toByteOffset: 17, as: UInt32.self)
        }
        recordCount = 0
        return batch
    }

    /// Of a field of so many bytes, or of nil.
    private static func size(_ count: Int?) -> Int {
        guard let count else { return 1 }
        return Varint.size(Int64(count)) + count
    }

    private static func withBytes(_ bytes: ByteBuffer?, _ body: (UnsafeRawBufferPointer?) -> Void) {
        guard let bytes else { return body(nil) }
        unsafe bytes.withUnsafeReadableBytes { unsafe body($0) }
    }
}

extension BatchHeader {
    /// Writes the 61 bytes at the start of `bytes`.
    func write(to bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count >= Self.size, "a batch has room for its head")
        func store<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
            // SAFETY: `offset` + the field's size is at most 61, checked above.
            unsafe bytes.storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
        }
        store(baseOffset, 0)
        store(batchLength, 8)
        store(partitionLeaderEpoch, 12)
        store(magic, 16)
        store(crc, 17)
        store(attributes, 21)
        store(lastOffsetDelta, 23)
        store(baseTimestamp, 27)
        store(maxTimestamp, 35)
        store(producerId, 43)
        store(producerEpoch, 51)
        store(baseSequence, 53)
        store(recordCount, 57)
    }
}
