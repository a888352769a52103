// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: what compaction keeps and what it takes out.

import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Compaction")
struct CompactionTests {
    private let files = MemoryFileSystem()
    private let owner: CompactionLog

    init() throws {
        owner = CompactionLog(Log("t-0", files, configuration: .compacted()))
    }

    private typealias Read = CompactionLog.Read

    @Test(arguments: CompressionType.allCases) func theNewestRecordOfEveryKeyStaysAtItsOffset(codec: CompressionType) throws {
        try owner.append([("a", "1"), ("b", "1"), ("a", "2")], compression: codec)
        try owner.append([("c", "1"), ("b", "2")], compression: codec)
        try owner.seal()
        try owner.append([("d", "1")], compression: codec)
        try owner.seal()
        let result = try #require(try owner.compact())
        #expect(result.swaps == 1)
        #expect(
            try owner.records() == [
                Read(offset: 2, key: "a", value: "2"), Read(offset: 3, key: "c", value: "1"),
                Read(offset: 4, key: "b", value: "2"), Read(offset: 5, key: "d", value: "1"),
            ])
        let batches = try owner.batches()
        #expect(batches.map(\.header.baseOffset) == [0, 3, 5])
        #expect(batches.map(\.header.lastOffset) == [2, 4, 5])
        #expect(batches.allSatisfy { $0.header.compression == codec })
        #expect(try files.list("t-0").filter { $0.hasSuffix(".log") } == ["00000000000000000000.log"])
        #expect(try !files.list("t-0").contains { $0.hasSuffix(".swap") || $0.hasSuffix(".cleaned") || $0.hasSuffix(".deleted") })
    }

    @Test func theActiveSegmentIsNotCleaned() throws {
        try owner.append([("a", "1"), ("a", "2")])
        try owner.log.write()
        try owner.log.syncNow()
        #expect(try owner.compact() == nil)
        try owner.seal()
        try owner.append([("a", "3")])
        try owner.log.write()
        try owner.compact()
        #expect(try owner.records().map(\.value) == ["2", "3"])
    }

    @Test func anOffsetInAHoleIsAnsweredWithTheNextBatch() throws {
        for value in 0..<20 { try owner.append([("k\(value % 2)", "\(value)")]) }
        try owner.seal()
        try owner.append([("z", "z")])
        try owner.log.write()
        try owner.compact()
        for offset in Int64(0)...18 { #expect(try owner.records(from: offset).first?.offset == 18) }
        #expect(try owner.records(from: 19).first?.offset == 19)
        #expect(try owner.log.offset(forTimestamp: 0)?.offset == 18)
    }

    @Test func aTombstoneStaysForDeleteRetentionAndThenGoes() throws {
        try owner.append([("a", "1")])
        try owner.append([("a", nil), ("b", "1")])
        try owner.seal()
        try owner.compact(nowMs: 1_000)
        #expect(try owner.records().map(\.value) == [nil, "1"])
        #expect(try owner.batches().first { $0.header.recordCount > 1 }?.header.deleteHorizonMs == 1_500)
        #expect(try owner.batches().last?.firstRecord(atOrAfter: 0)?.timestamp == 1_000)
        // Before the horizon another round leaves it, and the horizon.
        try owner.append([("c", "1")])
        try owner.seal()
        try owner.compact(nowMs: 1_499)
        #expect(try owner.records().map(\.key) == ["a", "b", "c"])
        try owner.append([("d", "1")])
        try owner.seal()
        try owner.compact(nowMs: 1_500)
        #expect(try owner.records().map(\.key) == ["b", "c", "d"])
    }

    @Test func keylessRecordsGo() throws {
        try owner.append([(nil, "x"), ("a", "1")])
        try owner.seal()
        try owner.compact()
        #expect(try owner.records() == [Read(offset: 1, key: "a", value: "1")])
    }

    @Test func recordsOfAbortedTransactionsGoAndTheirMarkersFollowLater() throws {
        let producer = RecordBatchBuilder.Producer(id: 7, epoch: 0, baseSequence: 0)
        try owner.append([("a", "committed")])
        let first = try owner.append([("a", "aborted")], producer: producer, isTransactional: true)
        try owner.end(.abort, of: 7, first: first)
        // Another batch of the producer, so that the aborted one is not kept for its sequence.
        let second = RecordBatchBuilder.Producer(id: 7, epoch: 0, baseSequence: 1)
        let committed = try owner.append([("b", "1")], producer: second, isTransactional: true)
        try owner.end(.commit, of: 7, first: committed)
        try owner.seal()
        try owner.compact(nowMs: 1_000)
        #expect(try owner.records().map(\.value) == ["committed", "1"])
        // The marker is there as long as readers are told of the transaction.
        #expect(owner.aborted.count == 1)
        #expect(try owner.batches().count { $0.header.isControl } == 2)
        try owner.append([("c", "1")])
        try owner.seal()
        try owner.compact(nowMs: 2_000)
        #expect(owner.aborted.isEmpty)
        #expect(try owner.batches().contains { $0.header.isControl && $0.header.deleteHorizonMs == 2_500 })
        try owner.append([("c", "2")])
        try owner.seal()
        try owner.compact(nowMs: 2_500)
        #expect(try owner.batches().count { $0.header.isControl } == 1)
        #expect(try owner.records().map(\.value) == ["committed", "1", "2"])
    }

    @Test func nothingBeyondTheLastStableOffsetIsCleaned() throws {
        try owner.append([("a", "1"), ("a", "2")])
        try owner.seal()
        let open = try owner.append([("a", "3")], producer: .init(id: 7, epoch: 0, baseSequence: 0), isTransactional: true)
        try owner.append([("b", "1"), ("b", "2")])
        try owner.seal()
        try owner.compact(stable: open)
        #expect(try owner.records().map(\.value) == ["2", "3", "1", "2"])
    }

    @Test func theLastBatchOfALiveProducerStaysEmpty() throws {
        let producer = RecordBatchBuilder.Producer(id: 9, epoch: 3, baseSequence: 40)
        try owner.append([("a", "1"), ("b", "1")], producer: producer)
        try owner.append([("a", "2"), ("b", "2")])
        try owner.seal()
        try owner.compact()
        let empty = try #require(try owner.batches().first?.header)
        #expect(empty.recordCount == 0 && empty.lastOffset == 1 && empty.producerId == 9)
        #expect(empty.producerEpoch == 3 && empty.baseSequence == 40)
        // Once it has written something else, or is forgotten, the empty batch goes too.
        owner.producers = [:]
        try owner.append([("c", "1")])
        try owner.seal()
        try owner.compact()
        #expect(try owner.batches().allSatisfy { $0.header.recordCount > 0 })
    }

    @Test func aFullMapCleansAPrefixAndTheNextRoundsTheRest() throws {
        for round in 0..<3 {
            for key in 0..<10 { try owner.append([("k\(key)", "\(round)")]) }
        }
        try owner.seal()
        var rounds = 0
        while try owner.compact(keys: 4) != nil { rounds += 1 }
        #expect(rounds > 1)
        // What the last round saw is clean; older values that a full map could not tell may stay until they are dirty again.
        let records = try owner.records()
        for key in 0..<10 { #expect(records.last { $0.key == "k\(key)" }?.value == "2") }
        #expect(records.count < 30)
    }

    @Test func aBatchWithMoreKeysThanTheMapHoldsDoesNotStopCompaction() throws {
        try owner.append((0..<20).map { ("k\($0)", "1") })
        try owner.append((0..<20).map { ("k\($0)", "2") })
        try owner.seal()
        var rounds = 0
        while try owner.compact(keys: 3) != nil, rounds < 100 { rounds += 1 }
        #expect(rounds < 100)
        #expect(try owner.records().filter { $0.value == "2" }.count == 20)
    }

    @Test func smallNeighboursBecomeOneSegment() throws {
        for value in 0..<6 {
            try owner.append([("k\(value)", "v")])
            try owner.seal()
        }
        #expect(owner.log.sealed.count == 6)
        try owner.compact()
        #expect(owner.log.sealed.count == 1)
        #expect(try owner.records().count == 6)
        #expect(owner.log.sizeInBytes == owner.log.sealed[0].written.size)
    }

    @Test func recordsAreSafeForMinCompactionLag() throws {
        owner.log.configuration.minCompactionLagMs = 100
        try owner.append([("a", "1"), ("a", "2")], timestamp: 1_000)
        try owner.seal()
        try owner.append([("a", "3"), ("a", "4")], timestamp: 1_050)
        try owner.seal()
        #expect(owner.log.compactionState(nowMs: 1_099, lastStableOffset: .max)?.dirtyBytes == 0)
        try owner.compact(nowMs: 1_100)
        #expect(try owner.records().map(\.value) == ["2", "3", "4"])
    }

    @Test func maxCompactionLagRollsAndIsDue() throws {
        owner.log.configuration.maxCompactionLagMs = 100
        try owner.append([("a", "1"), ("a", "2")], timestamp: 1_000)
        try owner.log.write()
        #expect(try !owner.log.rollIfDue(nowMs: 1_100))
        #expect(try owner.log.rollIfDue(nowMs: 1_101))
        try owner.log.syncNow()
        #expect(owner.log.compactionState(nowMs: 1_101, lastStableOffset: .max)?.isOverdue == true)
        try owner.compact(nowMs: 1_101)
        #expect(try owner.records().map(\.value) == ["2"])
    }

    @Test func theDirtyShareCountsFromWhereTheLastRoundEnded() throws {
        try owner.append([("a", "1")])
        try owner.seal()
        #expect(owner.log.compactionState(nowMs: 0, lastStableOffset: .max)?.dirtyRatio == 1)
        try owner.compact()
        #expect(owner.log.compactionState(nowMs: 0, lastStableOffset: .max)?.dirtyRatio == 0)
        try owner.append([("b", "1")])
        try owner.seal()
        let ratio = try #require(owner.log.compactionState(nowMs: 0, lastStableOffset: .max)?.dirtyRatio)
        #expect(abs(ratio - 0.5) < 0.01)
    }

    @Test func aReaderThatHoldsAReplacedFileReadsOn() throws {
        try owner.append([("a", "1"), ("a", "2")])
        try owner.seal()
        let slice = try #require(try owner.log.read(from: 0, maxBytes: 1000))
        try owner.compact()
        var bytes = ByteBuffer()
        try slice.read(into: &bytes)
        #expect(bytes.readableBytes == slice.length)
        #expect(BatchHeader(bytes)?.recordCount == 2)
    }

    @Test func deletedRecordsStopARoundUnderWay() throws {
        for value in 0..<50 { try owner.append([("k\(value)", "v")]) }
        try owner.seal()
        try owner.append([("z", "z")])
        try owner.log.write()
        try owner.log.syncNow()
        let context = CompactionContext(nowMs: 0, lastStableOffset: .max, producers: [:], aborted: [])
        let round = try #require(try LogCompaction(owner.log, owner: owner, context: context))
        _ = try round.run(bytes: 1)
        try owner.log.deleteRecords(before: 50)
        #expect(throws: StorageError(.closed, "")) { while try !round.run(bytes: 1) {} }
        #expect(try owner.records().map(\.key) == ["z"])
        #expect(try !files.list("t-0").contains { $0.hasSuffix(".cleaned") || $0.hasSuffix(".swap") })
    }

    @Test func aLogWithDamageIsLeftAlone() throws {
        try owner.append([("a", "1"), ("a", "2")])
        try owner.seal()
        let file = try files.open("t-0/00000000000000000000.log", create: false)
        try file.write(ByteBuffer(bytes: [0xff]), at: 70)
        #expect(throws: StorageError(.corrupt, "")) { try owner.compact() }
        #expect(try !files.list("t-0").contains { $0.hasSuffix(".cleaned") || $0.hasSuffix(".swap") })
        let size = try file.size()
        #expect(owner.log.sealed.count == 1 && owner.log.sealed[0].written.size == size)
    }

    @Test func segmentsThatBecameEmptyKeepTheStartAndVanishInTheirNeighbour() throws {
        owner.log.configuration.segmentBytes = 150
        for value in 0..<8 {
            try owner.append([("a", String(repeating: "\(value)", count: 60))])
            try owner.seal()
        }
        try owner.compact()
        #expect(owner.log.startOffset == 0)
        #expect(try owner.records().map(\.offset) == [7])
        #expect(try owner.log.applyRetention(nowMs: .max >> 1) == 0)
        #expect(try owner.records(from: 0).map(\.offset) == [7])
    }
}
