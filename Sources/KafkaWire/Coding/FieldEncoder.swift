// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: fields into bytes.
//
// Lives for one message, inside `ByteBuffer.writeWithUnsafeMutableBytes`, and stores through that
// closure's pointer: a ByteBuffer write per field costs several times as much. What must hold:
//  - no byte is stored before `position + its size <= room.count` was checked;
//  - when the room runs out, nothing more is stored but the counting goes on, so that one more walk
//    with exactly enough room succeeds (an encoder's walk changes nothing, it can be repeated).
// Records of a Fetch response can be left out: the encoder notes where they belong and how long
// they are, and the frame is later cut there (`FrameSegment`), so that the server sends file
// regions between the pieces. Throws when a value does not fit the version.

import Bytes
import NIOCore

@safe
struct FieldEncoder: FieldCoder {
    let version: Int16
    private let isFlexible: Bool
    /// Whether records may be left out.
    private let allowsExternal: Bool
    private let room: UnsafeMutableRawBufferPointer
    /// The bytes of the message so far, stored or only counted.
    private var position = 0
    private var externals: [ExternalPayload] = []
    private var failure: WireError?

    // SAFETY: `room` is the closure's writable memory and outlives this value (see `encode`);
    // every access below is preceded by a check against `room.count`.
    private init(
        _ room: UnsafeMutableRawBufferPointer, version: Int16, isFlexible: Bool,
        allowsExternal: Bool
    ) {
        unsafe self.room = unsafe room
        self.version = version
        self.isFlexible = isFlexible
        self.allowsExternal = allowsExternal
    }

    /// Appends `structure` to `buffer`. On an error the buffer is as it was.
    static func encode(
        _ structure: some FieldStructure, into buffer: inout ByteBuffer, version: Int16,
        isFlexible: Bool
    ) throws(WireError) {
        _ = try encode(
            structure, into: &buffer, version: version, isFlexible: isFlexible,
            allowsExternal: false)
    }

    /// Appends `structure` to `buffer` and returns the payloads left out of it, in order.
    static func encode<Structure: FieldStructure>(
        _ structure: Structure, into buffer: inout ByteBuffer, version: Int16, isFlexible: Bool,
        allowsExternal: Bool
    ) throws(WireError) -> [ExternalPayload] {
        let start = buffer.writerIndex
        var room = 128
        while true {
            var externals: [ExternalPayload] = []
            var length = 0
            var failure: WireError?
            _ = unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { memory in
                // SAFETY: the encoder does not leave the closure.
                var encoder = unsafe FieldEncoder(
                    memory, version: version, isFlexible: isFlexible,
                    allowsExternal: allowsExternal)
                var walked = structure
                walked.walk(&encoder)
                externals = encoder.externals
                length = encoder.position
                failure = encoder.failure
                return failure == nil && length <= memory.count ? length : 0
            }
            if let failure { throw failure.about(Structure.self) }
            if buffer.writerIndex - start == length {
                for index in externals.indices { externals[index].position += start }
                return externals
            }
            room = length
        }
    }

    // MARK: Fixed-size fields

    @inline(__always)
    mutating func bool(_ value: inout Bool) { store(value ? 1 : 0 as UInt8) }
    @inline(__always)
    mutating func int8(_ value: inout Int8) { store(value) }
    @inline(__always)
    mutating func int16(_ value: inout Int16) { store(value) }
    @inline(__always)
    mutating func int32(_ value: inout Int32) { store(value) }
    @inline(__always)
    mutating func int64(_ value: inout Int64) { store(value) }
    @inline(__always)
    mutating func uint16(_ value: inout UInt16) { store(value) }
    @inline(__always)
    mutating func float64(_ value: inout Double) { store(value.bitPattern) }

    mutating func uuid(_ value: inout TopicId) {
        store(value.high)
        store(value.low)
    }

    // MARK: Strings, bytes, records

