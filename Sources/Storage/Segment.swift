// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: one segment of a log: a `.log` file and its two indexes.
//
// Owned by one `Log`, under the same lock. It has two extents: `extent` counts every batch that was appended,
// `written` those that have reached the file; between them lies what waits in the log's buffer. `written` never passes
// `extent`, and the file holds nothing after `written` except what a failed write left behind.
// Index entries follow Kafka's LogSegment.append, so that Kafka's own tools accept the files.

import NIOCore
import Records

/// What a segment holds up to some position.
struct SegmentExtent: Equatable, Sendable {
    /// Bytes of the `.log` file.
    var size: Int64 = 0
    /// The offset after the last record.
    var nextOffset: Int64
    /// Highest timestamp of its batches, -1 if there is none.
    var maxTimestamp: Int64 = -1
    /// Last offset of the batch that has it.
    var offsetOfMaxTimestamp: Int64
    /// Highest timestamp of the first batch (what `segment.ms` counts from), nil in an empty segment.
    var firstTimestamp: Int64?
    /// Start of the batch that the last index entry points at.
    var lastIndexedPosition: Int64 = 0
    /// Timestamp of the last time index entry, -1 if there is none.
    var lastIndexedTimestamp: Int64 = -1

    init(baseOffset: Int64) {
        nextOffset = baseOffset
        offsetOfMaxTimestamp = baseOffset
    }
}

/// One segment. See the file's head for its owner and invariants.
final class Segment {
    let baseOffset: Int64
    /// All appended batches, also those that wait to be written.
    var extent: SegmentExtent
    /// The batches that are in the file.
    var written: SegmentExtent
    var index: SegmentIndex
    /// Open while it is used; nil before the first use and after it was put aside.
    var file: (any File)?
    /// Whether something was written since the last sync began.
    var isDirty = false
    /// Stretches that cannot be read, by position; empty in a sound segment.
    var damage: [QuarantinedRange] = []
    /// Whether it is never written to again.
    var isSealed = false
    /// Whether a sealed segment was read since retention last looked.
    var wasUsed = false
    /// Set by a walk that found no batch where one must be.
    var isSuspect = false
    /// False until the file was seen to be as long as it should be.
    var isChecked = true
    /// Whether its file still has the name that compaction gives to what it is about to put in place.
    var isSwapping = false
    /// When retention first saw it as it is, for records without a timestamp.
    var seenMs: Int64?

    /// A new segment without a file; the first write makes it.
    init(baseOffset: Int64) {
        self.baseOffset = baseOffset
        extent = SegmentExtent(baseOffset: baseOffset)
        written = extent
        index = SegmentIndex(isLoaded: true)
    }

    /// A segment that is on disk and holds what `extent` says, according to the last checkpoint.
    init(baseOffset: Int64, trusting extent: SegmentExtent) {
        self.baseOffset = baseOffset
        self.extent = extent
        self.extent.lastIndexedPosition = extent.size
        self.extent.lastIndexedTimestamp = extent.maxTimestamp
        written = self.extent
        index = SegmentIndex(isLoaded: false)
        isChecked = false
    }

    /// Whether it holds neither batches nor damage with batches after it.
    var isEmpty: Bool { extent.firstTimestamp == nil && damage.isEmpty }

    /// Where the readable bytes from `position` on end: at damage, or at the end of what is written.
    func readableEnd(from position: Int64) -> (position: Int64, nextOffset: Int64) {
        for range in damage where range.positions.lowerBound >= position {
            return (range.positions.lowerBound, range.offsets.lowerBound)
        }
        return (written.size, written.nextOffset)
    }

    /// Counts one batch (absolute offsets in `lastOffset`), and adds index entries when they are due.
    func note(size: Int, lastOffset: Int64, maxTimestamp: Int64, indexIntervalBytes: Int) {
        if maxTimestamp > extent.maxTimestamp {
            extent.maxTimestamp = maxTimestamp
            extent.offsetOfMaxTimestamp = lastOffset
        }
        if extent.firstTimestamp == nil { extent.firstTimestamp = maxTimestamp }
        if extent.size - extent.lastIndexedPosition > Int64(indexIntervalBytes) {
            index.offsets.append(OffsetEntry(relativeOffset: relative(lastOffset), position: UInt32(extent.size)))
            extent.lastIndexedPosition = extent.size
            addTimeEntry()
        }
        extent.size += Int64(size)
        extent.nextOffset = lastOffset + 1
    }

