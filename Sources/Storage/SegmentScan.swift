// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: reading every byte of a stretch of a segment, after a crash or when damage was met.
//
// A batch counts as good if its head is plausible, it ends within the file, its CRC is right and its base offset is
// the one that is due (base offsets lie outside the CRC). Where a batch is not good, the scan looks for the next
// good one: first where the damaged batch says that it ends, then byte by byte. What lies between is damage in the
// middle; if nothing good follows, it is a torn tail. The scan changes nothing; its caller decides. Known limit:
// if the head of the very last batch is destroyed, a well-formed batch inside that batch's payload can be taken for real.

import Bytes
import NIOCore
import Records

/// What a scan found.
struct SegmentScanResult {
    /// Position after the last good batch.
    var end: Int64
    /// Offset after the last good batch.
    var nextOffset: Int64
    /// Damaged stretches that have good batches after them.
    var damage: [QuarantinedRange] = []
    /// Why nothing good follows `end`, if the file goes on.
    var tornReason: String?
}

/// A scan of one segment's file.
struct SegmentScan {
    private let file: any File
    private let baseOffset: Int64
    private let fileSize: Int64
    /// Below this a batch need not follow the one before without a gap: what lay between them was compacted.
    private let holesBelow: Int64
    private var window = ByteBuffer()
    private var windowStart: Int64 = 0

    init(file: any File, baseOffset: Int64, fileSize: Int64, holesBelow: Int64 = 0) {
        self.file = file
        self.baseOffset = baseOffset
        self.fileSize = fileSize
        self.holesBelow = holesBelow
    }

    private enum Verdict {
        case good(BatchHeader)
        case bad(String, BatchHeader?)
    }

    /// Reads from `start`, where offset `expected` is due, to the end of the file or to the first batch at or after offset
    /// `limit`; calls `body` for each good batch.
    mutating func run(
        from start: Int64, expecting expected: Int64, below limit: Int64 = .max,
        _ body: (_ position: Int64, _ header: BatchHeader) -> Void
    ) throws(StorageError) -> SegmentScanResult {
        var result = SegmentScanResult(end: start, nextOffset: expected)
        var position = start
        while position < fileSize {
            switch try verdict(at: position, expecting: result.nextOffset) {
            case .good(let header) where header.nextOffset > limit:
                result.tornReason = "the batch belongs to the next segment"
                return result
            case .good(let header):
                body(position, header)
                position += Int64(header.sizeInBytes)
                result.end = position
                result.nextOffset = header.nextOffset
            case .bad(let reason, let header):
                guard let found = try resume(after: position, header, expecting: result.nextOffset),
                    found.nextOffset < limit
                else {
                    result.tornReason = reason
                    return result
                }
                result.damage.append(
                    QuarantinedRange(
                        offsets: result.nextOffset..<found.nextOffset, segment: baseOffset,
                        positions: position..<found.position, reason: reason))
                position = found.position
                result.end = position
                result.nextOffset = found.nextOffset
            }
        }
        return result
    }

    private mutating func verdict(at position: Int64, expecting expected: Int64) throws(StorageError) -> Verdict {
        guard let header = try head(at: position) else { return .bad("no batch starts here", nil) }
        guard position + Int64(header.sizeInBytes) <= fileSize else { return .bad("the batch is cut short", nil) }
        guard try hasValidCRC(header, at: position) else { return .bad("the batch's checksum is wrong", header) }
        if isDue(header, expected) { return .good(header) }
        return .bad("the batch says that it starts at offset \(header.baseOffset), not \(expected)", header)
    }

    private func isDue(_ header: BatchHeader, _ expected: Int64) -> Bool {
        header.baseOffset == expected || (header.baseOffset > expected && header.baseOffset <= holesBelow)
    }

    /// Where good batches go on after a bad one at `position`, and with which offset.
    private mutating func resume(
        after position: Int64, _ header: BatchHeader?, expecting expected: Int64
    ) throws(StorageError) -> (position: Int64, nextOffset: Int64)? {
        if let header {
            let next = position + Int64(header.sizeInBytes)
            let due = expected + Int64(header.lastOffsetDelta) + 1
            // Where there are holes the next batch alone says how far the damage may go.
            if case .good(let following) = try verdict(at: next, expecting: due) { return (next, following.baseOffset) }
            // The checksum is right and only the base offset is off: what follows tells whether offsets were skipped.
            let hasWrongOffset = header.baseOffset != expected
            if hasWrongOffset, try hasValidCRC(header, at: position) {
                let isFollowed = try head(at: next)?.baseOffset == header.nextOffset
                if isFollowed && header.baseOffset > expected { return (position, header.baseOffset) }
                return (next, due)
            }
        }
        return try search(from: position + 1, expecting: expected)
    }

