// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: offsets by time, exact to the record.
//
// The segments' highest timestamps and the time index lead to the batch; the records of that one batch are
// decompressed and looked through. Same owner and lock as `Log`.

import NIOCore
import Records

extension Log {
    /// First record with a timestamp >= `timestamp`: its offset and timestamp (KIP-33); nil if there is none.
    package func offset(forTimestamp timestamp: Int64) throws(StorageError) -> (offset: Int64, timestamp: Int64)? {
        try refuseClosed()
        return try examiningDamage { () throws(StorageError) in
            for segment in segments where segment.written.maxTimestamp >= timestamp {
                if let found = try firstRecord(atOrAfter: timestamp, in: segment) { return found }
            }
            return nil
        }
    }

    /// The record with the highest timestamp (KIP-734), nil if no record has one.
    package func offsetOfMaxTimestamp() throws(StorageError) -> (offset: Int64, timestamp: Int64)? {
        try refuseClosed()
        return try examiningDamage { () throws(StorageError) in
            var latest: (offset: Int64, timestamp: Int64)?
            for segment in segments where segment.written.maxTimestamp > latest?.timestamp ?? -1 {
                guard let found = try latestRecord(in: segment) else { continue }
                if found.timestamp > latest?.timestamp ?? -1 { latest = found }
            }
            return latest
        }
    }

    /// Oldest first, those that hold something.
    private var segments: [Segment] {
        (sealed + (active.map { [$0] } ?? [])).filter { $0.written.nextOffset > startOffset }
    }

    private func firstRecord(
        atOrAfter timestamp: Int64, in segment: Segment
    ) throws(StorageError) -> (offset: Int64, timestamp: Int64)? {
        guard let file = try openIfReadable(segment) else { return nil }
        var walk = BatchWalk(file: file, segment: segment)
        var position = try indexedPosition(ofTimestamp: timestamp, in: segment, with: &walk)
        while let header = try walk.next(at: &position) {
            if header.maxTimestamp >= timestamp && header.nextOffset > startOffset {
                let reader = try reader(of: header, at: position, in: file)
                let found = try readable { () throws(RecordError) in
                    try reader.firstRecord(atOrAfter: timestamp, startOffset: startOffset)
                }
                if let found { return (found.offset, found.timestamp) }
            }
            position += Int64(header.sizeInBytes)
        }
        return nil
    }

    /// Where to start looking for a timestamp: no batch before it has one as high.
    private func indexedPosition(
        ofTimestamp timestamp: Int64, in segment: Segment, with walk: inout BatchWalk
    ) throws(StorageError) -> Int64 {
        try prepareIndex(of: segment)
        guard let entry = segment.index.timeEntry(atOrBelow: timestamp) else { return 0 }
        let offset = segment.baseOffset + Int64(entry.relativeOffset)
        if let (position, header) = try locate(offset, in: segment, with: &walk),
            header.lastOffset == offset && header.maxTimestamp == entry.timestamp
        {
            return position
        }
        // The entry is wrong, so none of them can be believed.
        try rebuildIndex(of: segment)
        return 0
    }

    private func latestRecord(in segment: Segment) throws(StorageError) -> (offset: Int64, timestamp: Int64)? {
        guard let file = try openIfReadable(segment) else { return nil }
        var walk = BatchWalk(file: file, segment: segment)
        let known = segment.written.offsetOfMaxTimestamp
        var best: (position: Int64, header: BatchHeader)?
        if known >= startOffset, let place = try locate(known, in: segment, with: &walk),
            place.header.maxTimestamp == segment.written.maxTimestamp
        {
            best = place
        } else {
            // The start of the log has moved past it, or it is damaged.
            var position: Int64 = 0
            while let header = try walk.next(at: &position) {
                if header.nextOffset > startOffset && header.maxTimestamp > best?.header.maxTimestamp ?? -1 {
                    best = (position, header)
                }
                position += Int64(header.sizeInBytes)
            }
        }
        guard let best else { return nil }
        let reader = try reader(of: best.header, at: best.position, in: file)
        let found = try readable { () throws(RecordError) in try reader.recordWithMaxTimestamp() }
        return found.map { ($0.offset, $0.timestamp) }
    }

    /// The segment's file, nil if it is gone: then there is nothing to find in it.
    private func openIfReadable(_ segment: Segment) throws(StorageError) -> (any File)? {
        try check(segment)
        let isGone = segment.damage.contains { $0.positions == 0..<segment.written.size }
        return isGone ? nil : try openForReading(segment)
    }

    private func reader(
        of header: BatchHeader, at position: Int64, in file: any File
    ) throws(StorageError) -> RecordBatchReader {
        var bytes = ByteBuffer()
        try LogSlice(file: file, position: position, length: header.sizeInBytes).read(into: &bytes)
        return try readable { () throws(RecordError) in
            try RecordBatchReader(bytes, decompressor: Decompressor())
        }
    }

    private func readable<Result>(_ body: () throws(RecordError) -> Result) throws(StorageError) -> Result {
        do throws(RecordError) {
            return try body()
        } catch {
            throw StorageError(.corrupt, "a batch of \(name) cannot be read: \(error.message)")
        }
    }
}
