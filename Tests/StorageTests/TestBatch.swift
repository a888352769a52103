// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: well-formed record batches for tests.
//
// Enough of the v2 format to be checked by an independent reader: uncompressed records with null keys, correct
// lengths and CRC. Values are derived from the arguments, so a test can tell every batch from every other.

import Bytes
import Glibc
import NIOCore
import Records
import Testing

@testable import Storage

/// A batch as a producer sends it: base offset 0, leader epoch -1.
struct TestBatch {
    var bytes: ByteBuffer
    var header: BatchHeader

    /// `timestamps` has one entry per record; `valueSize` bytes of a pattern from `seed` each.
    init(timestamps: [Int64] = [1_000], valueSize: Int = 10, seed: UInt8 = 0x61) {
        let values = timestamps.indices.map { delta in
            ByteBuffer(repeating: seed &+ UInt8(truncatingIfNeeded: delta), count: valueSize)
        }
        self.init(timestamps: timestamps, values: values)
    }

    /// One record with this value.
    init(payload: ByteBuffer) { self.init(timestamps: [1_000], values: [payload]) }

    private init(timestamps: [Int64], values: [ByteBuffer]) {
        var records = ByteBuffer()
        for (delta, timestamp) in timestamps.enumerated() {
            var record = ByteBuffer()
            record.writeInteger(UInt8(0))
            record.writeVarint(timestamp - timestamps[0])
            record.writeVarint(Int64(delta))
            record.writeVarint(-1)
            record.writeVarint(Int64(values[delta].readableBytes))
            record.writeImmutableBuffer(values[delta])
            record.writeVarint(0)
            records.writeVarint(Int64(record.readableBytes))
            records.writeBuffer(&record)
        }
        var covered = ByteBuffer()
        covered.writeInteger(Int16(0))
        covered.writeInteger(Int32(timestamps.count - 1))
        covered.writeInteger(timestamps[0])
        covered.writeInteger(timestamps.max()!)
        covered.writeInteger(Int64(-1))
        covered.writeInteger(Int16(-1))
        covered.writeInteger(Int32(-1))
        covered.writeInteger(Int32(timestamps.count))
        covered.writeBuffer(&records)
        bytes = ByteBuffer()
        bytes.writeInteger(Int64(0))
        bytes.writeInteger(Int32(covered.readableBytes + 9))
        bytes.writeInteger(Int32(-1))
        bytes.writeInteger(Int8(2))
        bytes.writeInteger(unsafe covered.withUnsafeReadableBytes { unsafe crc32c($0) })
        bytes.writeBuffer(&covered)
        header = BatchHeader(bytes)!
    }

    /// One record in a batch of exactly `size` bytes.
    static func sized(_ size: Int, timestamp: Int64 = 1_000, seed: UInt8 = 0x61) -> TestBatch {
        // The lengths are varints, so the overhead depends on the value's size by a few bytes.
        for overhead in 68...75 where size > overhead {
            let batch = TestBatch(timestamps: [timestamp], valueSize: size - overhead, seed: seed)
            if batch.bytes.readableBytes == size { return batch }
        }
        preconditionFailure("no single-record batch of \(size) bytes")
    }

    /// The batch as it must stand in the log.
    func stored(at offset: Int64, leaderEpoch: Int32 = 0) -> ByteBuffer {
        var copy = bytes
        copy.setInteger(offset, at: 0)
        copy.setInteger(leaderEpoch, at: 12)
        return copy
    }
}

extension ByteBuffer {
    /// A zigzag varint (as in Kafka records).
    mutating func writeVarint(_ value: Int64) {
        var rest = UInt64(bitPattern: (value << 1) ^ (value >> 63))
        while rest >= 0x80 {
            writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }
}

extension LogEnvironment {
    /// For logs without a data directory.
    convenience init(_ fileSystem: any FileSystem) {
        self.init(fileSystem: fileSystem, cleanMark: CleanMark(fileSystem: fileSystem, isSet: false)) { _, _ in }
    }
}

extension Log {
    /// A new log without a data directory.
    convenience init(
        _ name: String, _ fileSystem: any FileSystem, configuration: LogConfiguration = LogConfiguration(),
        topicId: TopicId = .zero
    ) {
        self.init(
            name: name, topicId: topicId, configuration: configuration, environment: LogEnvironment(fileSystem))
    }

    /// Appends with leader epoch 0 and returns the base offset.
    @discardableResult
    func append(_ batch: TestBatch) throws(StorageError) -> Int64 {
        try append(batch.bytes, header: batch.header, leaderEpoch: 0)
    }

    /// Syncs what is written, as a round would.
    func syncNow() throws(StorageError) { try syncAlone() }

    /// The bytes a read yields; nil if it yields nothing.
    func bytes(from offset: Int64, maxBytes: Int = .max / 2, below: Int64 = .max) throws(StorageError) -> ByteBuffer? {
        guard let slice = try read(from: offset, maxBytes: maxBytes, below: below) else { return nil }
        var buffer = ByteBuffer()
        try slice.read(into: &buffer)
        return buffer
    }
}

extension FileSystem {
    /// A file's bytes.
    func contents(_ path: String) throws(StorageError) -> [UInt8] {
        try open(path, create: false).readAll(limit: 1 << 30)
    }
}

/// Directories of real files for a test, removed with the object.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/martlet-storage-XXXXXX".utf8CString)
        // SAFETY: mkdtemp changes the template in place, within its bounds.
        try unsafe template.withUnsafeMutableBufferPointer { try #require(unsafe mkdtemp($0.baseAddress!) != nil) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        if let files = try? RealFileSystem(root: path), let names = try? files.list("") {
            for name in names where (try? files.remove(name)) == nil { remove(path + "/" + name) }
        }
        _ = unsafe rmdir(path)
    }
}
