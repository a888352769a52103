// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: counts the records of SubscribeResponse messages without decoding them.
//
// A value with one owner. Walks Protocol Buffers' wire format by hand: of a record only the offset
// is read, which has to grow within its partition. Nothing is trusted: every length is checked
// against what it lies in.

import NIOCore

struct SubscribeCounter {
    /// The next offset of each partition; -1 before the first record.
    private var next: [Int64] = []
    private(set) var records = 0
    private(set) var gaps = 0
    private static let partitionsMax = 100_000

    /// A new stream starts somewhere else.
    mutating func restart() {
        next.removeAll(keepingCapacity: true)
    }

    /// Counts one message's records; returns how many.
    mutating func count(_ message: ByteBuffer) throws(ClientError) -> Int {
        let before = records
        // SAFETY: the pointer is used within the closure only.
        let isSound = unsafe message.withUnsafeReadableBytes { unsafe walk($0) }
        guard isSound else {
            throw ClientError(
                .badAnswer,
                "a message is no SubscribeResponse, or its offsets do not grow (record \(records))")
        }
        return records - before
    }

    /// SubscribeResponse: field 1 is a batch.
    private mutating func walk(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = unsafe WireReader(bytes)
        while let field = unsafe reader.next() {
            guard field == 1 else { continue }
            guard unsafe walk(batch: reader.content) else { return false }
        }
        return unsafe reader.isAtEnd
    }

    /// RecordBatch: field 2 is the partition, field 4 a record; the partition comes first.
    private mutating func walk(batch bytes: UnsafeRawBufferPointer) -> Bool {
        var reader = unsafe WireReader(bytes)
        var partition = 0
        while let field = unsafe reader.next() {
            if field == 2 {
                partition = unsafe Int(truncatingIfNeeded: reader.number)
                guard (0..<Self.partitionsMax).contains(partition) else { return false }
            }
            guard field == 4 else { continue }
            guard unsafe walk(record: reader.content, partition) else { return false }
        }
        return unsafe reader.isAtEnd
    }

    /// Record: field 1 is the offset, and absent if it is 0.
    private mutating func walk(record bytes: UnsafeRawBufferPointer, _ partition: Int) -> Bool {
        var reader = unsafe WireReader(bytes)
        var offset: Int64 = 0
        while let field = unsafe reader.next() {
            guard field == 1 else { continue }
            offset = unsafe Int64(bitPattern: reader.number)
            // What follows is not looked at: the record's length is known.
            unsafe reader.stop()
        }
        guard unsafe reader.isAtEnd else { return false }
        while next.count <= partition { next.append(-1) }
        let expected = next[partition]
        guard expected < 0 || offset >= expected else { return false }
        if expected >= 0 && offset > expected { gaps += Int(clamping: offset - expected) }
        next[partition] = offset &+ 1
        records += 1
        return true
    }
}

/// Walks the fields of one message. Lives within the closure that lends the bytes.
@unsafe private struct WireReader {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    /// The last field's number (wire type 0) or content (wire type 2).
    private(set) var number: UInt64 = 0
    private(set) var content = unsafe UnsafeRawBufferPointer(start: nil, count: 0)

    init(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.bytes = unsafe bytes
    }

    /// Every byte belonged to a field.
    var isAtEnd: Bool { unsafe position == bytes.count }

    mutating func stop() {
        unsafe position = bytes.count
    }

    /// The next field's number; nil at the end, or where the bytes are no fields.
    @inline(__always) mutating func next() -> Int? {
        guard unsafe position < bytes.count, let tag = unsafe varint() else { return nil }
        switch tag & 7 {
        case 0:
            guard let value = unsafe varint() else { return nil }
            unsafe number = value
        case 1: guard unsafe skip(8) else { return nil }
        case 2:
            guard let length = unsafe varint(), unsafe length <= UInt64(bytes.count - position)
            else {
                unsafe position = .max
                return nil
            }
            let end = unsafe position + Int(length)
            unsafe content = UnsafeRawBufferPointer(rebasing: bytes[position..<end])
            unsafe position = end
        case 5: guard unsafe skip(4) else { return nil }
        default:
            unsafe position = .max
            return nil
        }
        return Int(truncatingIfNeeded: tag >> 3)
    }

    private mutating func skip(_ count: Int) -> Bool {
        guard unsafe count <= bytes.count - position else {
            unsafe position = .max
            return false
        }
        unsafe position += count
        return true
    }

    @inline(__always) private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while unsafe position < bytes.count && shift < 64 {
            // SAFETY: `position` is below the count.
            let byte = unsafe bytes[position]
            unsafe position += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        unsafe position = .max
        return nil
    }
}
