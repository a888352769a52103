// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: walks Protocol Buffers' wire format, for the few fields that a load run looks at.
//
// Nothing is trusted: every length is checked against what it lies in.

/// Walks the fields of one message. Lives within the closure that lends the bytes.
@unsafe struct WireReader {
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
