// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a segment's index files: written, read back when needed, and rebuilt when they are wrong.
//
// The index files are a cache of the log: they are not synced, never trusted further than a read can check,
// and rebuilt from the batch heads if they are missing, out of order or incomplete. Same owner and lock as `Log`.

import NIOCore
import Records

extension Log {
    /// Has the segment's whole index in memory.
    func prepareIndex(of segment: Segment) throws(StorageError) {
        guard !segment.index.isLoaded else { return }
        let limit = segment.index.offsets.first.map { Int64($0.position) } ?? segment.written.size
        segment.index.load(
            offsetFile: try indexFile(SegmentFileName.offsetIndex(segment.baseOffset)),
            timeFile: try indexFile(SegmentFileName.timeIndex(segment.baseOffset)), before: limit,
            relativeOffset: segment.written.nextOffset - 1 - segment.baseOffset)
        let covered = segment.index.offsets.last { Int64($0.position) < limit }.map { Int64($0.position) } ?? 0
        let isComplete = limit - covered <= StorageLimits.unindexedBytes
        let hasTimes = !segment.isSealed || segment.written.maxTimestamp < 0
            || segment.index.times.last?.timestamp == segment.written.maxTimestamp
        if !isComplete || !hasTimes { try rebuildIndex(of: segment) }
    }

    /// Makes the index anew from the batch heads.
    func rebuildIndex(of segment: Segment) throws(StorageError) {
        let fresh = Segment(baseOffset: segment.baseOffset)
        var walk = BatchWalk(file: try openForReading(segment), segment: segment)
        var position: Int64 = 0
        while let header = try walk.next(at: &position) {
            fresh.note(header, at: position, indexIntervalBytes: configuration.indexIntervalBytes)
            position += Int64(header.sizeInBytes)
        }
        if segment.isSealed { fresh.addTimeEntry() }
        let unwritten = segment.index.offsets.filter { Int64($0.position) >= segment.written.size }
        let laterTimes = segment.index.times.filter { $0.timestamp > fresh.extent.lastIndexedTimestamp }
        segment.index = fresh.index
        segment.index.offsets += unwritten
        if !unwritten.isEmpty { segment.index.times += laterTimes }
        if segment.isSealed { flushIndexIfPossible(of: segment) }
    }

    /// Writes the entries for written batches that are not in the files yet.
    func flushIndex(of segment: Segment) throws(StorageError) {
        guard segment.index.needsFlush else { return }
        try prepareIndex(of: segment)
        let index = segment.index
        let offsets = index.encodedOffsets(from: index.flushedOffsets, before: segment.written.size)
        let offsetCount = index.flushedOffsets + offsets.readableBytes / OffsetEntry.size
        let times = index.encodedTimes(
            from: index.flushedTimes, below: segment.written.nextOffset - segment.baseOffset)
        let timeCount = index.flushedTimes + times.readableBytes / TimeEntry.size
        try flush(
            offsets, to: SegmentFileName.offsetIndex(segment.baseOffset),
            at: index.flushedOffsets * OffsetEntry.size)
        segment.index.flushedOffsets = offsetCount
        try flush(
            times, to: SegmentFileName.timeIndex(segment.baseOffset), at: index.flushedTimes * TimeEntry.size)
        segment.index.flushedTimes = timeCount
    }

    /// As `flushIndex`; an index that cannot be written is rebuilt by whoever needs it, so that is no failure.
    func flushIndexIfPossible(of segment: Segment) {
        try? flushIndex(of: segment)
    }

    private func flush(_ entries: ByteBuffer, to name: String, at position: Int) throws(StorageError) {
        let file = try fileSystem.open(path(name), create: true)
        try file.write(entries, at: Int64(position))
        try file.truncate(to: Int64(position + entries.readableBytes))
    }

    private func indexFile(_ name: String) throws(StorageError) -> ByteBuffer {
        var bytes = ByteBuffer()
        guard try fileSystem.exists(path(name)) else { return bytes }
        let file = try fileSystem.open(path(name), create: false)
        let size = Int(min(try file.size(), Int64(StorageLimits.indexFileBytes)))
        if size > 0 { _ = try file.read(into: &bytes, count: size, at: 0) }
        return bytes
    }
}
