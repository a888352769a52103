// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: finding the stretch of a file that answers a fetch.
//
// The offset index, or a remembered place, gives a position at or before the batch that is asked for; a short walk over batch
// heads finds its start. The end is found the same way from the byte limit, so that a fetch of a MiB does
// not look at every batch in it. Same owner and lock as `Log`.

import Bytes
import Records

extension Log {
    /// The written batches from the one that contains `offset`, all from one segment: at least one, then as many whole
    /// ones as fit in `maxBytes`, none at or after `below`. nil if `offset` is the written end (or `below`).
    /// Throws `.offsetOutOfRange` outside [startOffset, writtenEndOffset], `.corrupt` inside a quarantined range.
    package func read(
        from offset: Int64, maxBytes: Int, below: Int64 = .max
    ) throws(StorageError) -> LogSlice? {
        try refuseClosed()
        guard offset >= startOffset && offset <= writtenEndOffset else {
            throw StorageError(
                .offsetOutOfRange, "offset \(offset) of \(name) is not in \(startOffset)...\(writtenEndOffset)")
        }
        let limit = min(below, writtenEndOffset)
        guard offset < limit else { return nil }
        return try examiningDamage { () throws(StorageError) in
            try slice(from: offset, maxBytes: maxBytes, below: limit)
        }
    }

    /// Base offset of the segment that holds `offset`, by which its files are named.
    package func segmentBase(of offset: Int64) -> Int64 {
        segment(containing: offset)?.baseOffset ?? startOffset
    }

    func refuseClosed() throws(StorageError) {
        if let failure, failure.code == .closed { throw failure }
    }

    private func slice(from offset: Int64, maxBytes: Int, below: Int64) throws(StorageError) -> LogSlice? {
        try refuseQuarantined(offset)
        guard let segment = segment(containing: offset) else { return nil }
        let known = quarantined.count
        let file = try openForReading(segment)
        if quarantined.count != known { try refuseQuarantined(offset) }
        var walk = BatchWalk(file: file, segment: segment)
        guard let (start, first) = try locate(offset, in: segment, with: &walk), first.nextOffset <= below else {
            return nil
        }
        let byteLimit = start + min(Int64(max(0, maxBytes)), StorageLimits.segmentBytes)
        let end = try sliceEnd(
            in: segment, after: start, first: first, within: byteLimit, below: below, with: &walk)
        return LogSlice(file: try file.pinned(), position: start, length: Int(end - start))
    }

    /// The segment that holds `offset`, or the next one if it fell into a gap between two.
    func segment(containing offset: Int64) -> Segment? {
        if let active, offset >= active.baseOffset { return active }
        var low = 0
        var high = sealed.count
        while low < high {
            let middle = (low + high) / 2
            if sealed[middle].written.nextOffset > offset { high = middle } else { low = middle + 1 }
        }
        // Compaction may have left nothing of a segment.
        while low < sealed.count, sealed[low].isEmpty { low += 1 }
        return low < sealed.count ? sealed[low] : active
    }

    /// Where the batch that contains `offset` starts (or the next one after it), and its head.
    func locate(
        _ offset: Int64, in segment: Segment, with walk: inout BatchWalk
    ) throws(StorageError) -> (position: Int64, header: BatchHeader)? {
        var position: Int64 = 0
        if let hint = hints.position(of: offset, inSegment: segment.baseOffset) {
            position = hint
        } else {
            position = try indexedPosition(atOrBelow: offset, in: segment, with: &walk)
        }
        while let header = try walk.next(at: &position) {
            if header.nextOffset > offset {
                try checkPlace(of: header, at: position, for: offset, in: segment, with: &walk)
                return (position, header)
            }
            position += Int64(header.sizeInBytes)
        }
        return nil
    }

    /// A walk believes base offsets and counts; the batch it ends at must agree with what is asked for and what follows,
    /// or one of them is damaged.
    private func checkPlace(
        of header: BatchHeader, at position: Int64, for offset: Int64, in segment: Segment, with walk: inout BatchWalk
    ) throws(StorageError) {
        if offset < compaction.holesBelow { return }
        let next = position + Int64(header.sizeInBytes)
        var isRight = header.baseOffset <= offset
        if next >= segment.written.size {
            isRight = isRight && header.nextOffset == segment.written.nextOffset
        } else if isRight, !segment.damage.contains(where: { $0.positions.contains(next) }) {
            isRight = try walk.head(at: next)?.baseOffset == header.nextOffset
        }
        if isRight { return }
        segment.isSuspect = true
        throw StorageError(.corrupt, "offsets do not follow each other in \(name) at \(offset)")
    }

