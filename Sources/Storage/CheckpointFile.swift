// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the bytes of `martlet.checkpoint`.
//
// One file describes every log, so that a clean start is one read whatever the number of partitions. All integers
// are big endian; the last four bytes are the CRC-32C of everything before them, and a file whose checksum is wrong
// is treated as not there. The layout is described in docs/storage-format.md. A plain codec; owns nothing.

import Bytes
import NIOCore

/// The checkpoint of all logs.
enum CheckpointFile {
    static let path = "martlet.checkpoint"
    private static let magic: UInt64 = 0x4d41_5254_434b_5031  // "MARTCKP1"
    /// Stands for "no first timestamp".
    private static let none = Int64.min
    /// A file larger than this is not one of ours.
    private static let sizeLimit: Int64 = 1 << 30

    /// What `read` found.
    struct Contents {
        var logs: [LogCheckpoint]
        /// What the clean-shutdown mark names.
        var checksum: UInt32
    }

    /// The file's bytes, and its checksum.
    static func encode(_ logs: [LogCheckpoint]) -> (bytes: ByteBuffer, checksum: UInt32) {
        var bytes = ByteBuffer()
        bytes.writeMultipleIntegers(magic, UInt32(logs.count))
        for log in logs { encode(log, into: &bytes) }
        // SAFETY: the pointer is used within the closure only.
        let checksum = unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }
        bytes.writeInteger(checksum)
        return (bytes, checksum)
    }

    /// The logs described in `bytes`; nil if they are damaged or of another format.
    static func decode(_ bytes: ByteBuffer) -> Contents? {
        var bytes = bytes
        guard bytes.readableBytes >= 16, var body = bytes.readSlice(length: bytes.readableBytes - 4),
            let checksum = bytes.readInteger(as: UInt32.self),
            // SAFETY: the pointer is used within the closure only.
            unsafe body.withUnsafeReadableBytes({ unsafe crc32c($0) }) == checksum,
            let (found, count) = body.readMultipleIntegers(as: (UInt64, UInt32).self), found == magic
        else { return nil }
        var logs: [LogCheckpoint] = []
        for _ in 0..<count {
            guard let log = decodeLog(&body) else { return nil }
            logs.append(log)
        }
        return body.readableBytes == 0 ? Contents(logs: logs, checksum: checksum) : nil
    }

    /// The file in the data directory; nil if it is missing or damaged.
    static func read(in fileSystem: any FileSystem) throws(StorageError) -> Contents? {
        let file: any File
        do throws(StorageError) {
            file = try fileSystem.open(path, create: false)
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        let size = try file.size()
        guard size <= sizeLimit else { return nil }
        var bytes = ByteBuffer()
        _ = try file.read(into: &bytes, count: Int(size), at: 0)
        return decode(bytes)
    }

    private static func encode(_ log: LogCheckpoint, into bytes: inout ByteBuffer) {
        bytes.writeInteger(UInt16(log.name.utf8.count))
        bytes.writeString(log.name)
        let isCompacted = log.compaction.generation > 0
        let flags: UInt8 = (log.isComplete ? 1 : 0) | (log.hasActive ? 2 : 0) | (isCompacted ? 4 : 0)
        bytes.writeMultipleIntegers(
            log.topicId.high, log.topicId.low, flags, log.startOffset, log.endOffset, UInt32(log.segments.count),
            UInt32(log.quarantined.count))
        if isCompacted {
            bytes.writeMultipleIntegers(
                log.compaction.generation, log.compaction.holesBelow, log.compaction.firstDirtyOffset)
        }
        for point in log.segments {
            let extent = point.extent
            bytes.writeMultipleIntegers(
                point.segment, extent.size, extent.nextOffset, extent.maxTimestamp, extent.offsetOfMaxTimestamp,
                extent.firstTimestamp ?? none)
        }
        for range in log.quarantined {
            let reason = String(range.reason.prefix(200))
            bytes.writeMultipleIntegers(
                range.offsets.lowerBound, range.offsets.upperBound, range.segment, range.positions.lowerBound,
                range.positions.upperBound, UInt16(reason.utf8.count))
            bytes.writeString(reason)
        }
    }

    private static func decodeLog(_ bytes: inout ByteBuffer) -> LogCheckpoint? {
        guard let length = bytes.readInteger(as: UInt16.self), let name = bytes.readString(length: Int(length)),
            let (high, low, flags, start, end, segmentCount, rangeCount) = bytes.readMultipleIntegers(
                as: (UInt64, UInt64, UInt8, Int64, Int64, UInt32, UInt32).self),
            (0...StorageLimits.offset).contains(start), (0...StorageLimits.offset).contains(end)
        else { return nil }
        var log = LogCheckpoint(
            name: name, topicId: TopicId(high: high, low: low), isComplete: flags & 1 != 0,
            hasActive: flags & 2 != 0, startOffset: start, endOffset: end, segments: [], quarantined: [])
        if flags & 4 != 0 {
            guard let (generation, holesBelow, firstDirty) = bytes.readMultipleIntegers(as: (Int64, Int64, Int64).self),
                generation > 0, (0...StorageLimits.offset).contains(holesBelow)
            else { return nil }
            log.compaction.generation = generation
            log.compaction.holesBelow = holesBelow
            log.compaction.firstDirtyOffset = firstDirty
        }
        for _ in 0..<segmentCount {
            guard let point = decodePoint(&bytes) else { return nil }
            log.segments.append(point)
        }
        for _ in 0..<rangeCount {
            guard let range = decodeRange(&bytes) else { return nil }
            log.quarantined.append(range)
        }
        return log
    }

    private static func decodePoint(_ bytes: inout ByteBuffer) -> RecoveryPoint? {
        guard
            let (base, size, next, maxTimestamp, offset, first) = bytes.readMultipleIntegers(
                as: (Int64, Int64, Int64, Int64, Int64, Int64).self),
            (0...StorageLimits.offset).contains(base), (base...StorageLimits.offset).contains(next),
            (0...StorageLimits.offset).contains(size)
        else { return nil }
        var extent = SegmentExtent(baseOffset: base)
        extent.size = size
        extent.nextOffset = next
        extent.maxTimestamp = maxTimestamp
        extent.offsetOfMaxTimestamp = offset
        extent.firstTimestamp = first == none ? nil : first
        return RecoveryPoint(segment: base, extent: extent)
    }

    private static func decodeRange(_ bytes: inout ByteBuffer) -> QuarantinedRange? {
        guard
            let (first, end, segment, start, stop, length) = bytes.readMultipleIntegers(
                as: (Int64, Int64, Int64, Int64, Int64, UInt16).self),
            let reason = bytes.readString(length: Int(length)), (0...StorageLimits.offset).contains(first),
            (first...StorageLimits.offset).contains(end), (0...StorageLimits.offset).contains(start), start <= stop
        else { return nil }
        return QuarantinedRange(offsets: first..<end, segment: segment, positions: start..<stop, reason: reason)
    }
}