    /// Looks at every position for a good batch with an offset of at least `expected`.
    private mutating func search(
        from start: Int64, expecting expected: Int64
    ) throws(StorageError) -> (position: Int64, nextOffset: Int64)? {
        var unconfirmed: (Int64, Int64)?
        var position = start
        while let candidate = try nextCandidate(from: position) {
            position = candidate + 1
            guard let header = try head(at: candidate), header.baseOffset >= expected,
                header.baseOffset - expected <= Int64(Int32.max),
                candidate + Int64(header.sizeInBytes) <= fileSize, try hasValidCRC(header, at: candidate)
            else { continue }
            if try isFollowed(header, at: candidate) { return (candidate, header.baseOffset) }
            if unconfirmed == nil { unconfirmed = (candidate, header.baseOffset) }
        }
        return unconfirmed
    }

    /// The first position from `start` on with a 2 where a batch has its magic byte.
    private mutating func nextCandidate(from start: Int64) throws(StorageError) -> Int64? {
        var position = start
        while position + Int64(BatchHeader.size) <= fileSize {
            try fill(position, count: BatchHeader.size)
            let first = Int(position - windowStart) + 16
            let last = window.readableBytes - (BatchHeader.size - 17)
            // SAFETY: the pointer is used within the closure; `fill` has put at least a head's bytes at `first`.
            let hit = unsafe window.withUnsafeReadableBytes { bytes in
                unsafe bytes[first..<last].firstIndex(of: 2)
            }
            if let hit { return windowStart + Int64(hit - 16) }
            position = windowStart + Int64(last - 16)
        }
        return nil
    }

    /// Whether what comes after the batch at `position` agrees with it.
    private mutating func isFollowed(_ header: BatchHeader, at position: Int64) throws(StorageError) -> Bool {
        let next = position + Int64(header.sizeInBytes)
        if next == fileSize { return true }
        guard let following = try head(at: next) else { return false }
        return isDue(following, header.nextOffset)
    }

    /// A plausible head at `position`, nil if there is none.
    private mutating func head(at position: Int64) throws(StorageError) -> BatchHeader? {
        guard position + Int64(BatchHeader.size) <= fileSize else { return nil }
        try fill(position, count: BatchHeader.size)
        let start = Int(position - windowStart)
        // SAFETY: the pointer is used within the closure; `fill` has put a head's bytes at `start`.
        let header = unsafe window.withUnsafeReadableBytes { bytes in
            unsafe BatchHeader(UnsafeRawBufferPointer(rebasing: bytes[start...]))
        }
        guard let header, header.isPlausible, header.baseOffset >= baseOffset else { return nil }
        return header
    }

    private mutating func hasValidCRC(_ header: BatchHeader, at position: Int64) throws(StorageError) -> Bool {
        if sabotaged("skipRecoveryChecksum") { return true }
        var crc: UInt32 = 0
        var next = position + Int64(BatchHeader.crcStart)
        let end = position + Int64(header.sizeInBytes)
        if end - position <= Int64(StorageLimits.scanBytes) { try fill(position, count: Int(end - position)) }
        while next < end {
            try fill(next, count: 1)
            let start = Int(next - windowStart)
            let count = min(Int(end - next), window.readableBytes - start)
            // SAFETY: the pointer is used within the closure; start and count lie within the window.
            crc = unsafe window.withUnsafeReadableBytes { bytes in
                unsafe crc32c(UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]), seed: crc)
            }
            next += Int64(count)
        }
        return crc == header.crc
    }

    /// Makes sure that `count` bytes from `position` are in the window; they must lie within the file.
    private mutating func fill(_ position: Int64, count: Int) throws(StorageError) {
        let end = windowStart + Int64(window.readableBytes)
        if position >= windowStart && position + Int64(count) <= end { return }
        window.clear()
        windowStart = position
        let wanted = Int(min(Int64(max(StorageLimits.scanBytes, count)), fileSize - position))
        guard try file.read(into: &window, count: wanted, at: position) == wanted else {
            throw StorageError(.inputOutput, "\(SegmentFileName.log(baseOffset)) shrank while it was read")
        }
    }
}
