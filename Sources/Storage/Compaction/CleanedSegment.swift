// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the new segment of a compaction, while it is written beside the log.
//
// Its files have Kafka's suffixes: `.cleaned` while they are written (a start throws them away), `.swap` once they are
// whole and durable (a start puts them in place). The log does not know of it before `Log.install`. Owned by one round.

import NIOCore
import Records

final class CleanedSegment {
    let segment: Segment
    private let directory: String
    private let fileSystem: any FileSystem
    private let indexIntervalBytes: Int
    private let file: any File
    private var buffer = ByteBuffer()
    private var flushed: Int64 = 0

    init(baseOffset: Int64, directory: String, fileSystem: any FileSystem, indexIntervalBytes: Int) throws(StorageError) {
        segment = Segment(baseOffset: baseOffset)
        self.directory = directory
        self.fileSystem = fileSystem
        self.indexIntervalBytes = indexIntervalBytes
        file = try fileSystem.open("\(directory)/\(SegmentFileName.log(baseOffset))\(SegmentFileName.cleaned)", create: true)
        try file.truncate(to: 0)
    }

    func append(_ batch: ByteBuffer) throws(StorageError) {
        guard let header = BatchHeader(batch) else { return }
        segment.note(header, at: segment.extent.size, indexIntervalBytes: indexIntervalBytes)
        buffer.writeImmutableBuffer(batch)
        if buffer.readableBytes >= StorageLimits.scanBytes { try flush() }
    }

    private func flush() throws(StorageError) {
        guard buffer.readableBytes > 0 else { return }
        try file.write(buffer, at: flushed)
        flushed += Int64(buffer.readableBytes)
        buffer.clear()
    }

    /// Makes its contents durable, under a name that a start discards.
    func finish(transactions: ByteBuffer?) throws(StorageError) {
        try flush()
        try file.sync()
        segment.addTimeEntry()
        segment.written = segment.extent
        segment.isSealed = true
        guard let transactions else { return }
        let index = try fileSystem.open(path(SegmentFileName.transactionIndex, SegmentFileName.cleaned), create: true)
        try index.truncate(to: 0)
        try index.write(transactions, at: 0)
        try index.sync()
    }

    /// Gives it the name that a start puts in place, durably. The mark must be written by then.
    func announce(hasTransactions: Bool) throws(StorageError) {
        let names = hasTransactions ? [SegmentFileName.transactionIndex, SegmentFileName.log] : [SegmentFileName.log]
        for name in names {
            try fileSystem.rename(path(name, SegmentFileName.cleaned), to: path(name, SegmentFileName.swap))
            // The log's new name is what a start goes by, so its index must have got there first.
            try fileSystem.syncDirectory(directory)
        }
    }

    /// Removes what was written of it. The mark must name it no more.
    func discard() throws(StorageError) {
        for name in [SegmentFileName.log, SegmentFileName.transactionIndex] {
            for suffix in [SegmentFileName.cleaned, SegmentFileName.swap] {
                try fileSystem.removeIfPresent(path(name, suffix))
            }
        }
    }

    private func path(_ name: (Int64) -> String, _ suffix: String) -> String {
        "\(directory)/\(name(segment.baseOffset))\(suffix)"
    }
}
