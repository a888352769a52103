// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: fields out of bytes.
//
// Lives for one message, inside `ByteBuffer.withUnsafeReadableBytes`, and works on that closure's
// pointer, because a 64-partition Fetch request is some 500 fields. What must hold:
//  - no byte is read before its size was compared with `end - position`;
//  - no memory is reserved for a count before the rest of the message could hold it, and never more
//    than four times the bytes that are left, whatever the count says;
//  - nothing that came from a peer can trap: lengths are Int (64 bits) and sums cannot overflow;
//  - the first failure counts: after it nothing is left to read, and every loop ends.
// Ill-formed UTF-8 is repaired (U+FFFD), as Kafka does. Does not look into records.

import Bytes
import NIOCore

@safe
struct FieldDecoder: FieldCoder {
    let version: Int16
    private let isFlexible: Bool
    /// The buffer `base` points into; slices of it are handed out for records.
    private let source: ByteBuffer
    private let base: UnsafeRawPointer
    private var end: Int
    private var position = 0
    private var failure: WireError?

    // SAFETY: `base` and `end` are the readable bytes of `source` and outlive this value (see
    // `decode`); every access below is preceded by a check against `end`.
    private init(
        _ base: UnsafeRawPointer, end: Int, of source: ByteBuffer, version: Int16,
        isFlexible: Bool
    ) {
        unsafe self.base = unsafe base
        self.end = end
        self.source = source
        self.version = version
        self.isFlexible = isFlexible
    }