    mutating func string(_ value: inout String) {
        storeString(value)
    }

    mutating func string(_ value: inout String?, nullable: Bool) {
        if let value {
            storeString(value)
        } else {
            guard nullable else { return fail(.nullNotAllowed) }
            storeStringNull()
        }
    }

    mutating func shortString(_ value: inout String?) {
        guard let value else { return store(-1 as Int16) }
        storeShortLength(value.utf8.count)
        storeText(value)
    }

    mutating func bytes(_ value: inout ByteBuffer) {
        storeLength(value.readableBytes)
        storeBytes(value)
    }

    mutating func bytes(_ value: inout ByteBuffer?) {
        guard let value else { return storeNull() }
        storeLength(value.readableBytes)
        storeBytes(value)
    }

    mutating func records(_ value: inout ByteBuffer?) {
        bytes(&value)
    }

    mutating func records(_ value: inout FetchResponse.Records) {
        switch value {
        case .none:
            storeNull()
        case .bytes(let bytes):
            storeLength(bytes.readableBytes)
            storeBytes(bytes)
        case .external(let length):
            precondition(length >= 0, "external records have a length")
            guard allowsExternal else { return fail(.externalRecords) }
            storeLength(length)
            if length > 0 {
                externals.append(ExternalPayload(position: position, length: length))
            }
        }
    }

    // MARK: Arrays

    mutating func int8Array(_ value: inout [Int8]) {
        storeLength(value.count)
        for element in value { store(element) }
    }

    mutating func int32Array(_ value: inout [Int32]) {
        storeLength(value.count)
        for element in value { store(element) }
    }

    mutating func int32Array(_ value: inout [Int32]?, nullable: Bool) {
        if var value {
            int32Array(&value)
        } else {
            guard nullable else { return fail(.nullNotAllowed) }
            storeNull()
        }
    }

    mutating func int64Array(_ value: inout [Int64]) {
        storeLength(value.count)
        for element in value { store(element) }
    }

    mutating func stringArray(_ value: inout [String]) {
        storeLength(value.count)
        for element in value { storeString(element) }
    }

