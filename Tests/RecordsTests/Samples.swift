// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: the batches and values that several suites share.

import NIOCore

@testable import Records

enum Samples {
    static let nowMs: Int64 = 1_700_000_000_000

    static func bytes(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }

    /// Bytes from hexadecimal text; line breaks are ignored.
    static func hex(_ text: String) -> ByteBuffer {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        var buffer = ByteBuffer()
        for index in stride(from: 0, to: digits.count - 1, by: 2) {
            buffer.writeInteger(UInt8(digits[index] << 4 | digits[index + 1]))
        }
        return buffer
    }

    /// A batch of `count` records: keys, values and headers that differ, each null or empty now and
    /// then.
    static func batch(
        count: Int = 10, compression: CompressionType = .none, valueSize: Int = 20,
        producer: RecordBatchBuilder.Producer = .none
    ) -> ByteBuffer {
        var builder = RecordBatchBuilder(compression: compression, producer: producer)
        for record in records(count: count, valueSize: valueSize) {
            builder.append(
                key: record.key, value: record.value, headers: record.headers,
                timestamp: record.timestamp)
        }
        return builder.finish()
    }

    static func records(count: Int = 10, valueSize: Int = 20) -> [Record] {
        (0..<count).map { record($0, valueSize: valueSize) }
    }

    private static func record(_ index: Int, valueSize: Int) -> Record {
        var record = Record(
            offset: Int64(index), timestamp: nowMs + Int64((index * 7) % 5), key: nil, value: nil)
        if index % 3 != 0 { record.key = bytes(index % 3 == 1 ? "" : "key \(index)") }
        if index % 4 != 3 {
            record.value = ByteBuffer(repeating: UInt8(index & 0xff), count: valueSize)
        }
        if index % 2 == 1 {
            record.headers = [
                RecordHeader(key: "header", value: index % 3 == 0 ? nil : bytes("v\(index)"))
            ]
        }
        return record
    }

    /// Every record of a batch.
    static func read(
        _ batch: ByteBuffer, limit: Int = 1 << 20
    ) throws(RecordError) -> [Record] {
        var reader = try RecordBatchReader(batch, decompressor: Decompressor(), limit: limit)
        var records: [Record] = []
        while let record = try reader.next() { records.append(record) }
        return records
    }

    /// The batch with one field changed and its checksum made right again.
    static func patched<T: FixedWidthInteger>(_ batch: ByteBuffer, at index: Int, _ value: T)
        -> ByteBuffer
    {
        var copy = ByteBuffer(bytes: batch.readableBytesView)
        copy.setInteger(value, at: index)
        BatchBytes.setCRC(in: &copy)
        return copy
    }
}

extension ByteBuffer {
    mutating func writeVarint(_ value: Int64) {
        unsafe writeWithUnsafeMutableBytes(minimumWritableBytes: 10) { space in
            var writer = unsafe RecordWriter(space, limit: 10)
            unsafe writer.varint(value)
            return unsafe writer.position
        }
    }
}

/// A seeded generator (SplitMix64), so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
