// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: record batches and compressed data.
//
// record-batch  a byte of choices (1: make length, magic and checksum right; 2: take it apart as
//               compressed), then a batch
// decompressor  a byte that chooses the codec, then what is to be decompressed
//
// Properties: no output passes its limit; what the validator accepts is read to its end; records that
// are put into a new batch are read back from it; what is compressed decompresses to itself.

import NIOCore
import Records

private let outputBytesMax = 1 << 20

@Sendable func fuzzRecordBatch(_ input: ByteBuffer) throws {
    var rest = input
    let choices = rest.choice()
    let batch = choices & 1 != 0 ? repaired(rest) : rest.ownCopy
    let isSound = try isRead(batch)
    var rules = BatchRules()
    rules.depth = .allRecords
    rules.decompressedBytesMax = outputBytesMax
    rules.timestampAfterMaxMs = .max
    guard let validated = try? BatchValidator(rules: rules).validate(batch, nowMs: 0) else { return }
    try require(isSound, "a batch passed the validator and cannot be read")
    try require(
        BatchBytes.isCRCValid(batch, header: validated.header), "a batch with a wrong checksum passed")
    let stamped = BatchBytes.withLogAppendTime(batch, nowMs: 5)
    guard let header = BatchHeader(stamped) else {
        throw Violation(description: "a stamped batch has no head")
    }
    try require(BatchBytes.isCRCValid(stamped, header: header), "a stamped batch's checksum is wrong")
}

/// The batch with its fields of no interest set right: length, magic, checksum.
private func repaired(_ bytes: ByteBuffer) -> ByteBuffer {
    var batch = bytes.ownCopy
    if batch.readableBytes < BatchHeader.size {
        batch.writeRepeatingByte(0, count: BatchHeader.size - batch.readableBytes)
    }
    batch.setInteger(Int32(batch.readableBytes - BatchHeader.logOverhead), at: 8)
    batch.setInteger(UInt8(2), at: 16)
    // Sets the checksum too.
    return BatchBytes.withMaxTimestamp(batch, batch.getInteger(at: 35, as: Int64.self) ?? 0)
}

/// Whether the batch can be read to its end; checks what is read.
private func isRead(_ batch: ByteBuffer) throws -> Bool {
    guard
        let opened = try? RecordBatchReader(
            batch, decompressor: Decompressor(), limit: outputBytesMax)
    else { return false }
    try require(opened.records.readableBytes <= outputBytesMax + 1, "a batch outgrew its limit")
    var reader = opened
    var records: [Record] = []
    do throws(RecordError) {
        while let record = try reader.next() { records.append(record) }
        _ = try opened.firstRecord(atOrAfter: .max)
        _ = try opened.recordWithMaxTimestamp()
    } catch {
        return false
    }
    try require(
        records.count <= opened.records.readableBytes, "a batch has more records than bytes")
    try requireReadBack(records)
    return true
}

private func requireReadBack(_ records: [Record]) throws {
    guard !records.isEmpty else { return }
    var builder = RecordBatchBuilder()
    for record in records {
        builder.append(
            key: record.key, value: record.value, headers: record.headers,
            timestamp: record.timestamp)
    }
    var reader = try RecordBatchReader(builder.finish(), decompressor: Decompressor())
    for record in records {
        guard let copy = try reader.next() else {
            throw Violation(description: "a record is missing from a new batch")
        }
        try require(
            copy.key == record.key && copy.value == record.value && copy.headers == record.headers
                && copy.timestamp == record.timestamp, "a record changed in a new batch")
    }
    try require(try reader.next() == nil, "a new batch has records that nobody put there")
}

@Sendable func fuzzDecompressor(_ input: ByteBuffer) throws {
    var rest = input
    let all = CompressionType.allCases
    let type = all[Int(rest.choice()) % all.count]
    let decompressor = Decompressor()
    for limit in [1 << 20, 1000] {
        var output = ByteBuffer()
        // SAFETY: the pointer is used within the closure only.
        unsafe rest.withUnsafeReadableBytes { bytes in
            do throws(RecordError) {
                try unsafe decompressor.decompress(bytes, type, into: &output, limit: limit)
            } catch {
                // Garbage is refused; what counts is that it stays within its limit.
            }
        }
        try require(output.readableBytes <= limit + 1, "\(type) gave more than \(limit) bytes")
    }
    try requireRoundTrip(rest, type, decompressor)
}

/// The same decoder, after garbage, reads what was compressed properly.
private func requireRoundTrip(
    _ value: ByteBuffer, _ type: CompressionType, _ decompressor: Decompressor
) throws {
    var builder = RecordBatchBuilder(compression: type)
    builder.append(key: nil, value: value, timestamp: 1)
    var reader = try RecordBatchReader(builder.finish(), decompressor: decompressor)
    let record = try reader.next()
    try require(record?.value == value, "\(type) does not give back what it was given")
}
