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
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest &>>= 7
        }
        writeInteger(UInt8(truncatingIfNeeded: rest))
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

    /// Nil at the end and where there is no tag; `readableBytes` tells which.
    mutating func readProtobufTag() -> ProtobufTag? {
        guard let tag = readProtobufVarint(), tag >> 3 > 0, let type = ProtobufTag.WireType(rawValue: tag & 7) else {
            return nil
        }
        return ProtobufTag(number: tag >> 3, type: type)
    }

    /// Steps over a field that is not known.
    mutating func skipProtobufField(_ type: ProtobufTag.WireType) -> Bool {
        switch type {
        case .varint: return readProtobufVarint() != nil
        case .bytes: return readProtobufBytes() != nil
        case .fixed32: return readSlice(length: 4) != nil
        case .fixed64: return readSlice(length: 8) != nil
        }
    }
}
