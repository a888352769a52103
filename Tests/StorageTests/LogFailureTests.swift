// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: full disks and failing calls.

import Bytes
import Glibc
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Failing disks")
struct LogFailureTests {
    private let files = SimulatedFileSystem(seed: 5)
    private let log: Log
    private let small = TestBatch(timestamps: [1, 2], valueSize: 100)
    private let large = TestBatch(timestamps: [3], valueSize: 30_000)

    init() {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 100_000
        log = Log("f-0", files, configuration: configuration)
    }

    @Test func aFullDiskFailsTheWriteAndTheLogGoesOnWhenThereIsSpace() throws {
        try log.append(small)
        try log.write()
        let size = log.sizeInBytes
        for room in stride(from: 0, to: Int64(small.bytes.readableBytes * 2), by: 37) {
            files.limitCapacity(to: files.usedBytes + room)
            #expect(try log.append(small) == 2)
            #expect(try log.append(small) == 4)
            #expect(throws: StorageError(.full, "")) { try log.write() }
            #expect(log.endOffset == 2 && log.writtenEndOffset == 2 && log.failure == nil)
            #expect(try files.open("f-0/00000000000000000000.log", create: false).size() == size)
            files.limitCapacity(to: nil)
        }
        #expect(try log.append(small) == 2)
        try log.write()
        #expect(try log.bytes(from: 2) == small.stored(at: 2))
    }

    /// A batch that fitted is refused with the one that did not, and a power cut must not bring it back.
    @Test func whatAFullDiskRefusedDoesNotComeBackWithAPowerCut() throws {
        for seed in UInt64(0)..<50 {
            let files = SimulatedFileSystem(seed: seed)
            do {
                let log = try DataDirectory.quiet(files).openLog("f-0")
                try log.append(small)
                try log.write()
                try log.syncNow()
                files.limitCapacity(to: files.usedBytes + Int64(small.bytes.readableBytes + 50))
                try log.append(small)
                try log.append(small)
                #expect(throws: StorageError(.full, "")) { try log.write() }
            }
            files.crash(.arbitrary)
            files.limitCapacity(to: nil)
            #expect(try DataDirectory.quiet(files).openLog("f-0").endOffset == 2, "seed \(seed)")
        }
    }

    @Test func aLargeBatchThatDoesNotFitTakesWhatWaitedWithIt() throws {
        try log.append(small)
        try log.write()
        try log.append(small)
        files.limitCapacity(to: files.usedBytes + 20_000)
        #expect(throws: StorageError(.full, "")) { try log.append(large) }
        #expect(log.endOffset == 2)
        #expect(throws: Never.self) { try log.write() }
        files.limitCapacity(to: nil)
        #expect(try log.append(large) == 2)
        #expect(try log.bytes(from: 2) == large.stored(at: 2))
    }

    /// Index entries and timestamps of what was refused must be gone too.
    @Test func whatWasRefusedLeavesNoTraceInTheIndexes() throws {
        for number in 0..<10 { try log.append(TestBatch.sized(1_000, timestamp: Int64(number))) }
        try log.write()
        let before = (log.active?.index.offsets, log.active?.index.times, log.active?.extent)
        files.limitCapacity(to: files.usedBytes)
        for number in 0..<10 { try log.append(TestBatch.sized(1_000, timestamp: 1_000 + Int64(number))) }
        #expect(throws: StorageError(.full, "")) { try log.write() }
        #expect(log.active?.index.offsets == before.0)
        #expect(log.active?.index.times == before.1)
        #expect(log.active?.extent == before.2)
        #expect(try log.offsetOfMaxTimestamp()?.timestamp == 9)
    }

    @Test(arguments: [SimulatedOperation.makeDirectory, .create])
    func aDiskTooFullForANewFileIsNotTheEndOfTheLog(operation: SimulatedOperation) throws {
        files.inject(SimulatedFault(operation, path: "f-0", times: 1, errno: ENOSPC))
        try log.append(small)
        #expect(throws: StorageError(.full, "")) { try log.write() }
        #expect(log.endOffset == 0 && log.failure == nil)
        #expect(try log.append(small) == 0)
        try log.write()
        #expect(try log.bytes(from: 0) == small.stored(at: 0))
    }

    /// Nothing was tried, so nothing has failed: the directories are synced by the next round.
    @Test func aDirectoryThatFindsNoDescriptorIsSyncedByTheNextRound() throws {
        files.inject(SimulatedFault(.syncDirectory, path: "f-0", times: 1, errno: EMFILE))
        try log.append(small)
        try log.write()
        #expect(throws: StorageError(.tooManyOpenFiles, "")) { try log.syncAlone() }
        #expect(log.failure == nil && log.syncedEndOffset == 0)
        try log.syncAlone()
        #expect(log.syncedEndOffset == 2)
        files.crash(.loseUnsynced)
        #expect(try files.open("f-0/00000000000000000000.log", create: false).size() == Int64(small.bytes.readableBytes))
    }

    @Test func theProcessLimitOnFileSizesIsAFullDisk() throws {
        try log.append(small)
        try log.write()
        files.inject(SimulatedFault(.write, path: "f-0", times: 1, errno: EFBIG))
        try log.append(small)
        #expect(throws: StorageError(.full, "")) { try log.write() }
        #expect(log.failure == nil && log.endOffset == 2)
        #expect(try log.append(small) == 2)
        try log.write()
    }

    @Test func aFullDiskWhileRollingRefusesTheBatchAndTheNextOneRolls() throws {
        for _ in 0..<3 { try log.append(large) }
        files.inject(SimulatedFault(.create, path: "00000000000000000003.log", times: 1, errno: ENOSPC))
        #expect(throws: StorageError(.full, "")) { try log.append(large) }
        #expect(log.endOffset == 3)
        #expect(try log.append(large) == 3)
        #expect(try log.bytes(from: 3) == large.stored(at: 3))
        #expect(log.sealed.count == 1)
    }