    mutating func stringArray(_ value: inout [String]?, nullable: Bool) {
        if var value {
            stringArray(&value)
        } else {
            guard nullable else { return fail(.nullNotAllowed) }
            storeNull()
        }
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]) {
        storeLength(value.count)
        // A copy of each element is walked: a walk in place would copy the array (it is shared).
        for var element in value { element.walk(&self) }
    }

    mutating func array<Element: FieldStructure>(_ value: inout [Element]?, nullable: Bool) {
        if var value {
            array(&value)
        } else {
            guard nullable else { return fail(.nullNotAllowed) }
            storeNull()
        }
    }

    mutating func structure<Structure: FieldStructure>(_ value: inout Structure?) {
        guard var value else { return store(-1 as Int8) }
        store(1 as Int8)
        value.walk(&self)
    }

    // MARK: Tagged fields (KIP-482)

    struct TagCursor {
        enum Round { case start, count, store }
        var round = Round.start
        var count = 0
        /// Where the content of the tag being stored starts; nil if none is open.
        var contentStart: Int?
    }

    mutating func beginTags() -> TagCursor { TagCursor() }

    mutating func next(_ tags: inout TagCursor) -> Bool {
        switch tags.round {
        case .start:
            tags.round = .count
            return isFlexible
        case .count:
            storeVarint(tags.count)
            tags.round = .store
            return tags.count > 0
        case .store:
            closeTag(&tags)
            return false
        }
    }

    @inline(__always)
    mutating func tag(_ number: Int, _ tags: inout TagCursor, present: Bool) -> Bool {
        present && openTag(number, &tags)
    }

    @inline(__always)
    mutating func noTags() {
        if isFlexible { store(0 as UInt8) }
    }

    /// Counts the tag in the first round; in the second stores its number and a byte for its size.
    private mutating func openTag(_ number: Int, _ tags: inout TagCursor) -> Bool {
        guard tags.round == .store else {
            tags.count += 1
            return false
        }
        closeTag(&tags)
        storeVarint(number)
        store(0 as UInt8)
        tags.contentStart = position
        return true
    }

    /// Fills in the size in front of the content just stored. Content of 128 bytes and more, which
    /// is rare, is moved to make room for a longer size.
    private mutating func closeTag(_ tags: inout TagCursor) {
        guard let start = tags.contentStart else { return }
        tags.contentStart = nil
        let size = position - start
        let end = position
        let growth = varintLength(size) - 1
        if growth > 0, unsafe end + growth <= room.count {
            // SAFETY: both ranges end within the room; they may overlap, as copyMemory allows.
            unsafe UnsafeMutableRawBufferPointer(rebasing: room[(start + growth)...])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: room[start..<end]))
        }
        position = start - 1
        storeVarint(size)
        position = end + growth
    }

    private func varintLength(_ value: Int) -> Int {
        (max(1, Int.bitWidth - value.leadingZeroBitCount) + 6) / 7
    }

    // MARK: Lengths

    private mutating func storeString(_ value: String) {
        let length = value.utf8.count
        if isFlexible { storeVarint(length + 1) } else { storeShortLength(length) }
        storeText(value)
    }

    private mutating func storeStringNull() {
        if isFlexible { storeVarint(0) } else { store(-1 as Int16) }
    }

    private mutating func storeShortLength(_ length: Int) {
        guard let short = Int16(exactly: length) else { return fail(.tooLong(length)) }
        store(short)
    }

    /// The length of bytes, records or an array.
    private mutating func storeLength(_ length: Int) {
        guard let checked = Int32(exactly: length) else { return fail(.tooLong(length)) }
        if isFlexible { storeVarint(length + 1) } else { store(checked) }
    }

    private mutating func storeNull() {
        if isFlexible { storeVarint(0) } else { store(-1 as Int32) }
    }

    @inline(__always)
    private mutating func storeVarint(_ value: Int) {
        if value < 0x80 { store(UInt8(truncatingIfNeeded: value)) } else { storeLongVarint(value) }
    }

    private mutating func storeLongVarint(_ value: Int) {
        var rest = UInt32(truncatingIfNeeded: value)
        while rest >= 0x80 {
            store(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        store(UInt8(truncatingIfNeeded: rest))
    }

    // MARK: Bytes

    @inline(__always)
    private mutating func store<Integer: FixedWidthInteger & BitwiseCopyable>(_ value: Integer) {
        let end = position + MemoryLayout<Integer>.size
        if unsafe end <= room.count {
            // SAFETY: the range has just been checked; the store may be unaligned.
            unsafe room.storeBytes(of: value.bigEndian, toByteOffset: position, as: Integer.self)
        }
        position = end
    }

    private mutating func storeText(_ value: String) {
        var value = value
        let end = position + value.utf8.count
        if unsafe end <= room.count {
            value.withUTF8 { text in
                // SAFETY: the range has just been checked; the string is as long as its UTF-8.
                unsafe UnsafeMutableRawBufferPointer(rebasing: room[position..<end])
                    .copyMemory(from: UnsafeRawBufferPointer(text))
            }
        }
        position = end
    }

    private mutating func storeBytes(_ value: ByteBuffer) {
        let end = position + value.readableBytes
        if unsafe end <= room.count {
            unsafe value.withUnsafeReadableBytes { bytes in
                // SAFETY: the range has just been checked.
                unsafe UnsafeMutableRawBufferPointer(rebasing: room[position..<end])
                    .copyMemory(from: bytes)
            }
        }
        position = end
    }

    /// The first failure is kept, and thrown when the walk is over.
    @inline(never)
    private mutating func fail(_ kind: WireError.Kind) {
        if failure == nil { failure = WireError(kind, offset: position) }
    }
}
