// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: compares a segment's index files with its batches, in one pass over both.
//
// Both files are in the order of the log, so each keeps one place and moves on with the batches. Values of one check.

import NIOCore
import Records

/// A `.index` beside its log: every entry must name the position and the last offset of a batch.
struct OffsetIndexCheck {
    private var entries: [OffsetEntry] = []
    private var next = 0
    private let baseOffset: Int64
    /// The first thing that is wrong, and how many entries are.
    private(set) var problem: String?
    private(set) var wrong = 0
    var count: Int { entries.count }

    init(_ bytes: ByteBuffer, baseOffset: Int64) {
        self.baseOffset = baseOffset
        var bytes = bytes
        while let (relative, position) = bytes.readMultipleIntegers(as: (UInt32, UInt32).self) {
            // Kafka makes the file large and fills it: zeros are its end.
            if relative == 0 && position == 0 && !entries.isEmpty { break }
            if let last = entries.last, relative <= last.relativeOffset || position <= last.position {
                note("entry \(entries.count) (offset \(baseOffset + Int64(relative)), position \(position)) does not"
                    + " come after the one before it")
            }
            entries.append(OffsetEntry(relativeOffset: relative, position: position))
        }
        if (1..<OffsetEntry.size).contains(bytes.readableBytes) { note("the file ends in the middle of an entry") }
    }

    mutating func see(_ header: BatchHeader, at position: Int64) {
        while next < entries.count, Int64(entries[next].position) <= position {
            let entry = entries[next]
            if Int64(entry.position) < position {
                note("entry \(next) points at position \(entry.position), where no batch starts")
            } else if baseOffset + Int64(entry.relativeOffset) != header.lastOffset {
                note("entry \(next) says that the batch at position \(position) ends at offset"
                    + " \(baseOffset + Int64(entry.relativeOffset)), but it ends at \(header.lastOffset)")
            }
            next += 1
        }
    }

    /// All batches were seen. `mayBeAhead`: entries of batches that came since the log was read are no error.
    mutating func finish(mayBeAhead: Bool) {
        guard next < entries.count, !mayBeAhead else { return }
        note("entry \(next) points at position \(entries[next].position), behind the last batch")
        wrong += entries.count - next - 1
    }

    private mutating func note(_ text: String) {
        wrong += 1
        problem = problem ?? text
    }
}

/// A `.timeindex` beside its log: every entry must name the highest timestamp of the batch that holds its offset.
struct TimeIndexCheck {
    private var entries: [TimeEntry] = []
    private var next = 0
    private let baseOffset: Int64
    private(set) var problem: String?
    private(set) var wrong = 0
    /// The last entry's timestamp; -1 without entries.
    var lastTimestamp: Int64 { entries.last?.timestamp ?? -1 }

    init(_ bytes: ByteBuffer, baseOffset: Int64) {
        self.baseOffset = baseOffset
        var bytes = bytes
        while let (timestamp, relative) = bytes.readMultipleIntegers(as: (Int64, UInt32).self) {
            if timestamp == 0 && relative == 0 && !entries.isEmpty { break }
            if let last = entries.last, timestamp < last.timestamp || relative < last.relativeOffset {
                note("entry \(entries.count) (timestamp \(timestamp), offset \(baseOffset + Int64(relative))) does not"
                    + " come after the one before it")
            }
            entries.append(TimeEntry(timestamp: timestamp, relativeOffset: relative))
        }
        if (1..<TimeEntry.size).contains(bytes.readableBytes) { note("the file ends in the middle of an entry") }
    }

    mutating func see(_ header: BatchHeader) {
        while next < entries.count, baseOffset + Int64(entries[next].relativeOffset) <= header.lastOffset {
            let entry = entries[next]
            let offset = baseOffset + Int64(entry.relativeOffset)
            if offset < header.baseOffset {
                note("entry \(next) names offset \(offset), which no batch holds")
            } else if entry.timestamp != header.maxTimestamp {
                note("entry \(next) says that the batch with offset \(offset) has timestamp \(entry.timestamp),"
                    + " but its highest is \(header.maxTimestamp)")
            }
            next += 1
        }
    }

    mutating func finish(mayBeAhead: Bool) {
        guard next < entries.count, !mayBeAhead else { return }
        note("entry \(next) names offset \(baseOffset + Int64(entries[next].relativeOffset)), behind the last batch")
        wrong += entries.count - next - 1
    }

    private mutating func note(_ text: String) {
        wrong += 1
        problem = problem ?? text
    }
}