    /// Counts a batch that was found in the file at `position`.
    func note(_ header: BatchHeader, at position: Int64, indexIntervalBytes: Int) {
        extent.size = position
        note(
            size: header.sizeInBytes, lastOffset: header.lastOffset, maxTimestamp: header.maxTimestamp,
            indexIntervalBytes: indexIntervalBytes)
    }

    #if DEBUG
        /// The breakage `keepTornTail`.
        func keepTail(_ size: Int64) {
            extent.size = size
            written = extent
        }
    #else
        func keepTail(_ size: Int64) {}
    #endif

    /// Adds a time index entry if the highest timestamp has grown since the last one.
    func addTimeEntry() {
        guard extent.maxTimestamp > extent.lastIndexedTimestamp else { return }
        index.times.append(
            TimeEntry(timestamp: extent.maxTimestamp, relativeOffset: relative(extent.offsetOfMaxTimestamp)))
        extent.lastIndexedTimestamp = extent.maxTimestamp
    }

    /// Everything that was noted is in the file now.
    func noteWritten() {
        written = extent
        isDirty = true
    }

    /// Forgets what was noted but not written.
    func dropUnwritten() {
        extent = written
        index.removeEntries(fromPosition: written.size, aboveTimestamp: written.lastIndexedTimestamp)
    }

    /// Whether a batch must go to a new segment (the rules of Kafka's LogSegment.shouldRoll).
    func mustRoll(
        size: Int, lastOffset: Int64, maxTimestamp: Int64, configuration: LogConfiguration, rollMs: Int64
    ) -> Bool {
        guard let firstTimestamp = extent.firstTimestamp else { return false }
        if extent.size > min(configuration.segmentBytes, StorageLimits.segmentBytes) - Int64(size) { return true }
        if lastOffset - baseOffset > Int64(Int32.max) { return true }
        if index.offsets.count >= configuration.segmentIndexBytes / OffsetEntry.size { return true }
        if index.times.count >= configuration.segmentIndexBytes / TimeEntry.size - 1 { return true }
        return firstTimestamp >= 0 && maxTimestamp.subtractingReportingOverflow(firstTimestamp).partialValue
            > rollMs
    }

    private func relative(_ offset: Int64) -> UInt32 { UInt32(truncatingIfNeeded: offset - baseOffset) }
}

/// Names of a segment's files.
enum SegmentFileName {
    /// A base offset as Kafka writes it: 20 digits.
    static func stem(_ baseOffset: Int64) -> String {
        let digits = String(baseOffset)
        return String(repeating: "0", count: max(0, 20 - digits.utf8.count)) + digits
    }

    /// Kafka's suffixes of files that compaction writes: not yet whole, and whole.
    static let cleaned = ".cleaned"
    static let swap = ".swap"
    /// Of a log file that a swap has replaced.
    static let deleted = ".deleted"

    static func log(_ baseOffset: Int64) -> String { stem(baseOffset) + ".log" }
    static func offsetIndex(_ baseOffset: Int64) -> String { stem(baseOffset) + ".index" }
    static func timeIndex(_ baseOffset: Int64) -> String { stem(baseOffset) + ".timeindex" }
    static func transactionIndex(_ baseOffset: Int64) -> String { stem(baseOffset) + ".txnindex" }

    /// All files of a segment, the log itself first.
    static func all(_ baseOffset: Int64) -> [String] {
        [log(baseOffset), offsetIndex(baseOffset), timeIndex(baseOffset), transactionIndex(baseOffset)]
    }

    /// What compaction may have left beside them.
    static func swaps(_ baseOffset: Int64) -> [String] {
        [log(baseOffset) + swap, transactionIndex(baseOffset) + swap]
    }

    /// The base offset of a `.log` file; nil for any other name.
    static func baseOffset(ofLog name: String) -> Int64? {
        guard name.utf8.count == 24, name.hasSuffix(".log"), let offset = Int64(name.dropLast(4)), offset >= 0,
            offset < StorageLimits.offset
        else {
            return nil
        }
        return offset
    }
}
