// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the batches of one segment's file, whole and checked, one after the other.
//
// Reads a stretch at a time. A batch that is damaged ends it with an error: compaction throws nothing away on the word of
// such a log. A local value; owns its file and buffer.

import NIOCore
import Records

struct BatchFeed {
    private let file: any File
    private let name: String
    /// Where the segment's batches end.
    private let size: Int64
    /// The offset that the next batch may not be below.
    private var due: Int64
    /// The offset at which the next segment starts.
    private let limit: Int64
    /// After the last batch that was taken.
    private(set) var position: Int64 = 0
    private var buffer = ByteBuffer()

    init(file: any File, name: String, size: Int64, offsets: Range<Int64>) {
        self.file = file
        self.name = name
        self.size = size
        due = offsets.lowerBound
        limit = offsets.upperBound
    }

    /// The next batch; nil at the end.
    mutating func next() throws(StorageError) -> (header: BatchHeader, bytes: ByteBuffer)? {
        guard position < size else { return nil }
        try fill(BatchHeader.size)
        guard let header = BatchHeader(buffer), header.isPlausible, position + Int64(header.sizeInBytes) <= size,
            header.baseOffset >= due, header.nextOffset <= limit
        else { throw damaged }
        try fill(header.sizeInBytes)
        guard BatchBytes.isCRCValid(buffer, header: header), let bytes = buffer.readSlice(length: header.sizeInBytes)
        else { throw damaged }
        position += Int64(header.sizeInBytes)
        due = header.nextOffset
        return (header, bytes)
    }

    private mutating func fill(_ count: Int) throws(StorageError) {
        guard buffer.readableBytes < count else { return }
        var fresh = ByteBuffer()
        let wanted = Int(min(Int64(max(count, StorageLimits.scanBytes)), size - position))
        guard try file.read(into: &fresh, count: wanted, at: position) == wanted, wanted >= count else { throw damaged }
        buffer = fresh
    }

    private var damaged: StorageError {
        StorageError(.corrupt, "\(name) holds no sound batch at position \(position); the log is not compacted")
    }
}
