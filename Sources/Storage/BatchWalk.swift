// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: stepping from batch head to batch head in a file, without reading the records.
//
// A walk reads a few KiB at a time while batches are small, and only heads once they are large. It checks that a
// head can be one (magic, length, offsets), not the CRC: that is recovery's work. Bytes known to be damaged are
// stepped over. A local value; owns a scratch buffer.

import NIOCore
import Records

/// A cursor over the batch heads of one segment's file.
struct BatchWalk {
    let file: any File
    private let segment: Segment
    /// Nothing at or after this position is looked at.
    private let limit: Int64
    private var window = ByteBuffer()
    private var windowStart: Int64 = 0
    private var nextRead = StorageLimits.walkBytes

    /// Walks the written batches of `segment`.
    init(file: any File, segment: Segment) {
        self.file = file
        self.segment = segment
        limit = segment.written.size
    }

    /// The head of the first batch at or after `position`, which moves over damaged bytes to where that batch starts;
    /// nil at the end. Throws `.corrupt` if there is no batch where one must be.
    mutating func next(at position: inout Int64) throws(StorageError) -> BatchHeader? {
        for damage in segment.damage where damage.positions.contains(position) {
            position = damage.positions.upperBound
        }
        guard position < limit else { return nil }
        guard let header = try head(at: position) else {
            segment.isSuspect = true
            let name = SegmentFileName.log(segment.baseOffset)
            throw StorageError(.corrupt, "\(name) holds no batch at position \(position)")
        }
        return header
    }

    /// The head of the batch at `position`; nil if what is there cannot be a batch that ends by the limit.
    mutating func head(at position: Int64) throws(StorageError) -> BatchHeader? {
        guard position + Int64(BatchHeader.size) <= limit else { return nil }
        if position < windowStart || position + Int64(BatchHeader.size) > windowStart + Int64(window.readableBytes) {
            window.clear()
            windowStart = position
            _ = try file.read(into: &window, count: Int(min(Int64(nextRead), limit - position)), at: position)
        }
        let start = Int(position - windowStart)
        // SAFETY: the pointer is used within the closure; a start past the end yields an empty range, which has no head.
        let parsed = unsafe window.withUnsafeReadableBytes { bytes in
            unsafe BatchHeader(UnsafeRawBufferPointer(rebasing: bytes.dropFirst(start)))
        }
        guard let header = parsed, header.isPlausible, header.baseOffset >= segment.baseOffset,
            position + Int64(header.sizeInBytes) <= limit
        else { return nil }
        nextRead = header.sizeInBytes < StorageLimits.walkBytes ? StorageLimits.walkBytes : BatchHeader.size
        return header
    }
}

extension BatchHeader {
    /// Whether the fields can be those of a batch; says nothing about its bytes.
    var isPlausible: Bool {
        magic == 2 && lastOffsetDelta >= 0 && baseOffset >= 0 && recordCount >= 0
            && baseOffset < StorageLimits.offset
            && Int(batchLength) >= BatchHeader.size - BatchHeader.logOverhead
    }
}
