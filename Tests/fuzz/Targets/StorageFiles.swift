// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: the small files and records that a start reads.
//
//   a byte chooses the format, the rest is the file or record
//
// Properties: what is read, written and read again is the same; an index that is taken is in order.

import Bytes
import NIOCore

@testable import Engine
@testable import Storage

@Sendable func fuzzStorageFiles(_ input: ByteBuffer) throws {
    var bytes = input
    switch bytes.choice() % 7 {
    case 0: try checkCheckpoint(bytes)
    case 1: try checkFormat(bytes)
    case 2: try checkPartitionMetadata(bytes)
    case 3: try checkIndex(bytes)
    case 4: try checkMetadataRecord(bytes)
    case 5: try checkOffsetRecord(bytes)
    default: checkSubscription(bytes)
    }
}

private func fileSystem(_ path: String, _ bytes: ByteBuffer) throws -> MemoryFileSystem {
    let files = MemoryFileSystem()
    try files.open(path, create: true).write(bytes, at: 0)
    return files
}

/// The bytes with a right checksum behind them.
private func checkCheckpoint(_ body: ByteBuffer) throws {
    var bytes = ByteBuffer()
    bytes.writeInteger(0x4d41_5254_434b_5031 as UInt64)
    bytes.writeImmutableBuffer(body)
    // SAFETY: the pointer is used within the closure only.
    bytes.writeInteger(unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) })
    guard let contents = CheckpointFile.decode(bytes) else { return }
    let (written, checksum) = CheckpointFile.encode(contents.logs)
    guard let again = CheckpointFile.decode(written) else {
        throw Violation(description: "a checkpoint does not read what it wrote")
    }
    try require(again.checksum == checksum, "a checkpoint's checksum is read differently")
    let isLong = contents.logs.contains { $0.quarantined.contains { $0.reason.utf8.count > 200 } }
    try require(
        isLong || again.logs == contents.logs, "a checkpoint changes when it is written and read")
    for log in contents.logs {
        for point in log.segments {
            try require(
                point.extent.size >= 0 && point.extent.nextOffset >= point.segment
                    && point.segment >= 0, "a checkpoint with impossible segments is taken")
        }
    }
}

private func checkFormat(_ bytes: ByteBuffer) throws {
    let files = try fileSystem(FormatFile.path, bytes)
    guard let format = try? FormatFile.read(in: files) else { return }
    let written = try fileSystem(FormatFile.path, format.contents)
    let again = try FormatFile.read(in: written)
    try require(again == format, "the format file changes when it is written and read")
}

private func checkPartitionMetadata(_ bytes: ByteBuffer) throws {
    let files = try fileSystem(PartitionMetadata.fileName, bytes)
    guard let id = try PartitionMetadata.topicId(at: PartitionMetadata.fileName, in: files) else {
        return
    }
    let written = try fileSystem(PartitionMetadata.fileName, PartitionMetadata.contents(id))
    let again = try PartitionMetadata.topicId(at: PartitionMetadata.fileName, in: written)
    try require(again == id, "a topic id changes when it is written and read")
}

private func checkIndex(_ bytes: ByteBuffer) throws {
    var rest = bytes
    let limit = Int64(rest.wideChoice())
    let offsets = rest.take(rest.readableBytes / 2)
    var index = SegmentIndex(isLoaded: false)
    index.load(offsetFile: offsets, timeFile: rest, before: limit, relativeOffset: limit)
    for (entry, next) in zip(index.offsets, index.offsets.dropFirst()) {
        try require(
            entry.position < next.position && entry.relativeOffset < next.relativeOffset,
            "an index out of order is taken")
    }
    for entry in index.offsets {
        try require(Int64(entry.position) < limit, "an index points past its log")
        let found = index.entry(atOrBelow: Int64(entry.relativeOffset))
        try require(found == entry, "an entry of the index is not found")
    }
    for entry in index.times {
        try require(
            index.timeEntry(atOrBelow: entry.timestamp) == entry, "a time entry is not found")
    }
    let written = index.encodedOffsets(from: 0, before: limit)
    try require(written.readableBytes == 8 * index.offsets.count, "the index does not write itself")
}

/// A record's key and value, with the key's length in front.
private func record(_ bytes: ByteBuffer) -> (key: ByteBuffer, value: ByteBuffer?) {
    var rest = bytes
    let length = Int(rest.choice())
    let key = rest.take(length)
    return (key, rest.readableBytes == 0 ? nil : rest)
}

private func checkMetadataRecord(_ bytes: ByteBuffer) throws {
    let (key, value) = record(bytes)
    guard let decoded = MetadataRecord(key: key, value: value) else { return }
    let (newKey, newValue) = decoded.encoded()
    let again = MetadataRecord(
        key: ByteBuffer(bytes: newKey), value: newValue.map { ByteBuffer(bytes: $0) })
    try require(again == decoded, "a metadata record changes when it is written and read")
}

private func checkOffsetRecord(_ bytes: ByteBuffer) throws {
    let (key, value) = record(bytes)
    guard case .committed(let offsetKey, let offset) = OffsetRecord(key: key, value: value),
        // Text that was repaired may outgrow what a record holds; commits are bounded far below.
        offsetKey.groupId.utf8.count < 1024, offsetKey.topic.utf8.count < 1024,
        offset.metadata.utf8.count < 16_384
    else { return }
    let again = OffsetRecord(
        key: ByteBuffer(bytes: OffsetRecord.encode(offsetKey)),
        value: ByteBuffer(bytes: OffsetRecord.encode(offset)))
    guard case .committed(let sameKey, let same) = again else {
        throw Violation(description: "an offset record does not read what it wrote")
    }
    try require(
        sameKey == offsetKey && same.offset == offset.offset && same.metadata == offset.metadata,
        "an offset record changes when it is written and read")
}

private func checkSubscription(_ bytes: ByteBuffer) {
    _ = ConsumerSubscription.topics(in: bytes)
}
