// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: a data directory against its own metadata.

import Bytes
import NIOCore
import Records
import Storage
import TestSupport
import Testing

@testable import Engine

@Suite("Checking a data directory against its metadata")
struct DirectoryVerificationTests {
    private let files = MemoryFileSystem()
    private let ids: [String: TopicId]

    /// Two topics with records, one without, committed offsets, and an orderly end.
    init() throws {
        let test = try TestEngine(fileSystem: files)
        var ids: [String: TopicId] = [:]
        for name in ["orders", "payments", "empty"] {
            let topic = try test.makeTopic(name, partitions: 2)
            ids[name] = topic.id
            guard name != "empty" else { continue }
            for partition in topic.partitions { _ = test.append(batch("a", "b"), to: partition) }
            test.sync()
        }
        let offsets = try test.makeTopic(Engine.offsetsTopic)
        var builder = RecordBatchBuilder()
        let key = OffsetRecord.encode(OffsetKey(groupId: "g", topic: "orders", partition: 0))
        let value = OffsetRecord.encode(
            CommittedOffset(offset: 2, leaderEpoch: -1, metadata: "", commitTimestampMs: 1, expireTimestampMs: nil))
        builder.append(key: ByteBuffer(bytes: key), value: ByteBuffer(bytes: value), timestamp: 1)
        _ = test.append(builder.finish(), to: offsets.partitions[0])
        test.sync()
        try test.engine.shutDown()
        self.ids = ids
    }

    private func findings(isInUse: Bool = false) throws -> [VerifyFinding] {
        let verifier = try DataDirectoryVerifier(files, options: VerifyOptions(isInUse: isInUse))
        try DirectoryVerification.run(verifier)
        return verifier.findings
    }

    private func damages() throws -> [VerifyFinding.Kind] {
        try findings().filter { $0.severity == .damage }.map(\.kind)
    }

    /// Appends one record to the end of an internal log, as a broken writer would.
    private func append(key: [UInt8], value: [UInt8]?, to directory: String) throws {
        let path = "\(directory)/00000000000000000000.log"
        let file = try files.open(path, create: false)
        let size = Int(try file.size())
        var all = ByteBuffer()
        try LogSlice(file: file, position: 0, length: size).read(into: &all)
        var end: Int64 = 0
        while let header = BatchHeader(all) {
            end = header.nextOffset
            all.moveReaderIndex(forwardBy: header.sizeInBytes)
        }
        var builder = RecordBatchBuilder()
        builder.append(key: ByteBuffer(bytes: key), value: value.map { ByteBuffer(bytes: $0) }, timestamp: 1)
        var bytes = builder.finish()
        BatchBytes.assign(baseOffset: end, leaderEpoch: 0, in: &bytes)
        try unsafe bytes.withUnsafeReadableBytes { raw throws(StorageError) in
            try unsafe file.write([raw], at: Int64(size))
        }
        // What was added is no part of what was closed in order.
        try files.remove("martlet.clean")
    }

    @Test func aSoundDirectoryHasNoFindings() throws {
        #expect(try findings() == [])
        #expect(try findings(isInUse: true) == [])
    }

    @Test func aDirectoryWithoutATopicIsFound() throws {
        try files.makeDirectory("ghost-0")
        try files.makeDirectory("orders-2")
        #expect(try damages() == [.noTopic, .noTopic])
        // It may be one that was created since the metadata was read.
        #expect(try findings(isInUse: true) == [])
    }

    @Test func aPartitionWhoseDirectoryIsGoneIsFound() throws {
        try files.rename("orders-1", to: "elsewhere")
        let found = try findings().filter { $0.severity == .damage }
        #expect(found.map(\.kind) == [.noDirectory] && found.first?.file == "orders-1")
    }

    @Test func aDirectoryOfAnotherTopicIsFound() throws {
        let text = "version: 0\ntopic_id: \(try #require(ids["payments"]))"
        let file = try files.open("orders-0/partition.metadata", create: false)
        var bytes = ByteBuffer(string: text)
        try unsafe bytes.withUnsafeMutableReadableBytes { raw throws(StorageError) in
            try unsafe file.write([UnsafeRawBufferPointer(raw)], at: 0)
        }
        #expect(try damages() == [.topicId])
    }

    @Test func aRecordOfTheMetadataThatCannotBeReadIsFound() throws {
        try append(key: [1, 0x78], value: [9, 9], to: "\(Engine.metadataTopic)-0")
        let found = try findings()
        #expect(found.map(\.kind) == [.metadataRecord])
        #expect(found.first?.offsets.map { $0.upperBound - $0.lowerBound } == 1)
    }

    @Test func aCommittedOffsetThatCannotBeReadIsFound() throws {
        try append(key: [0, 1, 0, 9, 0x67], value: nil, to: "\(Engine.offsetsTopic)-0")
        #expect(try findings().map(\.kind) == [.offsetRecord])
    }

    /// Kafka's group records and others that are not about offsets are none of this check's business.
    @Test func recordsOfOtherKindsAmongTheOffsetsAreNoFinding() throws {
        try append(key: [0, 2, 0, 1, 0x67], value: [0, 0], to: "\(Engine.offsetsTopic)-0")
        #expect(try findings() == [])
    }
}