    /// A batch boundary at or before `offset`, from the index. An index that does not agree with the log is replaced.
    private func indexedPosition(
        atOrBelow offset: Int64, in segment: Segment, with walk: inout BatchWalk
    ) throws(StorageError) -> Int64 {
        try prepareIndex(of: segment)
        let target = offset - segment.baseOffset
        guard let entry = segment.index.entry(atOrBelow: target) else { return 0 }
        if sabotaged("trustIndex") { return Int64(entry.position) }
        if try walk.head(at: Int64(entry.position))?.lastOffset == segment.baseOffset + Int64(entry.relativeOffset) {
            return Int64(entry.position)
        }
        try rebuildIndex(of: segment)
        return segment.index.entry(atOrBelow: target).map { Int64($0.position) } ?? 0
    }

    /// The last batch boundary within `byteLimit` (but never before the end of `first`) with no record at or after
    /// `below`, and with no damage before it.
    private func sliceEnd(
        in segment: Segment, after start: Int64, first: BatchHeader, within byteLimit: Int64, below: Int64,
        with walk: inout BatchWalk
    ) throws(StorageError) -> Int64 {
        var end = start + Int64(first.sizeInBytes)
        let readable = segment.readableEnd(from: start)
        if byteLimit >= readable.position && below >= readable.nextOffset {
            hints.note(offset: readable.nextOffset, segment: segment.baseOffset, position: readable.position)
            return readable.position
        }
        let limit = min(byteLimit, readable.position)
        if limit - end > Int64(2 * configuration.indexIntervalBytes) {
            end = max(end, try indexedEnd(in: segment, within: limit, below: below, with: &walk))
        }
        while end < limit, let header = try walk.next(at: &end) {
            let next = end + Int64(header.sizeInBytes)
            guard next <= limit && header.nextOffset <= below else {
                hints.note(offset: header.baseOffset, segment: segment.baseOffset, position: end)
                break
            }
            end = next
        }
        return end
    }

    /// A batch boundary at or before `position` whose earlier batches all end below `below`, from the index.
    private func indexedEnd(
        in segment: Segment, within position: Int64, below: Int64, with walk: inout BatchWalk
    ) throws(StorageError) -> Int64 {
        try prepareIndex(of: segment)
        let entry = segment.index.entry(atOrBeforePosition: position, endingBelow: below - segment.baseOffset)
        guard let entry else { return 0 }
        // A wrong entry is left to `indexedPosition` to repair; here it only costs a longer walk.
        let isRight = try walk.head(at: Int64(entry.position))?.lastOffset
            == segment.baseOffset + Int64(entry.relativeOffset)
        return isRight ? Int64(entry.position) : 0
    }
}

/// A few places where the next reads are likely to start: consumers read on from where they stopped.
struct ReadHints {
    private struct Hint {
        var offset: Int64 = -1
        var segment: Int64 = -1
        var position: Int64 = 0
    }

    private var hints: (Hint, Hint, Hint, Hint) = (Hint(), Hint(), Hint(), Hint())
    private var next = 0

    func position(of offset: Int64, inSegment segment: Int64) -> Int64? {
        if hints.0.offset == offset && hints.0.segment == segment { return hints.0.position }
        if hints.1.offset == offset && hints.1.segment == segment { return hints.1.position }
        if hints.2.offset == offset && hints.2.segment == segment { return hints.2.position }
        if hints.3.offset == offset && hints.3.segment == segment { return hints.3.position }
        return nil
    }

    mutating func note(offset: Int64, segment: Int64, position: Int64) {
        guard self.position(of: offset, inSegment: segment) == nil else { return }
        let hint = Hint(offset: offset, segment: segment, position: position)
        switch next {
        case 0: hints.0 = hint
        case 1: hints.1 = hint
        case 2: hints.2 = hint
        default: hints.3 = hint
        }
        next = (next + 1) & 3
    }
}
