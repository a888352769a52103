// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: a broker that starts on a data directory to which something has happened.
//
// A directory with two partitions (several segments, compressed and idempotent batches, producer
// snapshots), committed offsets and a checkpoint is made once. The input says what happens to it:
//
//   a byte: 1 keeps the clean mark, 2 keeps the checkpoint; then changes:
//   kind, file, place (two bytes) and what the kind takes (see `Change`)
//
// Properties: the start succeeds or fails with an error; no read is endless; every batch that is served
// has the offset it was asked for or a later one, and, if the whole log was scanned, a right checksum; a
// second start serves the same; what is appended afterwards is served too.

import Bytes
import NIOCore
import NIOEmbedded
import Records
import TestSupport

@testable import Engine
@testable import Storage

@Sendable func fuzzRecovery(_ input: ByteBuffer) throws {
    var rest = input
    let choices = rest.choice()
    var files = Template.shared.files
    if choices & 1 == 0 { files.removeAll { $0.path == "martlet.clean" } }
    if choices & 2 == 0 { files.removeAll { $0.path == "martlet.checkpoint" } }
    for _ in 0..<24 where rest.readableBytes > 0 { change(&files, &rest) }
    let isScanned = !files.contains { $0.path == "martlet.checkpoint" }
    let disk = try Template.fileSystem(files)
    guard let first = try serve(disk, isScanned: isScanned, appends: true) else { return }
    guard let second = try serve(disk, isScanned: false, appends: false) else {
        throw Violation(description: "a start succeeds and the next one does not")
    }
    if isScanned { try require(first == second, "the second start serves something else") }
}

// MARK: - What is there before

private struct StoredFile {
    var path: String
    var bytes: ByteBuffer
}

private struct Template: Sendable {
    let files: [StoredFile]

    static let shared: Template = {
        do { return Template(files: try make()) } catch { fatalError("no data directory: \(error)") }
    }()

    private static func make() throws -> [StoredFile] {
        let disk = MemoryFileSystem()
        let test = try TestEngine(fileSystem: disk, logger: silent)
        let topic = try test.makeTopic(
            "orders", partitions: 2,
            overrides: ["segment.bytes": "600", "index.interval.bytes": "100"])
        for round in 0..<12 {
            for index in 0..<2 {
                guard let partition = topic.partition(Int32(index)) else { continue }
                _ = test.append(sample(round), to: partition)
            }
            test.sync()
            if round == 6 { for partition in topic.partitions { try partition.snapshotProducers(isLast: false) } }
        }
        test.engine.groups.commit(
            OffsetCommit(
                groupId: "g", positions: [.init(topic: "orders", partition: 0, offset: 5, metadata: "m")]),
            on: test.loop
        ) { _ in }
        for _ in 0..<4 { test.sync() }
        try test.engine.shutDown()
        return try list(disk, "")
    }

    private static func sample(_ round: Int) -> ByteBuffer {
        let kinds: [CompressionType] = [.none, .zstd, .lz4, .none]
        var builder = RecordBatchBuilder(
            compression: kinds[round % 4],
            producer: round % 2 == 0
                ? .none : .init(id: 7, epoch: 0, baseSequence: Int32(round / 2 * 3)))
        for record in 0..<3 {
            builder.append(
                key: ByteBuffer(string: "k\(record)"), value: ByteBuffer(string: "value \(round) \(record)"),
                timestamp: 1_700_000_000_000 + Int64(round))
        }
        return builder.finish()
    }

    private static func list(_ disk: MemoryFileSystem, _ path: String) throws -> [StoredFile] {
        var files: [StoredFile] = []
        for name in try disk.list(path).sorted() {
            let child = path.isEmpty ? name : path + "/" + name
            if let file = try? disk.open(child, create: false) {
                files.append(
                    StoredFile(path: child, bytes: ByteBuffer(bytes: try file.readAll(limit: 1 << 20))))
            } else {
                files += try list(disk, child)
            }
        }
        return files
    }

    static func fileSystem(_ files: [StoredFile]) throws -> MemoryFileSystem {
        let disk = MemoryFileSystem()
        for file in files {
            if let slash = file.path.lastIndex(of: "/") {
                try disk.makeDirectory(String(file.path[..<slash]))
            }
            let opened = try disk.open(file.path, create: true)
            try opened.truncate(to: 0)
            try opened.write(file.bytes, at: 0)
        }
        return disk
    }
}

// MARK: - What happens to it

/// Names that a directory may hold besides those of the template.
private let otherNames = [
    "orders-0/00000000000000000000.log", "orders-0/00000000000000000017.log",
    "orders-0/09223372036854775807.log", "orders-0/00000000000000000017.snapshot",
    "orders-0/5.snapshot", "orders-0/-3.snapshot", "orders-0/00000000000000000009.index",
    "orders-0/quarantine", "orders-1/failed-sync", "martlet.clean", "martlet.checkpoint",
    "__martlet_metadata-0/00000000000000000500.log",
]

