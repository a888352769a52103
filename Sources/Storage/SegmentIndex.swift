// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the entries of a segment's `.index` and `.timeindex`, and their bytes on disk.
//
// The formats are Kafka's, big endian: an offset entry is the last offset of a batch relative to the segment's
// base (Int32) and the position of that batch (Int32); a time entry is the highest timestamp so far (Int64) and the
// relative offset of the last record of the batch that has it (Int32). Both grow strictly. These are plain values; the
// segment owns them, knows which part is on disk, and rebuilds them from the log when they are wrong.

import NIOCore

/// An entry of `.index`.
struct OffsetEntry: Equatable {
    static let size = 8
    /// Last offset of the batch, relative to the segment's base.
    var relativeOffset: UInt32
    /// Where that batch starts in the file.
    var position: UInt32
}

/// An entry of `.timeindex`.
struct TimeEntry: Equatable {
    static let size = 12
    var timestamp: Int64
    var relativeOffset: UInt32
}

/// Both indexes of one segment. `offsets` and `times` are complete if `isLoaded`; otherwise they hold only what
/// came after the part that is in the files.
struct SegmentIndex {
    var offsets: [OffsetEntry] = []
    var times: [TimeEntry] = []
    /// False if the files hold earlier entries that are not in memory.
    var isLoaded: Bool
    /// How many of the entries in memory are in the files too.
    var flushedOffsets = 0
    var flushedTimes = 0

    /// Index of the last element for which `predicate` holds; it must hold for a prefix.
    private static func last<Entry>(in entries: [Entry], where predicate: (Entry) -> Bool) -> Entry? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if predicate(entries[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : entries[low - 1]
    }

    /// The last entry whose batch ends at or before `relativeOffset`; nil: start at the segment's beginning.
    func entry(atOrBelow relativeOffset: Int64) -> OffsetEntry? {
        Self.last(in: offsets) { Int64($0.relativeOffset) <= relativeOffset }
    }

    /// The last entry at or before `position` whose batch ends before `relativeLimit`.
    func entry(atOrBeforePosition position: Int64, endingBelow relativeLimit: Int64) -> OffsetEntry? {
        Self.last(in: offsets) {
            Int64($0.position) <= position && Int64($0.relativeOffset) < relativeLimit
        }
    }

    /// The last time entry with a timestamp of at most `timestamp`.
    func timeEntry(atOrBelow timestamp: Int64) -> TimeEntry? {
        Self.last(in: times) { $0.timestamp <= timestamp }
    }

    /// Forgets entries for batches at or after `position`, and time entries above `timestamp`.
    mutating func removeEntries(fromPosition position: Int64, aboveTimestamp timestamp: Int64) {
        while let last = offsets.last, Int64(last.position) >= position { offsets.removeLast() }
        while let last = times.last, last.timestamp > timestamp { times.removeLast() }
        flushedOffsets = min(flushedOffsets, offsets.count)
        flushedTimes = min(flushedTimes, times.count)
    }

    /// Puts what the files hold before what came later; only the part of them that is in order and lies before
    /// `position` and at or below `relativeOffset` counts.
    mutating func load(offsetFile: ByteBuffer, timeFile: ByteBuffer, before position: Int64, relativeOffset: Int64) {
        var offsetFile = offsetFile
        var loadedOffsets: [OffsetEntry] = []
        loadedOffsets.reserveCapacity(offsetFile.readableBytes / OffsetEntry.size)
        while let (relative, start) = offsetFile.readMultipleIntegers(as: (UInt32, UInt32).self) {
            let isInOrder = loadedOffsets.last.map { relative > $0.relativeOffset && start > $0.position } ?? (start > 0)
            guard isInOrder, Int64(start) < position, Int64(relative) <= relativeOffset else { break }
            loadedOffsets.append(OffsetEntry(relativeOffset: relative, position: start))
        }
        var timeFile = timeFile
        var loadedTimes: [TimeEntry] = []
        while let (timestamp, relative) = timeFile.readMultipleIntegers(as: (Int64, UInt32).self) {
            let isInOrder = loadedTimes.last.map { timestamp > $0.timestamp && relative >= $0.relativeOffset } ?? true
            guard isInOrder, timestamp >= 0, Int64(relative) <= relativeOffset else { break }
            loadedTimes.append(TimeEntry(timestamp: timestamp, relativeOffset: relative))
        }
        flushedOffsets = loadedOffsets.count
        flushedTimes = loadedTimes.count
        offsets = loadedOffsets + offsets
        times = loadedTimes + times.drop { [last = loadedTimes.last] in $0.timestamp <= last?.timestamp ?? -1 }
        isLoaded = true
    }

    /// Whether there are entries that are not in the files.
    var needsFlush: Bool { flushedOffsets < offsets.count || flushedTimes < times.count }

    /// Offset entries from number `first` on for batches before `position`, as they stand in the file.
    func encodedOffsets(from first: Int, before position: Int64) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity((offsets.count - first) * OffsetEntry.size)
        for entry in offsets[first...] where Int64(entry.position) < position {
            buffer.writeMultipleIntegers(entry.relativeOffset, entry.position)
        }
        return buffer
    }

    /// Time entries from number `first` on for offsets below `relativeOffset`, as they stand in the file.
    func encodedTimes(from first: Int, below relativeOffset: Int64) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity((times.count - first) * TimeEntry.size)
        for entry in times[first...] where Int64(entry.relativeOffset) < relativeOffset {
            buffer.writeMultipleIntegers(entry.timestamp, entry.relativeOffset)
        }
        return buffer
    }
}
