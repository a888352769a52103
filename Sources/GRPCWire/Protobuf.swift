// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: the Protocol Buffers wire format, as far as the two hot messages need it.
//
// Sizes and readers for messages that are walked in place. The messages themselves are in PublishRequestReader,
// PublishResponseWriter and RecordStreamWriter; everything else goes through swift-protobuf.

import NIOCore

enum Protobuf {
    /// Bytes of a varint: 1 to 10.
    @inline(__always) static func size(_ value: UInt64) -> Int {
        (70 - (value | 1).leadingZeroBitCount) / 7
    }

    @inline(__always) static func size(_ value: Int) -> Int { size(UInt64(value)) }

    /// The size of a length-delimited field with a tag of one byte.
    @inline(__always) static func fieldSize(_ count: Int) -> Int { 1 + size(count) + count }
}

/// A tag: the number of a field and how its value is encoded.
struct ProtobufTag {
    enum WireType: UInt64 {
        case varint = 0
        case fixed64 = 1
        case bytes = 2
        case fixed32 = 5
    }

    var number: UInt64
    var type: WireType
}

extension ByteBuffer {
    mutating func writeProtobufVarint(_ value: UInt64) {
        let size = Protobuf.size(value)
        guard size <= 8 else { return writeLongProtobufVarint(value) }
        // All its bytes in one word: the buffer is touched once.
        var word: UInt64 = 0
        var rest = value
        for index in 0..<UInt64(size) {
            word |= (rest & 0x7f | 0x80) &<< (8 &* index)
            rest &>>= 7
        }
        word &= ~(0x80 &<< (8 &* UInt64(size - 1)))
        setInteger(word, at: writerIndex, endianness: .little)
        moveWriterIndex(forwardBy: size)
    }

    private mutating func writeLongProtobufVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest &>>= 7
        }
        writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    /// A length-delimited field, with its tag.
    mutating func writeProtobufText(_ tag: UInt8, _ text: String) {
        writeInteger(tag)
        writeProtobufVarint(UInt64(text.utf8.count))
        writeString(text)
    }

    mutating func writeProtobufBytes(_ tag: UInt8, _ bytes: ByteBuffer) {
        writeInteger(tag)
        writeProtobufVarint(UInt64(bytes.readableBytes))
        writeImmutableBuffer(bytes)
    }

    /// Nil if the number is cut short or too long.
    mutating func readProtobufVarint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64, let byte = readInteger(as: UInt8.self) {
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }

    /// The bytes of a length-delimited field.
    mutating func readProtobufBytes() -> ByteBuffer? {
        guard let length = readProtobufVarint(), length <= UInt64(readableBytes) else { return nil }
        return readSlice(length: Int(length))
    }
}

/// A place in a message that is walked without copying or counting references. Reads advance it; each is nil where the
/// message, or the part of it that ends at `end`, is cut short.
struct ProtobufCursor {
    private(set) var position: Int
    let end: Int

    init(_ range: Range<Int>) {
        position = range.lowerBound
        end = range.upperBound
    }

    var isAtEnd: Bool { position == end }

    @inline(__always) mutating func varint(_ message: Span<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64, position < end {
            let byte = message[position]
            position += 1
            value |= UInt64(byte & 0x7f) &<< shift
            if byte < 0x80 { return value }
            shift += 7
        }
        return nil
    }

    /// Where the bytes of a length-delimited field are.
    @inline(__always) mutating func bytes(_ message: Span<UInt8>) -> Range<Int>? {
        guard let length = varint(message), length <= UInt64(end - position) else { return nil }
        let start = position
        position += Int(length)
        return start..<position
    }

    @inline(__always) mutating func tag(_ message: Span<UInt8>) -> ProtobufTag? {
        guard let tag = varint(message), tag >> 3 > 0, let type = ProtobufTag.WireType(rawValue: tag & 7) else {
            return nil
        }
        return ProtobufTag(number: tag >> 3, type: type)
    }

    /// Steps over a field that is not known.
    mutating func skip(_ type: ProtobufTag.WireType, _ message: Span<UInt8>) -> Bool {
        switch type {
        case .varint: return varint(message) != nil
        case .bytes: return bytes(message) != nil
        case .fixed32: return advance(by: 4)
        case .fixed64: return advance(by: 8)
        }
    }

    private mutating func advance(by count: Int) -> Bool {
        guard end - position >= count else { return false }
        position += count
        return true
    }
}
