// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: a coder that gives every field a value that is not its default.
//
// It runs the same walk as the encoder and the decoder, so no message can be forgotten and no field
// left out. The values follow from the order of the visits alone; `golden/generate.py` gives the
// same values to the same fields of Kafka's own message definitions, which is what makes the golden
// vectors comparable.

import Bytes
import NIOCore

@testable import KafkaWire

struct FillingCoder: FieldCoder {
    enum Content {
        /// Two elements in outer arrays and one in inner ones, all tagged fields present.
        case full
        /// Null wherever it is allowed, one element, no tagged fields, booleans the other way.
        case sparse
    }

    let version: Int16
    let isFlexible: Bool
    let content: Content
    private var count = 0
    private var depth = 0

    init(version: Int16, isFlexible: Bool, content: Content) {
        self.version = version
        self.isFlexible = isFlexible
        self.content = content
    }

    private mutating func next() -> Int {
        count += 1
        return count
    }

    mutating func bool(_ value: inout Bool) { value = (next() % 2 == 1) == (content == .full) }
    mutating func int8(_ value: inout Int8) { value = Int8(next() % 100 + 1) }
    mutating func int16(_ value: inout Int16) { value = Int16(next() % 130 + 1) }
    mutating func int32(_ value: inout Int32) { value = Int32(1000 + next()) }
    mutating func int64(_ value: inout Int64) { value = Int64(1 << 33 + next()) }

    mutating func uint16(_ value: inout UInt16) { value = UInt16(40_000 + next()) }
    mutating func float64(_ value: inout Double) { value = Double(next()) + 0.5 }

    mutating func uuid(_ value: inout TopicId) {
        value = TopicId(high: 0x0102_0304_0506_0708, low: UInt64(next()))
    }

    mutating func string(_ value: inout String) {
        let number = next()
        value = "s\(number)" + String(repeating: "x", count: number % 16 == 0 ? 130 : 0)
    }

    mutating func string(_ value: inout String?, nullable: Bool) {
        guard !nullable || content == .full else { return value = nil }
        var text = ""
        string(&text)
        value = text
    }

    mutating func shortString(_ value: inout String?) { string(&value, nullable: true) }

    mutating func bytes(_ value: inout ByteBuffer) { value = ByteBuffer(string: "b\(next())") }

    mutating func bytes(_ value: inout ByteBuffer?) {
        value = content == .full ? ByteBuffer(string: "b\(next())") : nil
    }

    mutating func records(_ value: inout ByteBuffer?) {
        value = content == .full ? ByteBuffer(string: "r\(next())") : nil
    }

    mutating func records(_ value: inout FetchResponse.Records) {
        value = content == .full ? .bytes(ByteBuffer(string: "r\(next())")) : .none
    }

    mutating func int8Array(_ value: inout [Int8]) {
        value = []
        for _ in 0..<(content == .full ? 2 : 0) { value.append(Int8(next() % 100 + 1)) }
    }

    mutating func int32Array(_ value: inout [Int32]) {
        value = []
        for _ in 0..<(content == .full ? 2 : 0) { value.append(Int32(1000 + next())) }
    }

    mutating func int32Array(_ value: inout [Int32]?, nullable: Bool) {
        guard !nullable || content == .full else { return value = nil }
        var integers: [Int32] = []
        int32Array(&integers)
        value = integers
    }

    mutating func int64Array(_ value: inout [Int64]) {
        value = []
        for _ in 0..<(content == .full ? 2 : 0) { value.append(Int64(1 << 33 + next())) }
    }

    mutating func stringArray(_ value: inout [String]) {
        value = []
        for _ in 0..<(content == .full ? 2 : 0) {
            value.append("")
            string(&value[value.count - 1])
        }
    }

    mutating func stringArray(_ value: inout [String]?, nullable: Bool) {
        guard !nullable || content == .full else { return value = nil }
        var strings: [String] = []
        stringArray(&strings)
        value = strings
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]) {
        value = []
        depth += 1
        for _ in 0..<(content == .full && depth == 1 ? 2 : 1) {
            var element = Element()
            element.walk(&self)
            value.append(element)
        }
        depth -= 1
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]?, nullable: Bool) {
        guard !nullable || content == .full else { return value = nil }
        var elements: [Element] = []
        array(&elements)
        value = elements
    }

    mutating func structure<Structure: FieldStructure>(_ value: inout Structure?) {
        guard content == .full else { return value = nil }
        var structure = Structure()
        structure.walk(&self)
        value = structure
    }

    mutating func beginTags() -> Bool { isFlexible && content == .full }

    mutating func next(_ tags: inout Bool) -> Bool {
        defer { tags = false }
        return tags
    }

    mutating func tag(_ number: Int, _ tags: inout Bool, present: Bool) -> Bool { true }
    mutating func noTags() {}
}
