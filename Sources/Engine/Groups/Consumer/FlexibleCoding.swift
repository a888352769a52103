// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the compact lengths and tagged fields of Kafka's flexible records (KIP-482), as far as groups' records
// need them. Reading trusts nothing: nil is malformed.

import Bytes
import NIOCore

extension ByteBuffer {
    // MARK: Write

    mutating func writeUnsignedVarint(_ value: Int) {
        var rest = UInt32(clamping: value)
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    mutating func writeCompactString(_ text: String?) {
        guard let text else { return writeUnsignedVarint(0) }
        writeUnsignedVarint(text.utf8.count + 1)
        writeString(text)
    }

    mutating func writeCompactBytes(_ bytes: ByteBuffer) {
        writeUnsignedVarint(bytes.readableBytes + 1)
        writeImmutableBuffer(bytes)
    }

    mutating func writeCompactArray<Element>(_ elements: [Element], _ write: (inout ByteBuffer, Element) -> Void) {
        writeUnsignedVarint(elements.count + 1)
        for each in elements { write(&self, each) }
    }

    mutating func writeNoTags() { writeUnsignedVarint(0) }

    mutating func writeTopicId(_ id: TopicId) {
        writeInteger(id.high)
        writeInteger(id.low)
    }

    /// [topic id, [partition], tags]
    mutating func writeAssignment(_ assignment: TopicAssignment) {
        writeCompactArray(assignment.list) { bytes, topic in
            bytes.writeTopicId(topic.topicId)
            bytes.writeCompactArray(topic.partitions) { $0.writeInteger($1) }
            bytes.writeNoTags()
        }
    }

    // MARK: Read

    mutating func readUnsignedVarint() -> Int? {
        var value: UInt32 = 0
        for shift in stride(from: UInt32(0), through: 28, by: 7) {
            guard let byte = readInteger(as: UInt8.self) else { return nil }
            value |= UInt32(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return Int(value) }
        }
        return nil
    }

    /// nil: malformed; the string inside is nil if it is null.
    mutating func readCompactString() -> String?? {
        guard let length = readUnsignedVarint() else { return nil }
        if length == 0 { return .some(nil) }
        guard length - 1 <= readableBytes, let text = readString(length: length - 1) else { return nil }
        return .some(text)
    }

    /// Null is malformed too.
    mutating func readPresentCompactString() -> String? { readCompactString().flatMap { $0 } }

    mutating func readCompactBytes() -> ByteBuffer? {
        guard let length = readUnsignedVarint(), length >= 1, length - 1 <= readableBytes else { return nil }
        return readSlice(length: length - 1)
    }

    mutating func readCompactArray<Element>(_ read: (inout ByteBuffer) -> Element?) -> [Element]? {
        // Every element takes a byte at least.
        guard let count = readUnsignedVarint(), count >= 1, count - 1 <= readableBytes else { return nil }
        var elements: [Element] = []
        for _ in 1..<count {
            guard let element = read(&self) else { return nil }
            elements.append(element)
        }
        return elements
    }

    /// Skips tagged fields, but for the one that `tag` wants to see.
    mutating func readTags(_ see: (Int, ByteBuffer) -> Void = { _, _ in }) -> Bool {
        guard let count = readUnsignedVarint(), count <= readableBytes else { return false }
        for _ in 0..<count {
            guard let tag = readUnsignedVarint(), let size = readUnsignedVarint(), size <= readableBytes,
                let bytes = readSlice(length: size)
            else { return false }
            see(tag, bytes)
        }
        return true
    }

    mutating func readTopicId() -> TopicId? {
        guard let high = readInteger(as: UInt64.self), let low = readInteger(as: UInt64.self) else { return nil }
        return TopicId(high: high, low: low)
    }

    mutating func readAssignment() -> TopicAssignment? {
        let list = readCompactArray { bytes -> TopicIdPartitions? in
            guard let id = bytes.readTopicId(),
                let partitions = bytes.readCompactArray({ $0.readInteger(as: Int32.self) }), bytes.readTags()
            else { return nil }
            return TopicIdPartitions(topicId: id, partitions: partitions)
        }
        return list.map { TopicAssignment($0) }
    }
}
