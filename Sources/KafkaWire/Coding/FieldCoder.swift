// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what a message's `walk` may ask of a coder.
//
// Each message declares its fields once, in the order of the wire, in one generic function `walk`
// that is run by `FieldEncoder` (message to bytes) and by `FieldDecoder` (bytes to message). A walk
// asks the coder for its `version` and visits only the fields that version has: the others keep
// their defaults when decoding and are ignored when encoding. Whether strings, arrays and bytes are
// in their compact form, and whether there are tagged fields at all, is the coder's business
// (KIP-482, flexible versions); a walk never asks.
//
// No field throws. A coder that meets an error keeps it, reads or writes nothing of use from there
// on, and its entry point throws it when the walk is over: a check per field would cost as much as
// the field, and the walks read as what they are, lists of fields.
//
// Coders and messages live in one module so that the compiler makes two plain functions out of
// every walk; there is no dynamic dispatch and no allocation per field.

import Bytes
import NIOCore

/// Reads or writes one field after the other. Every method either fills its argument from the
/// bytes (decoder) or leaves it alone and writes it (encoder).
protocol FieldCoder {
    /// The API version of the message being walked.
    var version: Int16 { get }

    mutating func bool(_ value: inout Bool)
    mutating func int8(_ value: inout Int8)
    mutating func int16(_ value: inout Int16)
    mutating func int32(_ value: inout Int32)
    mutating func int64(_ value: inout Int64)
    mutating func uint16(_ value: inout UInt16)
    mutating func float64(_ value: inout Double)
    mutating func uuid(_ value: inout TopicId)
    mutating func string(_ value: inout String)
    /// A string that may be null if `nullable`; null elsewhere is an error in either direction.
    mutating func string(_ value: inout String?, nullable: Bool)
    /// A nullable string whose length takes two bytes in flexible versions too (request header).
    mutating func shortString(_ value: inout String?)
    /// Opaque bytes. The decoder copies them: they are small, and kept for long (group state),
    /// and a slice would keep the whole receive buffer alive.
    mutating func bytes(_ value: inout ByteBuffer)
    /// Opaque bytes; null is nil.
    mutating func bytes(_ value: inout ByteBuffer?)
    /// Record batches of a Produce request; null is nil. The decoder slices, it never copies.
    mutating func records(_ value: inout ByteBuffer?)
    /// Record batches of a Fetch response; the encoder may leave them to the sender.
    mutating func records(_ value: inout FetchResponse.Records)
    mutating func int8Array(_ value: inout [Int8])
    mutating func int32Array(_ value: inout [Int32])
    mutating func int32Array(_ value: inout [Int32]?, nullable: Bool)
    mutating func int64Array(_ value: inout [Int64])
    mutating func stringArray(_ value: inout [String])
    mutating func stringArray(_ value: inout [String]?, nullable: Bool)
    mutating func array<Element: FieldStructure>(_ value: inout [Element])
    mutating func array<Element: FieldStructure>(_ value: inout [Element]?, nullable: Bool)
    /// A structure that may be null: a byte in front says so. One that may not is walked in place.
    mutating func structure<Structure: FieldStructure>(_ value: inout Structure?)

    /// Where a coder stands among a structure's tagged fields.
    associatedtype TagCursor
    /// Starts the tagged fields of a structure that has some. Used as
    /// `while coder.next(&tags) { if coder.tag(0, &tags, present: …) { field } }`,
    /// tags ascending: the encoder goes round to count and to write, the decoder once per tag it
    /// finds. In a version without tagged fields the loop does not run.
    mutating func beginTags() -> TagCursor
    mutating func next(_ tags: inout TagCursor) -> Bool
    /// Whether to walk the field of tag `number` now. `present`: the value is not the default.
    mutating func tag(_ number: Int, _ tags: inout TagCursor, present: Bool) -> Bool
    /// Ends a structure without tagged fields of its own: writes none, skips any.
    mutating func noTags()
}

/// Something made of fields: a message, or a structure inside one.
protocol FieldStructure {
    init()
    /// Visits every field that `coder.version` has, in the order of the wire.
    mutating func walk(_ coder: inout some FieldCoder)
}

extension FieldCoder {
    @inline(__always)
    mutating func string(_ value: inout String?) {
        string(&value, nullable: true)
    }

    @inline(__always)
    mutating func array<Element: FieldStructure>(_ value: inout [Element]?) {
        array(&value, nullable: true)
    }

    @inline(__always)
    mutating func errorCode(_ value: inout KafkaErrorCode) {
        var code = value.rawValue
        int16(&code)
        value = KafkaErrorCode(wire: code)
    }
}
