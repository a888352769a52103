// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: decides whether the records of one Produce partition may be appended.
//
// A value without state: the rules in, a verdict out. Checks run in Kafka's order, cheap ones
// first: whole batch, magic, count of batches, size, checksum, head, then, as deep as the rules
// ask, the records. The bytes are never changed. The message of a refusal names the field at fault.

import Bytes
import NIOCore

/// A batch that passed.
package struct ValidatedBatch: Equatable, Sendable {
    package var header: BatchHeader
    /// The records' real maximum, if they were walked and the head declares another one. Kafka
    /// stores the real one: see `BatchBytes.withMaxTimestamp`.
    package var correctedMaxTimestamp: Int64?
}

/// Holds produced batches to a topic's rules.
package struct BatchValidator: Sendable {
    package var rules: BatchRules

    package init(rules: BatchRules = BatchRules()) {
        self.rules = rules
    }

    /// Checks the records field of a Produce partition: exactly one batch, from a client.
    /// - Parameters:
    ///   - allowsZstd: whether the request's version may carry zstd (KIP-110: 7 and later).
    ///   - isBuiltHere: this process has just computed the checksum; it is not computed again.
    ///   - decompressor: needed for `.allRecords`; one is made for the call if it is nil.
    package func validate(
        _ bytes: ByteBuffer, nowMs: Int64, allowsZstd: Bool = true,
        isBuiltHere: Bool = false, decompressor: Decompressor? = nil
    ) throws(RecordError) -> ValidatedBatch {
        guard bytes.readableBytes > 0 else {
            throw RecordError(
                .invalidRecord, "a produce request must have a record batch for each partition")
        }
        // SAFETY: the pointer is used within the closure only.
        return try unsafe bytes.withUnsafeReadableBytes { (raw) throws(RecordError) in
            let header = try unsafe wholeBatch(raw)
            try checkCompression(header, allowsZstd: allowsZstd)
            guard raw.count <= rules.maxMessageBytes else { throw tooLarge(raw.count) }
            guard unsafe isBuiltHere || BatchBytes.crc(raw, size: raw.count) == header.crc else {
                throw badCRC(header)
            }
            try check(header)
            var batch = ValidatedBatch(header: header, correctedMaxTimestamp: nil)
            let isCompressed = header.attributes & 7 != 0
            let isWalked =
                isCompressed
                ? rules.depth == .allRecords || rules.requiresKeys : rules.depth != .head
            // A walk looks at each record's time, and says which are wrong.
            try checkTimes(header, nowMs: nowMs, areRecordsChecked: isWalked)
            if isWalked {
                batch.correctedMaxTimestamp = try unsafe walk(
                    raw, header, nowMs: nowMs, decompressor: decompressor)
            }
            return batch
        }
    }

    /// The head of the one batch that fills `bytes`.
    private func wholeBatch(_ bytes: UnsafeRawBufferPointer) throws(RecordError) -> BatchHeader {
        guard let header = unsafe BatchHeader(bytes) else {
            // The magic lies at the same place in all formats, and old ones are shorter.
            if bytes.count > 16, unsafe bytes[16] < 2 {
                throw BatchBytes.wrongMagic(unsafe Int8(bytes[16]))
            }
            throw RecordError(
                .corruptMessage,
                """
                \(bytes.count) bytes are too few for a record batch, which has a head of \
                \(BatchHeader.size)
                """
            )
        }
        guard header.magic == 2 else { throw BatchBytes.wrongMagic(header.magic) }
        guard header.sizeInBytes == bytes.count else { throw wrongLength(header, bytes.count) }
        return header
    }

    private func checkCompression(_ header: BatchHeader, allowsZstd: Bool) throws(RecordError) {
        guard let compression = header.compression else {
            throw RecordError(
                .unsupportedCompression, "compression code \(header.attributes & 7) is not known")
        }
        guard compression != .zstd || allowsZstd else {
            throw RecordError(
                .unsupportedCompression,
                "zstd needs Produce version 7 or later: use a newer client (KIP-110)")
        }
    }

    private func check(_ header: BatchHeader) throws(RecordError) {
        guard header.recordCount > 0 else {
            throw RecordError(.invalidRecord, "the batch declares \(header.recordCount) records")
        }
        guard header.lastOffsetDelta == header.recordCount - 1 else {
            throw RecordError(
                .invalidRecord,
                """
                the batch declares \(header.recordCount) records but \(header.lastOffsetDelta) as \
                last offset delta
                """
            )
        }
        guard header.baseOffset == 0 else {
            throw RecordError(
                .invalidRecord, "a producer's batch has base offset 0, not \(header.baseOffset)")
        }
        guard !header.isControl else {
            throw RecordError(.invalidRecord, "clients may not write control records")
        }
        if header.producerId == -1 {
            guard !header.isTransactional else {
                throw RecordError(.invalidRecord, "a transactional batch needs a producer id")
            }
            return
        }
        guard header.producerId >= 0, header.producerEpoch >= 0, header.baseSequence >= 0 else {
            throw RecordError(
                .invalidRecord,
                """
                producer id \(header.producerId), epoch \(header.producerEpoch) and sequence \
                \(header.baseSequence) do not go together
                """
            )
        }
    }

    private func checkTimes(
        _ header: BatchHeader, nowMs: Int64, areRecordsChecked: Bool
    ) throws(RecordError) {
        guard !header.isLogAppendTime else {
            throw RecordError(
                .invalidTimestamp, "a producer may not set the timestamp type to LogAppendTime")
        }
        guard !rules.isLogAppendTime, !areRecordsChecked else { return }
        try checkTime(header.maxTimestamp, nowMs: nowMs)
        try checkTime(header.baseTimestamp, nowMs: nowMs)
    }

    @inline(__always) private func checkTime(_ timestamp: Int64, nowMs: Int64) throws(RecordError) {
        guard isTimely(timestamp, nowMs: nowMs) else { throw outOfTime(timestamp, nowMs) }
    }

    @inline(__always) private func isTimely(_ timestamp: Int64, nowMs: Int64) -> Bool {
        // -1 says that there is none. Differences may overflow; what overflows is out of any bound
        // but .max.
        guard timestamp != -1 else { return true }
        let (age, isFar) = nowMs.subtractingReportingOverflow(timestamp)
        return isFar
            ? (timestamp > nowMs ? rules.timestampAfterMaxMs : rules.timestampBeforeMaxMs) == .max
            : age <= rules.timestampBeforeMaxMs && age >= -rules.timestampAfterMaxMs
    }

    /// Walks the records. Returns their maximum timestamp if it is not the one declared.
    private func walk(
        _ bytes: UnsafeRawBufferPointer, _ header: BatchHeader, nowMs: Int64,
        decompressor: Decompressor?
    ) throws(RecordError) -> Int64? {
        let section = unsafe UnsafeRawBufferPointer(rebasing: bytes[BatchHeader.size...])
        guard let compression = header.compression, compression != .none else {
            return try unsafe walk(section, header, nowMs: nowMs)
        }
        var records = ByteBuffer()
        try unsafe (decompressor ?? Decompressor()).decompress(
            section, compression, into: &records, limit: rules.decompressedBytesMax)
        // SAFETY: the pointer is used within the closure only.
        return try unsafe records.withUnsafeReadableBytes { (raw) throws(RecordError) in
            try unsafe walk(raw, header, nowMs: nowMs)
        }
    }

    private func walk(
        _ records: UnsafeRawBufferPointer, _ header: BatchHeader, nowMs: Int64
    ) throws(RecordError) -> Int64? {
        var cursor = RecordCursor(header)
        var expectedOffset = header.baseOffset
        var maxTimestamp: Int64 = -1
        var keyless: [BatchIndexError] = []
        var untimely: [BatchIndexError] = []
        while let record = try unsafe cursor.next(in: records) {
            guard record.offset == expectedOffset else {
                throw RecordError(
                    .invalidRecord,
                    "record \(expectedOffset) of the batch has offset delta \(record.offset)")
            }
            expectedOffset += 1
            if record.keyLength < 0 && rules.requiresKeys {
                note("a compacted topic takes no record without a key", record, header, &keyless)
            } else if !rules.isLogAppendTime, !isTimely(record.timestamp, nowMs: nowMs) {
                note(outOfTime(record.timestamp, nowMs).message, record, header, &untimely)
            }
            maxTimestamp = max(maxTimestamp, record.timestamp)
            if record.headerCount > 0 {
                var headers = HeaderCursor(record)
                while try unsafe headers.next(in: records) != nil {}
            }
        }
        // As in Kafka, one untimely record gives all that are wrong the name of that.
        if let refusal = refusal(.invalidTimestamp, untimely, keyless) { throw refusal }
        if let refusal = refusal(.invalidRecord, keyless, []) { throw refusal }
        return maxTimestamp == header.maxTimestamp ? nil : maxTimestamp
    }

    private func note(
        _ message: String, _ record: RecordLayout, _ header: BatchHeader,
        _ errors: inout [BatchIndexError]
    ) {
        guard errors.count < BatchIndexError.limit else { return }
        errors.append(
            BatchIndexError(
                index: Int32(truncatingIfNeeded: record.offset - header.baseOffset),
                message: message))
    }

    private func refusal(
        _ code: RecordError.Code, _ errors: [BatchIndexError], _ others: [BatchIndexError]
    ) -> RecordError? {
        guard let first = errors.first else { return nil }
        let all = (errors + others).sorted { $0.index < $1.index }
        return RecordError(
            code, "\(all.count) record(s) of the batch are refused, so it is: \(first.message)",
            records: Array(all.prefix(BatchIndexError.limit)))
    }

    @inline(never) private func wrongLength(_ header: BatchHeader, _ count: Int) -> RecordError {
        if header.sizeInBytes >= BatchHeader.size, count - header.sizeInBytes >= BatchHeader.size {
            return RecordError(
                .invalidRecord,
                "a produce request must have exactly one record batch for each partition")
        }
        return RecordError(
            .corruptMessage,
            "the batch says it has \(header.sizeInBytes) bytes, but \(count) are there")
    }

    @inline(never) private func tooLarge(_ count: Int) -> RecordError {
        RecordError(
            .messageTooLarge,
            """
            the batch has \(count) bytes, and the topic takes \(rules.maxMessageBytes): send less \
            at once or raise max.message.bytes
            """
        )
    }

    @inline(never) private func badCRC(_ header: BatchHeader) -> RecordError {
        RecordError(
            .corruptMessage,
            """
            the batch's CRC-32C is not the one it declares, \(String(header.crc, radix: 16)): \
            damaged on the way
            """
        )
    }

    @inline(never) private func outOfTime(_ timestamp: Int64, _ nowMs: Int64) -> RecordError {
        RecordError(
            .invalidTimestamp,
            """
            timestamp \(timestamp) is too far from the broker's clock, \(nowMs): \
            message.timestamp.before.max.ms and .after.max.ms set the bounds
            """
        )
    }
}
