// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: one martlet.v1.Record in wire format, sized first and then written to memory.
//
// Only RecordStreamWriter calls this. A header's key is a `string` in the contract, so a key that Kafka stored as something else
// than UTF-8 is repaired here: one bad header must not make a whole message unreadable.

import Glibc
import Records

enum RecordFields {
    /// Bytes of the record's fields without its headers.
    static func size(_ record: RecordLayout) -> Int {
        var size = 2 + Protobuf.size(UInt64(bitPattern: record.offset)) + Protobuf.size(UInt64(bitPattern: record.timestamp))
        if record.keyLength >= 0 { size += Protobuf.fieldSize(record.keyLength) }
        if record.valueLength >= 0 { size += Protobuf.fieldSize(record.valueLength) }
        return size
    }

    static func headersSize(_ record: RecordLayout, _ source: UnsafeRawBufferPointer) throws(RecordError) -> Int {
        var cursor = HeaderCursor(record)
        var size = 0
        while let header = try unsafe cursor.next(in: source) {
            size += unsafe Protobuf.fieldSize(headerSize(header, repairedKey(header, source)))
        }
        return size
    }

    /// SAFETY: the caller has room for the record's field: a tag, the length `bodySize`, and that many bytes.
    static func write(
        _ record: RecordLayout, bodySize: Int, _ source: UnsafeRawBufferPointer, to start: UnsafeMutableRawPointer
    ) throws(RecordError) {
        var output = unsafe Output(at: start)
        unsafe output.tag(0x22, varint: UInt64(bodySize))
        unsafe output.tag(0x08, varint: UInt64(bitPattern: record.offset))
        unsafe output.tag(0x10, varint: UInt64(bitPattern: record.timestamp))
        if let key = record.keyRange { unsafe output.field(0x1a, UnsafeRawBufferPointer(rebasing: source[key])) }
        if let value = record.valueRange { unsafe output.field(0x22, UnsafeRawBufferPointer(rebasing: source[value])) }
        guard record.headerCount > 0 else { return }
        var cursor = HeaderCursor(record)
        while let header = try unsafe cursor.next(in: source) {
            let repaired = unsafe repairedKey(header, source)
            unsafe output.tag(0x2a, varint: UInt64(headerSize(header, repaired)))
            if let repaired {
                unsafe repaired.withUnsafeBytes { unsafe output.field(0x0a, $0) }
            } else {
                unsafe output.field(0x0a, UnsafeRawBufferPointer(rebasing: source[header.keyRange]))
            }
            if let value = header.valueRange {
                unsafe output.field(0x12, UnsafeRawBufferPointer(rebasing: source[value]))
            }
        }
    }

    private static func headerSize(_ header: HeaderLayout, _ repaired: [UInt8]?) -> Int {
        Protobuf.fieldSize(repaired?.count ?? header.keyLength)
            + (header.valueLength >= 0 ? Protobuf.fieldSize(header.valueLength) : 0)
    }

    /// The key as UTF-8 if it is not ASCII; nil if it can be copied as it is.
    private static func repairedKey(_ header: HeaderLayout, _ source: UnsafeRawBufferPointer) -> [UInt8]? {
        let key = unsafe source[header.keyRange]
        if unsafe key.allSatisfy({ $0 < 0x80 }) { return nil }
        return unsafe Array(String(decoding: key, as: UTF8.self).utf8)
    }

    /// A position in memory that was sized beforehand.
    @unsafe private struct Output {
        private var position: UnsafeMutableRawPointer

        init(at start: UnsafeMutableRawPointer) {
            unsafe position = unsafe start
        }

        // SAFETY (all three): the bytes written add up to what `size`, `headersSize` and `headerSize` counted.

        @inline(__always) mutating func tag(_ tag: UInt8, varint value: UInt64) {
            unsafe position.storeBytes(of: tag, as: UInt8.self)
            unsafe position += 1
            var rest = value
            while rest >= 0x80 {
                unsafe position.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
                unsafe position += 1
                rest &>>= 7
            }
            unsafe position.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
            unsafe position += 1
        }

        @inline(__always) mutating func field(_ tag: UInt8, _ bytes: UnsafeRawBufferPointer) {
            unsafe self.tag(tag, varint: UInt64(bytes.count))
            guard bytes.count > 0, let source = bytes.baseAddress else { return }
            unsafe memcpy(position, source, bytes.count)
            unsafe position += bytes.count
        }
    }
}
