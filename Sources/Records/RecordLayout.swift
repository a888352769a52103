// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: where one record and its parts lie, without copying them.
//
// Positions count from the first byte of the record section that the cursor walks. Plain values,
// made by `RecordCursor` and `HeaderCursor` only, which have checked that every range lies inside
// those bytes.

/// One record: its absolute offset and timestamp, and the positions of its parts.
package struct RecordLayout: Equatable, Sendable {
    package var offset: Int64
    /// Milliseconds since the epoch; -1 if the producer set none.
    package var timestamp: Int64
    /// First byte of the record, its length prefix included.
    package var start: Int
    /// One past the record's last byte.
    package var end: Int
    package var keyStart: Int
    /// -1: no key.
    package var keyLength: Int
    package var valueStart: Int
    /// -1: no value (a tombstone on a compacted topic).
    package var valueLength: Int
    package var headerCount: Int
    /// First byte of the first header; the headers end at `end`.
    package var headersStart: Int

    package init(
        offset: Int64, timestamp: Int64, start: Int, end: Int, keyStart: Int, keyLength: Int,
        valueStart: Int,
        valueLength: Int, headerCount: Int, headersStart: Int
    ) {
        self.offset = offset
        self.timestamp = timestamp
        self.start = start
        self.end = end
        self.keyStart = keyStart
        self.keyLength = keyLength
        self.valueStart = valueStart
        self.valueLength = valueLength
        self.headerCount = headerCount
        self.headersStart = headersStart
    }

    /// nil: no key.
    package var keyRange: Range<Int>? { keyLength < 0 ? nil : keyStart..<keyStart + keyLength }
    /// nil: no value.
    package var valueRange: Range<Int>? {
        valueLength < 0 ? nil : valueStart..<valueStart + valueLength
    }
    package var headersRange: Range<Int> { headersStart..<end }
}

/// One header of a record.
package struct HeaderLayout: Equatable, Sendable {
    package var keyStart: Int
    package var keyLength: Int
    package var valueStart: Int
    /// -1: null.
    package var valueLength: Int

    package var keyRange: Range<Int> { keyStart..<keyStart + keyLength }
    /// nil: null.
    package var valueRange: Range<Int>? {
        valueLength < 0 ? nil : valueStart..<valueStart + valueLength
    }
}
