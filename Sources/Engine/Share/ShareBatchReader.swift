// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a stretch of the log means to a share partition: its batches, which are hidden, what is delayed.
//
// Reads heads of batches; records are looked at only where a header `not-before` may be: its value is decimal text, milliseconds
// since the Unix epoch; anything else is no delay.

import NIOCore
import Records
import Storage

enum ShareBatchReader {
    /// The header's name.
    static let notBefore = "not-before"
    private static let needle = Array(notBefore.utf8)

    /// The batches of `bytes`. Those that end below `newFrom` were looked at before; only new ones are searched for delays.
    static func batches(
        in bytes: ByteBuffer, aborted: [AbortedTransaction], newFrom: Int64, decompressor: Decompressor
    ) throws(EngineError) -> [ShareBatch] {
        var rest = bytes
        var batches: [ShareBatch] = []
        while let header = BatchHeader(rest), let whole = rest.readSlice(length: header.sizeInBytes) {
            let isHidden = header.isControl || aborted.contains { $0.contains(header) }
            var batch = ShareBatch(first: header.baseOffset, last: header.lastOffset, isHidden: isHidden)
            if !isHidden, header.lastOffset >= newFrom { batch.delayed = delayed(whole, header, decompressor) }
            batches.append(batch)
        }
        guard !batches.isEmpty else {
            throw EngineError(.corruptData, "the log holds no whole batch where one was expected")
        }
        return batches
    }

    private static func delayed(
        _ batch: ByteBuffer, _ header: BatchHeader, _ decompressor: Decompressor
    ) -> [ShareBatch.Delayed] {
        guard header.compression != Records.CompressionType.none || mayHaveDelay(batch) else { return [] }
        var delayed: [ShareBatch.Delayed] = []
        // What cannot be read has no delay; whoever gets the batch is told what is wrong with it.
        guard var reader = try? RecordBatchReader(batch, decompressor: decompressor) else { return [] }
        while let record = try? reader.next() {
            for field in record.headers where field.key == notBefore {
                guard let value = field.value, let time = Int64(String(buffer: value)), time > 0 else { continue }
                delayed.append(ShareBatch.Delayed(offset: record.offset, notBeforeMs: time))
            }
        }
        return delayed
    }

    private static func mayHaveDelay(_ batch: ByteBuffer) -> Bool {
        let view = batch.readableBytesView
        var at = view.startIndex
        // The dash is the rarest byte of the name.
        while let dash = view[at...].firstIndex(of: UInt8(ascii: "-")) {
            let start = dash - 3
            if start >= view.startIndex, view.endIndex - start >= needle.count,
                view[start..<start + needle.count].elementsEqual(needle)
            {
                return true
            }
            at = dash + 1
        }
        return false
    }
}
