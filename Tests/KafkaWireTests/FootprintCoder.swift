// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: a coder that counts the heap memory that a message holds, array capacity
// and long strings included.

import Bytes
import NIOCore

@testable import KafkaWire

struct FootprintCoder: FieldCoder {
    let version: Int16
    private(set) var total = 0

    init(version: Int16) { self.version = version }

    mutating func bool(_ value: inout Bool) {}
    mutating func int8(_ value: inout Int8) {}
    mutating func int16(_ value: inout Int16) {}
    mutating func int32(_ value: inout Int32) {}
    mutating func int64(_ value: inout Int64) {}
    mutating func uint16(_ value: inout UInt16) {}
    mutating func float64(_ value: inout Double) {}
    mutating func uuid(_ value: inout TopicId) {}
    mutating func string(_ value: inout String) {
        if value.utf8.count > 15 { total += value.utf8.count }
    }
    mutating func string(_ value: inout String?, nullable: Bool) {
        if var text = value { string(&text) }
    }
    mutating func shortString(_ value: inout String?) { string(&value, nullable: true) }
    mutating func bytes(_ value: inout ByteBuffer) {
        if value.readableBytes > 0 { total += value.capacity }
    }
    mutating func bytes(_ value: inout ByteBuffer?) {
        if var value { bytes(&value) }
    }
    // Records are slices of the input.
    mutating func records(_ value: inout ByteBuffer?) {}
    mutating func records(_ value: inout FetchResponse.Records) {}

    mutating func int8Array(_ value: inout [Int8]) { total += value.capacity }
    mutating func int32Array(_ value: inout [Int32]) { total += value.capacity * 4 }
    mutating func int32Array(_ value: inout [Int32]?, nullable: Bool) {
        if let value { total += value.capacity * 4 }
    }
    mutating func int64Array(_ value: inout [Int64]) { total += value.capacity * 8 }
    mutating func stringArray(_ value: inout [String]) {
        total += value.capacity * MemoryLayout<String>.stride
        for var element in value { string(&element) }
    }
    mutating func stringArray(_ value: inout [String]?, nullable: Bool) {
        if var strings = value { stringArray(&strings) }
    }
    mutating func array<Element: FieldStructure>(_ value: inout [Element]) {
        total += value.capacity * MemoryLayout<Element>.stride
        for var element in value { element.walk(&self) }
    }
    mutating func array<Element: FieldStructure>(_ value: inout [Element]?, nullable: Bool) {
        if var elements = value { array(&elements) }
    }

    mutating func structure<Structure: FieldStructure>(_ value: inout Structure?) {
        if var structure = value { structure.walk(&self) }
    }

    mutating func beginTags() -> Bool { true }
    mutating func next(_ tags: inout Bool) -> Bool {
        defer { tags = false }
        return tags
    }
    mutating func tag(_ number: Int, _ tags: inout Bool, present: Bool) -> Bool { present }
    mutating func noTags() {}
}
