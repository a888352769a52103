// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: opens one batch for reading.
//
// A value. Uncompressed records stay slices of the batch (they keep its storage alive); compressed
// ones are decompressed once, within a limit. It checks structure as it goes but not the checksum:
// bytes from a peer pass `BatchValidator` first, bytes from disk were checked when they were
// written, and `isCRCValid` asks.

import Bytes
import NIOCore

/// One batch: its head, its record section, and a walk over the records.
package struct RecordBatchReader: Sendable {
    /// The largest record section that is decompressed unless a caller says otherwise.
    package static let defaultDecompressionLimit = 256 * 1024 * 1024

    package let header: BatchHeader
    /// The records, decompressed: what `RecordCursor` walks.
    package let records: ByteBuffer
    private var cursor: RecordCursor

    /// Opens the batch at `batch`'s reader index. Bytes after it are left alone.
    package init(
        _ batch: ByteBuffer, decompressor: Decompressor,
        limit: Int = RecordBatchReader.defaultDecompressionLimit
    ) throws(RecordError) {
        let header = try BatchBytes.header(of: batch)
        guard let compression = header.compression else {
            throw RecordError(
                .unsupportedCompression,
                "unknown compression code \(header.attributes & 7) in a batch")
        }
        let start = batch.readerIndex + BatchHeader.size
        guard let section = batch.getSlice(at: start, length: header.sizeInBytes - BatchHeader.size)
        else {
            throw RecordError(.corruptMessage, "the batch is cut short")
        }
        if compression == .none {
            records = section
        } else {
            var output = ByteBuffer()
            // SAFETY: the pointer is used within the closure only.
            try unsafe section.withUnsafeReadableBytes { (bytes) throws(RecordError) in
                try unsafe decompressor.decompress(bytes, compression, into: &output, limit: limit)
            }
            records = output
        }
        self.header = header
        cursor = RecordCursor(header)
    }

    /// A cursor before the first record, to walk `records` with.
    package var start: RecordCursor { RecordCursor(header) }

    /// The next record, as slices; nil after the last.
    package mutating func next() throws(RecordError) -> Record? {
        // SAFETY: the pointers are used within the closures only.
        let found = try unsafe records.withUnsafeReadableBytes { (bytes) throws(RecordError) in
            try unsafe cursor.next(in: bytes)
        }
        guard let found else { return nil }
        return Record(
            offset: found.offset, timestamp: found.timestamp, key: slice(found.keyRange),
            value: slice(found.valueRange), headers: try headers(of: found))
    }

    /// The headers of a record that a cursor found in `records`.
    package func headers(of record: RecordLayout) throws(RecordError) -> [RecordHeader] {
        guard record.headerCount > 0 else { return [] }
        var headers: [RecordHeader] = []
        var cursor = HeaderCursor(record)
        // SAFETY: the pointer is used within the closure only.
        try unsafe records.withUnsafeReadableBytes { (bytes) throws(RecordError) in
            while let header = try unsafe cursor.next(in: bytes) {
                headers.append(
                    RecordHeader(
                        key: unsafe String(decoding: bytes[header.keyRange], as: UTF8.self),
                        value: slice(header.valueRange)))
            }
        }
        return headers
    }

    /// Bytes at these positions of `records`; nil for nil.
    package func slice(_ range: Range<Int>?) -> ByteBuffer? {
        guard let range else { return nil }
        return records.getSlice(at: records.readerIndex + range.lowerBound, length: range.count)
    }
}
