// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: walks the records of one batch without copying or allocating.
//
// A cursor is a position, not a view: the caller keeps the record section (the bytes after the
// 61-byte head, decompressed) and hands it to every call, so a walk can stop in the middle of a
// batch, be stored, and go on when there is room again. The bytes must be the same on every call;
// if they are not, positions may be meaningless but never outside the bytes given. Nothing is
// trusted: each length is checked before it is used.

import NIOCore

/// The position of a walk over one batch's records.
package struct RecordCursor: Equatable, Sendable {
    private let baseOffset: Int64
    private let baseTimestamp: Int64
    /// The time all records carry under LogAppendTime; nil under CreateTime.
    private let appendTimestamp: Int64?
    private let count: Int
    private var taken = 0
    /// The position of the next record's first byte.
    package private(set) var position = 0

    /// A cursor before the first record of the batch with this head.
    package init(_ header: BatchHeader) {
        baseOffset = header.baseOffset
        baseTimestamp = header.baseTimestamp
        appendTimestamp = header.isLogAppendTime ? header.maxTimestamp : nil
        count = Int(header.recordCount)
    }

    /// How many records have not been read yet.
    package var remaining: Int { max(0, count - taken) }

    /// The next record, or nil after the last one. `bytes` is the whole record section.
    package mutating func next(
        in bytes: UnsafeRawBufferPointer
    ) throws(RecordError) -> RecordLayout? {
        guard taken < count else {
            guard position == bytes.count, count >= 0 else { throw trailingBytes(bytes.count) }
            return nil
        }
        guard let base = bytes.baseAddress, position < bytes.count else { throw damaged() }
        // SAFETY: `position < bytes.count`; the reader is used within this call only.
        var reader = unsafe VarintReader(base: base, position: position, end: bytes.count)
        let length = unsafe reader.varint()
        let bodyStart = unsafe reader.position
        guard unsafe !reader.isDamaged, length >= 0, length <= Int64(bytes.count - bodyStart) else {
            throw damaged()
        }
        let end = bodyStart + Int(length)
        unsafe reader.end = end
        _ = unsafe reader.byte()  // The record's attributes: no bit is defined (KIP-98).
        let timestampDelta = unsafe reader.varint()
        let offsetDelta = unsafe reader.varint()
        let key = unsafe reader.bytes()
        let value = unsafe reader.bytes()
        let headerCount = unsafe reader.varint()
        let headersStart = unsafe reader.position
        // A header takes two bytes at least, which bounds the count before anyone believes it.
        guard unsafe !reader.isDamaged, offsetDelta >= 0, offsetDelta <= Int64(Int32.max),
            headerCount >= 0, headerCount <= Int64((end - headersStart) / 2),
            headerCount > 0 || headersStart == end
        else { throw damaged() }
        let layout = RecordLayout(
            offset: baseOffset &+ offsetDelta,
            timestamp: appendTimestamp ?? baseTimestamp &+ timestampDelta,
            start: position, end: end, keyStart: key.start, keyLength: key.length,
            valueStart: value.start,
            valueLength: value.length, headerCount: Int(headerCount), headersStart: headersStart)
        position = end
        taken += 1
        return layout
    }

    @inline(never) private func damaged() -> RecordError {
        RecordError(
            .invalidRecord,
            """
            record \(taken) of \(count) at byte \(position) of the batch's records is malformed or \
            cut short
            """
        )
    }

    @inline(never) private func trailingBytes(_ size: Int) -> RecordError {
        RecordError(
            .invalidRecord,
            "the batch declares \(count) records and leaves \(size - position) bytes after them")
    }
}

/// The position of a walk over one record's headers.
package struct HeaderCursor: Equatable, Sendable {
    private var position: Int
    private let end: Int
    private var remaining: Int

    /// A cursor before the first header of this record.
    package init(_ record: RecordLayout) {
        position = record.headersStart
        end = record.end
        remaining = record.headerCount
    }

    /// The next header, or nil after the last one. `bytes` is the whole record section.
    package mutating func next(
        in bytes: UnsafeRawBufferPointer
    ) throws(RecordError) -> HeaderLayout? {
        guard remaining > 0 else {
            guard position == end else { throw damaged("bytes are left after the last header") }
            return nil
        }
        guard let base = bytes.baseAddress, end <= bytes.count else { throw damaged("cut short") }
        // SAFETY: `end <= bytes.count`, and the reader touches bytes below `end`, within this call
        // only.
        var reader = unsafe VarintReader(base: base, position: position, end: end)
        let key = unsafe reader.bytes()
        let value = unsafe reader.bytes()
        guard unsafe !reader.isDamaged else { throw damaged("malformed or cut short") }
        guard key.length >= 0 else { throw damaged("a header has no key") }
        position = unsafe reader.position
        remaining -= 1
        return HeaderLayout(
            keyStart: key.start, keyLength: key.length, valueStart: value.start,
            valueLength: value.length)
    }

    @inline(never) private func damaged(_ what: String) -> RecordError {
        RecordError(
            .invalidRecord, "the headers of a record are damaged at byte \(position): \(what)")
    }
}
