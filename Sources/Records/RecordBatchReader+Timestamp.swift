// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: finds records by time inside one batch (KIP-33, KIP-734).

import NIOCore

extension RecordBatchReader {
    /// A record's place in time.
    package struct TimedOffset: Equatable, Sendable {
        package var offset: Int64
        package var timestamp: Int64

        package init(offset: Int64, timestamp: Int64) {
            self.offset = offset
            self.timestamp = timestamp
        }
    }

    /// The first record at or after `startOffset` whose timestamp is `timestamp` or later.
    package func firstRecord(
        atOrAfter timestamp: Int64, startOffset: Int64 = .min
    ) throws(RecordError) -> TimedOffset? {
        var cursor = start
        // SAFETY: the pointer is used within the closure only.
        return try unsafe records.withUnsafeReadableBytes { (bytes) throws(RecordError) in
            while let record = try unsafe cursor.next(in: bytes) {
                if record.timestamp >= timestamp && record.offset >= startOffset {
                    return TimedOffset(offset: record.offset, timestamp: record.timestamp)
                }
            }
            return nil
        }
    }

    /// The record with the highest timestamp, the first of them if there are several; nil in an
    /// empty batch.
    package func recordWithMaxTimestamp() throws(RecordError) -> TimedOffset? {
        var cursor = start
        var latest: TimedOffset?
        // SAFETY: the pointer is used within the closure only.
        try unsafe records.withUnsafeReadableBytes { (bytes) throws(RecordError) in
            while let record = try unsafe cursor.next(in: bytes) {
                if let found = latest, found.timestamp >= record.timestamp { continue }
                latest = TimedOffset(offset: record.offset, timestamp: record.timestamp)
            }
        }
        return latest
    }
}
