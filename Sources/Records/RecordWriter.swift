// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: writes the fields of one record (KIP-98) into space measured beforehand.
//
// Numbers are zigzag varints, as in Protocol Buffers' sint64. Every write is checked against the
// measured size: a wrong measure is our bug and traps.

import NIOCore

enum Varint {
    /// How many bytes a value takes: 1 to 10.
    static func size(_ value: Int64) -> Int {
        (70 - (zigzag(value) | 1).leadingZeroBitCount) / 7
    }

    @inline(__always) static func zigzag(_ value: Int64) -> UInt64 {
        UInt64(bitPattern: (value &<< 1) ^ (value &>> 63))
    }
}

/// Writes a record's fields into space that its owner has measured before. Lives inside one
/// closure.
@unsafe struct RecordWriter {
    private let base: UnsafeMutableRawPointer
    private let limit: Int
    private(set) var position = 0

    /// - Parameter limit: how many bytes may be written; `space` has them.
    init(_ space: UnsafeMutableRawBufferPointer, limit: Int) {
        guard let base = space.baseAddress, space.count >= limit else {
            preconditionFailure("a record has the room it was measured to need")
        }
        unsafe self.base = unsafe base
        unsafe self.limit = limit
    }

    @inline(__always) mutating func byte(_ value: UInt8) {
        // SAFETY: below `limit`, which lies inside the space.
        unsafe precondition(position < limit, "a record has the size it was measured to have")
        unsafe base.storeBytes(of: value, toByteOffset: position, as: UInt8.self)
        unsafe position += 1
    }

    @inline(__always) mutating func varint(_ value: Int64) {
        var rest = Varint.zigzag(value)
        while rest >= 0x80 {
            unsafe byte(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest &>>= 7
        }
        unsafe byte(UInt8(truncatingIfNeeded: rest))
    }

    /// A length (-1 for nil) and the bytes.
    mutating func nullable(_ bytes: UnsafeRawBufferPointer?) {
        guard let bytes = unsafe bytes else { return unsafe varint(-1) }
        unsafe varint(Int64(bytes.count))
        unsafe copy(bytes)
    }

    mutating func nullable(_ bytes: ByteBuffer?) {
        guard let bytes else { return unsafe varint(-1) }
        unsafe bytes.withUnsafeReadableBytes { unsafe nullable($0) }
    }

    /// A length and UTF-8.
    mutating func text(_ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            unsafe varint(Int64(utf8.count))
            unsafe copy(UnsafeRawBufferPointer(utf8))
        }
    }

    private mutating func copy(_ bytes: UnsafeRawBufferPointer) {
        guard let source = bytes.baseAddress, bytes.count > 0 else { return }
        // SAFETY: ends at or below `limit`, which lies inside the space; a record does not overlap
        // itself.
        unsafe precondition(
            bytes.count <= limit - position, "a record has the size it was measured to have")
        unsafe (base + position).copyMemory(from: source, byteCount: bytes.count)
        unsafe position += bytes.count
    }
}
