// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: appending to a log and what reaches its files.

import Bytes
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Appending to a log")
struct LogAppendTests {
    let files = MemoryFileSystem()
    let log: Log

    init() {
        log = Log("t-0", files, topicId: TopicId(high: 0, low: 1))
    }

    @Test func aLogWithoutDataHasNoDirectory() throws {
        #expect(try !files.exists("t-0"))
        #expect(log.endOffset == 0 && log.sizeInBytes == 0)
        #expect(try log.read(from: 0, maxBytes: 100) == nil)
        #expect(log.beginSync() == nil)
    }

    @Test func offsetsAreDenseOverBatchesOfSeveralRecords() throws {
        #expect(try log.append(TestBatch(timestamps: [1, 2, 3])) == 0)
        #expect(try log.append(TestBatch(timestamps: [4])) == 3)
        #expect(try log.append(TestBatch(timestamps: [5, 6])) == 4)
        #expect(log.endOffset == 6)
    }

    @Test func aSmallBatchWaitsForWriteAndCannotBeReadBefore() throws {
        try log.append(TestBatch())
        #expect(log.endOffset == 1 && log.writtenEndOffset == 0 && log.sizeInBytes == 0)
        #expect(try log.read(from: 0, maxBytes: 100) == nil)
        try log.write()
        #expect(log.writtenEndOffset == 1 && log.syncedEndOffset == 0)
        #expect(try log.bytes(from: 0) == TestBatch().stored(at: 0))
    }

    @Test func aLargeBatchIsWrittenAtOnceWithWhatWaitsBeforeIt() throws {
        let small = TestBatch(valueSize: 100)
        let large = TestBatch(valueSize: 100_000)
        try log.append(small)
        try log.append(large)
        #expect(log.writtenEndOffset == 2)
        var expected = small.stored(at: 0)
        expected.writeImmutableBuffer(large.stored(at: 1))
        #expect(try log.bytes(from: 0) == expected)
    }

    @Test func offsetAndEpochArePatchedInTheFileOnly() throws {
        let small = TestBatch()
        let large = TestBatch(valueSize: 50_000)
        let untouched = (small.bytes, large.bytes)
        _ = try log.append(small.bytes, header: small.header, leaderEpoch: 7)
        _ = try log.append(large.bytes, header: large.header, leaderEpoch: 8)
        #expect(small.bytes == untouched.0 && large.bytes == untouched.1)
        var expected = small.stored(at: 0, leaderEpoch: 7)
        expected.writeImmutableBuffer(large.stored(at: 1, leaderEpoch: 8))
        #expect(try files.contents("t-0/00000000000000000000.log") == Array(expected.readableBytesView))
    }

    @Test func aBatchWithinALargerBufferIsTakenFromItsReaderIndex() throws {
        for size in [10, 40_000] {
            let batch = TestBatch(valueSize: size)
            var buffer = ByteBuffer(string: "prefix")
            buffer.writeImmutableBuffer(batch.bytes)
            buffer.moveReaderIndex(forwardBy: 6)
            let offset = try log.append(buffer, header: batch.header, leaderEpoch: 0)
            try log.write()
            #expect(try log.bytes(from: offset) == batch.stored(at: offset))
        }
    }

    @Test func muchWaitingDataIsWrittenWithoutBeingAsked() throws {
        for _ in 0..<40 { try log.append(TestBatch.sized(10_000)) }
        #expect(log.writtenEndOffset > 0)
        #expect(log.endOffset == 40)
    }

    @Test func theDirectoryHoldsKafkasPartitionMetadata() throws {
        try log.append(TestBatch())
        try log.write()
        let text = String(decoding: try files.contents("t-0/partition.metadata"), as: UTF8.self)
        #expect(text == "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ")
    }

    @Test func aSyncCoversWhatWasWrittenWhenItBegan() throws {
        try log.append(TestBatch())
        try log.write()
        let work = try #require(log.beginSync())
        #expect(Set(work.directories) == ["", "t-0"])
        try log.append(TestBatch())
        try log.write()
        log.endSync(work, failure: nil)
        #expect(log.syncedEndOffset == 1 && log.writtenEndOffset == 2)
        try log.syncNow()
        #expect(log.syncedEndOffset == 2)
        #expect(log.beginSync() == nil)
    }

    @Test func aFailedSyncMakesTheLogReadOnlyForGood() throws {
        try log.append(TestBatch())
        try log.write()
        let work = try #require(log.beginSync())
        log.endSync(work, failure: StorageError(.inputOutput, "cannot sync x: Input/output error", errno: 5))
        #expect(log.failure?.code == .readOnly)
        #expect(log.failure?.message.contains("cannot sync x") == true)
        #expect(log.syncedEndOffset == 0)
        #expect(throws: StorageError(.readOnly, "")) { try log.append(TestBatch()) }
        #expect(log.beginSync() == nil)
        #expect(try log.bytes(from: 0) != nil)
    }
}