    @Test func aFailedWriteMakesTheLogReadOnly() throws {
        try log.append(small)
        try log.write()
        files.inject(SimulatedFault(.write, path: ".log", times: 1))
        try log.append(small)
        #expect(throws: StorageError(.readOnly, "")) { try log.write() }
        #expect(log.failure?.errno == EIO)
        #expect(log.failure?.message.contains("f-0/00000000000000000000.log: Input/output error") == true)
        #expect(throws: StorageError(.readOnly, "")) { try log.append(small) }
        #expect(throws: StorageError(.readOnly, "")) { try log.write() }
        #expect(throws: StorageError(.readOnly, "")) { try log.deleteRecords(before: 1) }
        #expect(try log.bytes(from: 0) == small.stored(at: 0))
        #expect(log.endOffset == 2)
    }

    @Test func aFullDiskThatCannotBeTakenBackMakesTheLogReadOnly() throws {
        try log.append(small)
        try log.write()
        files.limitCapacity(to: files.usedBytes + 10)
        files.inject(SimulatedFault(.truncate, times: 1))
        try log.append(small)
        #expect(throws: StorageError(.readOnly, "")) { try log.write() }
        #expect(log.failure != nil)
    }

    @Test func anIndexThatCannotBeWrittenIsNoFailure() throws {
        files.inject(SimulatedFault(nil, path: "index"))
        for _ in 0..<8 { try log.append(large) }
        #expect(log.sealed.count == 2 && log.failure == nil)
        files.removeFaults()
        for offset in Int64(0)..<8 { #expect(try log.bytes(from: offset, maxBytes: 1) == large.stored(at: offset)) }
    }

    @Test func whatWaitsWhenASyncFailsIsDropped() throws {
        try log.append(small)
        try log.write()
        try log.append(small)
        files.inject(SimulatedFault(.sync, times: 1))
        #expect(throws: StorageError(.inputOutput, "")) { try log.syncNow() }
        #expect(log.endOffset == 2)
        #expect(throws: StorageError(.readOnly, "")) { try log.write() }
    }

    /// After one failed sync the kernel calls others of the same data done.
    @Test func aSyncThatSucceedsWhileAnotherOneFailedProvesNothing() throws {
        try log.append(small)
        try log.write()
        let round = try #require(log.beginSync())
        log.failSync(StorageError(.inputOutput, "a sync beside the round"))
        log.endSync(round, failure: nil)
        #expect(log.syncedEndOffset == 0 && log.failure != nil)
        #expect(throws: StorageError.self) { try log.syncAlone() }
    }

    @Test func aDirectoryThatHadNoRoomForItsIdGetsOneBeforeTheFirstRecord() throws {
        let id = TopicId(high: 1, low: 2)
        let directory = try DataDirectory.quiet(files)
        let first = try directory.openLog("g-0", topicId: id, configuration: LogConfiguration())
        try first.append(small)
        files.inject(SimulatedFault(.write, path: PartitionMetadata.fileName, times: 1, errno: ENOSPC))
        #expect(throws: StorageError(.full, "")) { try first.write() }
        try directory.close([first.close()])
        let again = try DataDirectory.quiet(files).openLog("g-0", topicId: id, configuration: LogConfiguration())
        try again.append(small)
        try again.write()
        #expect(try PartitionMetadata.topicId(at: "g-0/\(PartitionMetadata.fileName)", in: files) == id)
    }

    @Test func aReadThatFailsIsReportedAndDoesNotHarmTheLog() throws {
        try log.append(small)
        try log.append(small)
        try log.write()
        files.inject(SimulatedFault(.read, path: ".log", times: 1))
        #expect(throws: StorageError(.inputOutput, "")) { try log.read(from: 0, maxBytes: 1) }
        #expect(try log.bytes(from: 0, maxBytes: 1) == small.stored(at: 0))
        #expect(log.failure == nil)
    }

    // MARK: Damage in a log that is in use

    @Test func damageThatAReadMeetsIsQuarantinedAndTheRestIsServed() throws {
        let size = small.bytes.readableBytes
        for _ in 0..<5 { try log.append(small) }
        try log.write()
        // The magic byte of the third batch.
        files.flipBit(0, ofByte: 2 * size + 16, in: "f-0/00000000000000000000.log")
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 4, maxBytes: 1) }
        #expect(log.quarantined.map(\.offsets) == [4..<6])
        #expect(try log.bytes(from: 0)?.readableBytes == 2 * size)
        #expect(try log.bytes(from: 6)?.readableBytes == 2 * size)
        #expect(try log.append(small) == 10)
        try log.write()
        #expect(try log.bytes(from: 10) == small.stored(at: 10))
        #expect(String(decoding: try files.contents("f-0/quarantine"), as: UTF8.self).hasPrefix("offsets 4..<6 "))
    }

    @Test func readingAlongMeetsTheSameDamage() throws {
        let size = small.bytes.readableBytes
        for _ in 0..<5 { try log.append(small) }
        try log.write()
        files.flipBit(0, ofByte: 2 * size + 16, in: "f-0/00000000000000000000.log")
        #expect(try log.bytes(from: 0, maxBytes: size)?.readableBytes == size)
        #expect(try log.bytes(from: 2, maxBytes: size)?.readableBytes == size)
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 4, maxBytes: size) }
        #expect(try log.bytes(from: 6, maxBytes: size) == small.stored(at: 6))
    }
}