private func change(_ files: inout [StoredFile], _ rest: inout ByteBuffer) {
    let kind = rest.choice() % 9
    let number = Int(rest.choice())
    let place = Int(rest.wideChoice())
    guard !files.isEmpty else { return }
    let index = number % files.count
    var bytes = files[index].bytes.ownCopy
    let at = bytes.readableBytes == 0 ? 0 : place % bytes.readableBytes
    switch kind {
    case 0:  // bytes replaced
        let new = rest.take(Int(rest.choice()))
        bytes.setBuffer(new, at: at)
        bytes.moveWriterIndex(to: max(bytes.writerIndex, at + new.readableBytes))
    case 1: bytes.moveWriterIndex(to: at)  // cut
    case 2: bytes.writeImmutableBuffer(rest.take(Int(rest.choice())))  // grown
    case 3:
        files.remove(at: index)
        return
    case 4: bytes.setInteger((bytes.getInteger(at: at) ?? UInt8(0)) ^ rest.choice(), at: at)
    case 5: bytes = files[place % files.count].bytes.ownCopy  // another file's content
    case 6: bytes.writeImmutableBuffer(files[place % files.count].bytes)
    case 7: repair(&bytes, files[index].path, at: at)
    default:
        let path = otherNames[place % otherNames.count]
        files.removeAll { $0.path == path }
        files.append(StoredFile(path: path, bytes: bytes))
        return
    }
    files[index].bytes = bytes
}

/// Makes a checksum right, so that what was changed is believed.
private func repair(_ bytes: inout ByteBuffer, _ path: String, at place: Int) {
    if path.hasSuffix(".log") {
        var position = 0
        while let header = bytes.getSlice(
            at: position, length: bytes.readableBytes - position
        ).flatMap({ BatchHeader($0) }), header.sizeInBytes >= BatchHeader.size,
            let batch = bytes.getSlice(at: position, length: header.sizeInBytes)
        {
            if position + header.sizeInBytes > place {
                bytes.setInteger(crc(batch, from: BatchHeader.crcStart), at: position + 17)
                return
            }
            position += header.sizeInBytes
        }
    } else if path == "martlet.checkpoint", bytes.readableBytes > 4 {
        let body = bytes.getSlice(at: 0, length: bytes.readableBytes - 4) ?? ByteBuffer()
        bytes.setInteger(crc(body, from: 0), at: bytes.readableBytes - 4)
    } else if path.hasSuffix(".snapshot"), bytes.readableBytes > 6 {
        bytes.setInteger(crc(bytes, from: 6), at: 2)
    }
}

private func crc(_ bytes: ByteBuffer, from start: Int) -> UInt32 {
    // SAFETY: the pointer is used within the closure only; slicing checks the start.
    unsafe bytes.withUnsafeReadableBytes {
        unsafe crc32c(UnsafeRawBufferPointer(rebasing: $0[start...]))
    }
}

// MARK: - What is served then

private struct Served: Equatable {
    var partition: String
    var baseOffset: Int64
    var crc: UInt32
}

/// What a broker serves from these files; nil if it does not start, and says why.
private func serve(
    _ disk: MemoryFileSystem, isScanned: Bool, appends: Bool
) throws -> [Served]? {
    let test: TestEngine
    do {
        test = try TestEngine(fileSystem: disk, logger: silent)
    } catch {
        try require(
            error is EngineError || error is StorageError, "a start fails with \(type(of: error))")
        return nil
    }
    var served: [Served] = []
    for partition in test.engine.allPartitions {
        served += try readAll(partition, isScanned: isScanned)
        for timestamp in [Int64.min, 0, 1_700_000_000_005, .max] {
            _ = try? partition.offset(forTimestamp: timestamp)
        }
        _ = try? partition.offsetOfMaxTimestamp()
    }
    _ = try? test.engine.groups.committed(groupId: "g", topics: nil)
    if appends { served += try append(test) }
    try? test.engine.shutDown()
    return served.sorted { ($0.partition, $0.baseOffset) < ($1.partition, $1.baseOffset) }
}

private func readAll(_ partition: Partition, isScanned: Bool) throws -> [Served] {
    var served: [Served] = []
    var offset = partition.offsets.start
    for _ in 0..<400 {
        guard offset < partition.offsets.highWatermark else { return served }
        var bytes = ByteBuffer()
        do {
            guard let slice = try partition.read(from: offset, maxBytes: 300).slice else {
                return served
            }
            try slice.read(into: &bytes)
        } catch {
            // Damage: the next offset may be good again.
            offset += 1
            continue
        }
        while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
            // Below a checkpoint the files are believed to be what they were: there heads may contradict it.
            guard isScanned || header.nextOffset > offset else { return served }
            if isScanned {
                try require(header.nextOffset > offset, "a read goes back from offset \(offset)")
                try require(
                    BatchBytes.isCRCValid(batch, header: header),
                    "\(partition.name) serves a batch with a wrong checksum at \(header.baseOffset)")
            }
            served.append(
                Served(partition: partition.name, baseOffset: header.baseOffset, crc: header.crc))
            offset = header.nextOffset
        }
    }
    return served
}

/// Appends to what is left of the topic, and reads it back.
private func append(_ test: TestEngine) throws -> [Served] {
    guard let partition = test.engine.topics.topic(named: "orders")?.partition(0) else { return [] }
    var builder = RecordBatchBuilder()
    builder.append(key: nil, value: ByteBuffer(string: "after"), timestamp: 1_700_000_000_100)
    let answer = test.append(builder.finish(), to: partition, acks: .leader)
    test.sync()
    guard case .success(let result)? = answer.result else { return [] }
    var bytes = ByteBuffer()
    try partition.read(from: result.baseOffset, maxBytes: 1000).slice?.read(into: &bytes)
    guard let header = BatchHeader(bytes), header.baseOffset == result.baseOffset else {
        throw Violation(description: "what was appended after a recovery is not served")
    }
    return [Served(partition: partition.name, baseOffset: header.baseOffset, crc: header.crc)]
}