    /// Reads one structure from the front of `buffer` and moves its reader index past it; on an
    /// error the buffer stays as it was.
    static func decode<Structure: FieldStructure>(
        _ type: Structure.Type, from buffer: inout ByteBuffer, version: Int16, isFlexible: Bool
    ) throws(WireError) -> Structure {
        var structure = Structure()
        let source = buffer
        let (length, failure) = unsafe source.withUnsafeReadableBytes { bytes in
            // An empty buffer may have no address; nothing is read then. 1 is not null.
            let base = unsafe bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1)!
            // SAFETY: the decoder does not leave the closure.
            var decoder = unsafe FieldDecoder(
                base, end: bytes.count, of: source, version: version, isFlexible: isFlexible)
            structure.walk(&decoder)
            return (decoder.position, decoder.failure)
        }
        if let failure { throw failure.about(type) }
        buffer.moveReaderIndex(forwardBy: length)
        return structure
    }

    // MARK: Fixed-size fields

    @inline(__always)
    mutating func bool(_ value: inout Bool) { value = integer(Int8.self) != 0 }
    @inline(__always)
    mutating func int8(_ value: inout Int8) { value = integer(Int8.self) }
    @inline(__always)
    mutating func int16(_ value: inout Int16) { value = integer(Int16.self) }
    @inline(__always)
    mutating func int32(_ value: inout Int32) { value = integer(Int32.self) }
    @inline(__always)
    mutating func int64(_ value: inout Int64) { value = integer(Int64.self) }
    @inline(__always)
    mutating func uint16(_ value: inout UInt16) { value = integer(UInt16.self) }
    @inline(__always)
    mutating func float64(_ value: inout Double) {
        value = Double(bitPattern: integer(UInt64.self))
    }

    mutating func uuid(_ value: inout TopicId) {
        value.high = integer(UInt64.self)
        value.low = integer(UInt64.self)
    }

    // MARK: Strings, bytes, records

    mutating func string(_ value: inout String) {
        guard let length = stringLength() else { return fail(.nullNotAllowed) }
        value = text(length)
    }

    mutating func string(_ value: inout String?, nullable: Bool) {
        if let length = stringLength() {
            value = text(length)
        } else {
            null(&value, nullable)
        }
    }

    mutating func shortString(_ value: inout String?) {
        if let length = plainLength(Int(integer(Int16.self))) {
            value = text(length)
        } else {
            value = nil
        }
    }

    mutating func bytes(_ value: inout ByteBuffer) {
        guard let length = longLength() else { return fail(.nullNotAllowed) }
        value = copy(length)
    }

    mutating func bytes(_ value: inout ByteBuffer?) {
        if let length = longLength() {
            value = copy(length)
        } else {
            value = nil
        }
    }

    mutating func records(_ value: inout ByteBuffer?) {
        guard let length = longLength() else { return value = nil }
        guard has(length) else { return }
        value = source.getSlice(at: source.readerIndex + position, length: length)
        position += length
    }

    mutating func records(_ value: inout FetchResponse.Records) {
        var slice: ByteBuffer?
        records(&slice)
        value = slice.map { .bytes($0) } ?? .none
    }

    // MARK: Arrays

    mutating func int8Array(_ value: inout [Int8]) {
        guard let count = arrayCount() else { return fail(.nullNotAllowed) }
        value = integers(count)
    }

    mutating func int32Array(_ value: inout [Int32]) {
        guard let count = arrayCount() else { return fail(.nullNotAllowed) }
        value = integers(count)
    }

    mutating func int32Array(_ value: inout [Int32]?, nullable: Bool) {
        if let count = arrayCount() {
            value = integers(count)
        } else {
            null(&value, nullable)
        }
    }

    mutating func int64Array(_ value: inout [Int64]) {
        guard let count = arrayCount() else { return fail(.nullNotAllowed) }
        value = integers(count)
    }

    mutating func stringArray(_ value: inout [String]) {
        guard let count = arrayCount() else { return fail(.nullNotAllowed) }
        value = strings(count)
    }

    mutating func stringArray(_ value: inout [String]?, nullable: Bool) {
        if let count = arrayCount() {
            value = strings(count)
        } else {
            null(&value, nullable)
        }
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]) {
        guard let count = arrayCount() else { return fail(.nullNotAllowed) }
        value = elements(count)
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]?, nullable: Bool) {
        if let count = arrayCount() {
            value = elements(count)
        } else {
            null(&value, nullable)
        }
    }

    mutating func structure<Structure: FieldStructure>(_ value: inout Structure?) {
        // Kafka takes any negative byte for null; it writes -1 and 1.
        guard integer(Int8.self) >= 0, failure == nil else { return value = nil }
        var structure = Structure()
        structure.walk(&self)
        value = structure
    }

    private mutating func null<Value>(_ value: inout Value?, _ nullable: Bool) {
        value = nil
        if !nullable { fail(.nullNotAllowed) }
    }

    // MARK: Tagged fields (KIP-482)

    struct TagCursor {
        /// Tags not read yet; nil before the count was read.
        var left: Int?
        /// The tag just read, its size, and where it ends.
        var number = -1
        var size = 0
        var end = 0
        var isWalked = false
    }

    @inline(__always)
    mutating func beginTags() -> TagCursor { TagCursor() }

    @inline(__always)
    mutating func next(_ tags: inout TagCursor) -> Bool { isFlexible && nextTag(&tags) }

    private mutating func nextTag(_ tags: inout TagCursor) -> Bool {
        var left: Int
        if let known = tags.left {
            guard !tags.isWalked || position == tags.end else {
                fail(.tagSizeMismatch(tag: tags.number, size: tags.size))
                return false
            }
            position = tags.end
            left = known
        } else {
            left = unsignedVarint()
        }
        guard left > 0 else { return false }
        left -= 1
        tags.left = left
        tags.number = unsignedVarint()
        tags.size = unsignedVarint()
        guard has(tags.size) else { return false }
        tags.end = position + tags.size
        tags.isWalked = false
        return failure == nil
    }

    @inline(__always)
    mutating func tag(_ number: Int, _ tags: inout TagCursor, present: Bool) -> Bool {
        guard tags.number == number, !tags.isWalked else { return false }
        tags.isWalked = true
        return true
    }

    @inline(__always)
    mutating func noTags() {
        guard isFlexible else { return }
        let count = unsignedVarint()
        if count > 0 { skipTags(count) }
    }

    private mutating func skipTags(_ count: Int) {
        var left = count
        while left > 0, failure == nil {
            _ = unsignedVarint()
            let size = unsignedVarint()
            if has(size) { position += size }
            left -= 1
        }
    }

    // MARK: Lengths

    /// The string's length in bytes, nil for null.
    @inline(__always)
    private mutating func stringLength() -> Int? {
        isFlexible ? compactLength() : plainLength(Int(integer(Int16.self)))
    }

    /// The length of bytes or records, nil for null.
    @inline(__always)
    private mutating func longLength() -> Int? {
        isFlexible ? compactLength() : plainLength(Int(integer(Int32.self)))
    }

    /// The number of elements, nil for null. Every element takes at least one byte.
    private mutating func arrayCount() -> Int? {
        guard let count = longLength() else { return nil }
        guard count <= remaining else {
            fail(.countTooLarge(count: count, remaining: remaining))
            return 0
        }
        return count
    }

    @inline(__always)
    private mutating func plainLength(_ length: Int) -> Int? {
        if length >= 0 { return length }
        if length < -1 { fail(.negativeLength(length)) }
        return nil
    }

    /// Compact form: length + 1, and 0 for null.
    @inline(__always)
    private mutating func compactLength() -> Int? {
        let value = unsignedVarint()
        return value == 0 ? nil : value - 1
    }

    @inline(__always)
    private mutating func unsignedVarint() -> Int {
        let first = integer(UInt8.self)
        return first < 0x80 ? Int(first) : longVarint(first)
    }

    private mutating func longVarint(_ first: UInt8) -> Int {
        var value = Int(first & 0x7f)
        for shift in stride(from: 7, through: 28, by: 7) {
            let byte = integer(UInt8.self)
            value |= Int(byte & 0x7f) << shift
            if byte < 0x80 {
                if value <= Int(UInt32.max) { return value }
                break
            }
        }
        fail(.malformedVarint)
        return 0
    }

    // MARK: Bytes

    @inline(__always)
    private var remaining: Int { end &- position }

    /// Whether `count` bytes are left; else the decode has failed.
    @inline(__always)
    private mutating func has(_ count: Int) -> Bool {
        if count <= remaining { return true }
        fail(.truncated(needed: count, remaining: remaining))
        return false
    }

    @inline(__always)
    private mutating func integer<Integer: FixedWidthInteger & BitwiseCopyable>(
        _ type: Integer.Type
    ) -> Integer {
        guard has(MemoryLayout<Integer>.size) else { return 0 }
        // SAFETY: `has` has checked the range; the load may be unaligned.
        let value = unsafe base.loadUnaligned(fromByteOffset: position, as: type)
        position &+= MemoryLayout<Integer>.size
        return Integer(bigEndian: value)
    }

    private mutating func text(_ length: Int) -> String {
        guard has(length) else { return "" }
        // SAFETY: `has` has checked the range.
        let text = unsafe UnsafeRawBufferPointer(start: base + position, count: length)
        position += length
        return unsafe String(decoding: text, as: UTF8.self)
    }

    private mutating func copy(_ length: Int) -> ByteBuffer {
        // An empty ByteBuffer made from bytes would still be an allocation.
        guard has(length), length > 0 else { return ByteBuffer() }
        // SAFETY: `has` has checked the range.
        let bytes = unsafe ByteBuffer(
            bytes: UnsafeRawBufferPointer(start: base + position, count: length))
        position += length
        return bytes
    }

    private mutating func integers<Integer: FixedWidthInteger & BitwiseCopyable>(
        _ count: Int
    ) -> [Integer] {
        guard has(count * MemoryLayout<Integer>.size) else { return [] }
        var integers: [Integer] = []
        integers.reserveCapacity(count)
        for _ in 0..<count { integers.append(integer(Integer.self)) }
        return integers
    }

    private mutating func strings(_ count: Int) -> [String] {
        var strings: [String] = []
        strings.reserveCapacity(
            Self.reservation(count, stride: MemoryLayout<String>.stride, remaining: remaining))
        for _ in 0..<count where failure == nil {
            var element = ""
            string(&element)
            strings.append(element)
        }
        return strings
    }

    private mutating func elements<Element: FieldStructure>(_ count: Int) -> [Element] {
        var elements: [Element] = []
        elements.reserveCapacity(
            Self.reservation(count, stride: MemoryLayout<Element>.stride, remaining: remaining))
        var index = 0
        while index < count, failure == nil {
            // In place: an element filled first and appended then is read back in wider loads than
            // the stores that wrote it, which stalls and doubles the time of the whole decode.
            elements.append(Element())
            elements[index].walk(&self)
            index += 1
        }
        return elements
    }

    /// How many elements to reserve for: as many as fit in four times the bytes that are left.
    static func reservation(_ count: Int, stride: Int, remaining: Int) -> Int {
        min(count, 4 * max(0, remaining) / stride + 1)
    }

    /// Ends the decode: the first failure is kept, and nothing is left to read.
    @inline(never)
    private mutating func fail(_ kind: WireError.Kind) {
        if failure == nil { failure = WireError(kind, offset: position) }
        end = position
    }
}
