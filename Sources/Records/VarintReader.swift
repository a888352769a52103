// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: reads zigzag varints at a moving position, with one check for many reads.
//
// A failed read moves the position past every end and later reads stay there, so that a caller
// reads a whole record and asks `isDamaged` once. It lives inside one closure over the bytes it
// points to.

/// A position in bytes that end at `end`. Bytes are only touched below `end`.
@unsafe struct VarintReader {
    private let base: UnsafeRawPointer
    private(set) var position: Int
    var end: Int

    /// - Precondition: `position <= end <= ` the bytes at `base`.
    init(base: UnsafeRawPointer, position: Int, end: Int) {
        unsafe self.base = unsafe base
        unsafe self.position = position
        unsafe self.end = end
    }

    /// Whether a read ran out of bytes or met a number that is too long.
    var isDamaged: Bool { unsafe position > end }

    /// One byte, 0 when damaged.
    @inline(__always) mutating func byte() -> UInt8 {
        guard unsafe position < end else {
            unsafe fail()
            return 0
        }
        // SAFETY: `position < end`, which the owner has bounded by the bytes at `base`.
        let value = unsafe base.load(fromByteOffset: position, as: UInt8.self)
        unsafe position += 1
        return value
    }

    /// A zigzag varint of at most 64 bits, 0 when damaged.
    @inline(__always) mutating func varint() -> Int64 {
        let first = unsafe byte()
        if first < 0x80 { return unsafe unzigzag(UInt64(first)) }
        return unsafe longVarint(first)
    }

    @inline(never) private mutating func longVarint(_ first: UInt8) -> Int64 {
        var value = UInt64(first & 0x7f)
        var shift: UInt64 = 7
        while shift < 64 {
            let next = unsafe byte()
            value |= UInt64(next & 0x7f) &<< shift
            if next < 0x80 { return unsafe isDamaged ? 0 : unzigzag(value) }
            shift += 7
        }
        unsafe fail()
        return 0
    }

    /// A length prefix and that many bytes: where they start and how many they are; -1 is null.
    @inline(__always) mutating func bytes() -> (start: Int, length: Int) {
        let length = unsafe varint()
        let start = unsafe position
        if length < 0 {
            if length != -1 { unsafe fail() }
            return (start, -1)
        }
        guard unsafe !isDamaged, unsafe length <= Int64(end - start) else {
            unsafe fail()
            return (start, 0)
        }
        unsafe position = start + Int(length)
        return (start, Int(length))
    }

    private mutating func fail() {
        unsafe position = .max
    }

    @inline(__always) private func unzigzag(_ value: UInt64) -> Int64 {
        Int64(bitPattern: (value &>> 1) ^ (0 &- (value & 1)))
    }
}
