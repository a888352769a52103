// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: rolling, retention and deleted records.

import Glibc
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Rolling and retention")
struct LogRetentionTests {
    private let files = SimulatedFileSystem(seed: 9)

    private func makeLog(_ change: (inout LogConfiguration) -> Void) -> Log {
        var configuration = LogConfiguration()
        configuration.retentionMs = -1
        change(&configuration)
        return Log("r-0", files, configuration: configuration)
    }

    /// One-record batches of 200 bytes with these timestamps.
    private func append(_ timestamps: [Int64], to log: Log) throws {
        for timestamp in timestamps { try log.append(TestBatch.sized(200, timestamp: timestamp)) }
        try log.write()
    }

    private func bases(_ log: Log) -> [Int64] { log.sealed.map(\.baseOffset) + (log.active.map { [$0.baseOffset] } ?? []) }

    @Test func aSegmentIsRolledBeforeItWouldGrowTooLarge() throws {
        let log = makeLog { $0.segmentBytes = 600 }
        try append([1, 2, 3, 4, 5, 6, 7], to: log)
        #expect(bases(log) == [0, 3, 6])
        #expect(log.sizeInBytes == 1_400)
    }

    @Test func aBatchLargerThanASegmentGetsOneOfItsOwn() throws {
        let log = makeLog { $0.segmentBytes = 100 }
        try append([1, 2], to: log)
        #expect(bases(log) == [0, 1])
    }

    @Test func aSegmentIsRolledWhenARecordIsMuchYoungerThanItsFirst() throws {
        let log = makeLog { $0.segmentMs = 100 }
        try append([1_000, 1_100, 1_101, 1_050], to: log)
        #expect(bases(log) == [0, 2])
    }

    @Test func aSegmentIsRolledBeforeRelativeOffsetsWouldOverflow() throws {
        let log = makeLog { _ in }
        var batch = TestBatch()
        batch.bytes.setInteger(Int32.max - 1, at: 23)
        batch.header = try #require(BatchHeader(batch.bytes))
        #expect(try log.append(batch) == 0)
        #expect(try log.append(TestBatch()) == Int64(Int32.max))
        #expect(try log.append(TestBatch()) == Int64(Int32.max) + 1)
        #expect(bases(log) == [0, Int64(Int32.max) + 1])
    }

    @Test func anIdleSegmentIsRolledByTheClock() throws {
        let log = makeLog { $0.segmentMs = 100 }
        try append([1_000, 1_010], to: log)
        #expect(try log.applyRetention(nowMs: 1_100) == 0)
        #expect(log.active?.baseOffset == 0)
        #expect(try log.applyRetention(nowMs: 1_101) == 0)
        #expect(log.active == nil && bases(log) == [0])
        try append([1_200], to: log)
        #expect(bases(log) == [0, 2])
    }

    @Test func segmentsGoWhenTheirNewestRecordIsTooOld() throws {
        let log = makeLog { $0.segmentBytes = 400; $0.retentionMs = 1_000 }
        try append([100, 900, 200, 300, 5_000, 5_001, 5_002], to: log)
        #expect(bases(log) == [0, 2, 4, 6])
        #expect(try log.applyRetention(nowMs: 1_900) == 0)
        // The first segment's newest record is younger than the second's, and the row must not have a hole.
        #expect(try log.applyRetention(nowMs: 1_901) == 2)
        #expect(log.startOffset == 4 && bases(log) == [4, 6])
        #expect(log.sizeInBytes == 600)
        #expect(throws: StorageError(.offsetOutOfRange, "")) { try log.read(from: 3, maxBytes: 1) }
    }

    @Test func anExpiredActiveSegmentIsRolledFirstAndTheOffsetsGoOn() throws {
        let log = makeLog { $0.retentionMs = 1_000 }
        try append([100, 200], to: log)
        #expect(try log.applyRetention(nowMs: 2_000) == 1)
        #expect(log.startOffset == 2 && log.endOffset == 2 && log.sizeInBytes == 0)
        #expect(try log.append(TestBatch()) == 2)
        try log.write()
        #expect(try log.bytes(from: 2) == TestBatch().stored(at: 2))
    }

    @Test func anEmptiedLogRemembersItsOffsetsOverARestart() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            var configuration = LogConfiguration()
            configuration.retentionMs = 1_000
            let log = try directory.openLog("r-0", configuration)
            try append([100, 200], to: log)
            try log.syncNow()
            #expect(try log.applyRetention(nowMs: 2_000) == 1)
            directory.runBackgroundWork()
        }
        files.crash(.loseUnsynced)
        #expect(try files.list("r-0").filter { $0.hasSuffix(".log") } == ["00000000000000000002.log"])
        let log = try DataDirectory.quiet(files).openLog("r-0")
        #expect(log.startOffset == 2 && log.endOffset == 2)
    }

    @Test func droppedSegmentsGoOneByOneTheOldestFirst() throws {
        let log = makeLog { $0.segmentBytes = 400; $0.retentionMs = 1_000; $0.fileDeleteDelayMs = 0 }
        try append([1, 2, 3, 4, 5, 6, 7, 8, 5_000], to: log)
        try log.syncNow()
        #expect(try log.applyRetention(nowMs: 5_000) == 4)
        func onDisk() throws -> [String] { try files.list("r-0").filter { $0.hasSuffix(".log") }.sorted() }
        for left in [4, 3, 2] {
            #expect(try log.environment.removals.run(nowMs: 9_000, while: { false }))
            #expect(try onDisk().count == left)
            // Each is durable: a crash leaves the newest ones.
            files.crash(.loseUnsynced)
            #expect(try onDisk().count == left && onDisk().last == "00000000000000000008.log")
        }
        // The last one, and that there are no more.
        #expect(try log.environment.removals.run(nowMs: 9_000, while: { false }))
        #expect(try !log.environment.removals.run(nowMs: 9_000, while: { false }))
        #expect(try onDisk() == ["00000000000000000008.log"])
    }

    @Test func recordsWithoutATimestampCountFromWhenTheyWereSeen() throws {
        let log = makeLog { $0.retentionMs = 1_000 }
        try append([-1], to: log)
        #expect(try log.applyRetention(nowMs: 50_000) == 0)
        #expect(try log.applyRetention(nowMs: 51_000) == 0)
        #expect(try log.applyRetention(nowMs: 51_001) == 1)
    }

    @Test func theOldestSegmentsGoWhenTheLogIsTooLarge() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...11), to: log)
        log.configuration.retentionBytes = 1_000
        #expect(try log.applyRetention(nowMs: 0) == 3)
        #expect(bases(log) == [6, 8, 10] && log.sizeInBytes == 1_000)
        log.configuration.retentionBytes = 999
        // Only a segment that is surplus as a whole goes.
        #expect(try log.applyRetention(nowMs: 0) == 0)
        log.configuration.retentionBytes = 600
        #expect(try log.applyRetention(nowMs: 0) == 1)
    }

    @Test func withoutLimitsNothingGoes() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...11), to: log)
        #expect(try log.applyRetention(nowMs: .max / 2) == 0)
    }

    @Test func deletedRecordsAreOutOfReachAndWholeSegmentsGo() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...7), to: log)
        try log.deleteRecords(before: 3)
        #expect(log.startOffset == 3 && bases(log) == [2, 4, 6])
        #expect(throws: StorageError(.offsetOutOfRange, "")) { try log.read(from: 2, maxBytes: 1) }
        #expect(try log.bytes(from: 3, maxBytes: 1) != nil)
        try log.deleteRecords(before: 1)
        #expect(log.startOffset == 3)
        try log.deleteRecords(before: 7)
        #expect(log.startOffset == 7 && log.sizeInBytes == 0)
        #expect(throws: StorageError(.offsetOutOfRange, "")) { try log.deleteRecords(before: 8) }
        #expect(try log.append(TestBatch()) == 7)
    }

    @Test func deletedRecordsStayDeletedAfterARestart() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("r-0")
            try append(Array(1...7), to: log)
            try log.deleteRecords(before: 3)
            try log.syncNow()
            try directory.saveCheckpoint([log.checkpoint()])
        }
        files.crash(.loseUnsynced)
        let log = try DataDirectory.quiet(files).openLog("r-0")
        #expect(log.startOffset == 3 && log.endOffset == 7)
    }

    /// The round that follows answers for them, and their files stay for a while.
    @Test func recordsThatAreDeletedBeforeTheirSyncCannotCostOffsets() throws {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 400
        do {
            let log = try DataDirectory.quiet(files).openLog("r-0", configuration)
            try append(Array(1...5), to: log)
            try log.deleteRecords(before: 5)
            try log.syncNow()
            #expect(log.syncedEndOffset == 5)
        }
        files.crash(.processKilled)
        #expect(try DataDirectory.quiet(files).openLog("r-0", configuration).endOffset == 5)
        files.crash(.loseUnsynced)
        #expect(try DataDirectory.quiet(files).openLog("r-0", configuration).endOffset == 5)
    }

    @Test func filesGoInTheBackgroundAndASliceCanStillBeRead() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...7), to: log)
        let slice = try #require(try log.read(from: 0, maxBytes: 400))
        try log.deleteRecords(before: 6)
        #expect(try files.exists("r-0/00000000000000000000.log"))
        try log.environment.removals.run()
        #expect(
            try Set(files.list("r-0")) == ["00000000000000000006.log"])
        var bytes = ByteBuffer()
        try slice.read(into: &bytes)
        #expect(bytes.readableBytes == 400)
    }

    /// Whatever a crash leaves of the removal, what is left has no hole.
    @Test func segmentsAreRemovedOldestFirst() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...9), to: log)
        try log.syncNow()
        try log.deleteRecords(before: 8)
        files.startRecording()
        try log.environment.removals.run()
        let removed = files.recorded.filter { $0.path.hasSuffix(".log") || $0.operation == .syncDirectory }
        #expect(
            removed.map { $0.operation == .syncDirectory ? "sync" : String($0.path.suffix(5).prefix(1)) }
                == ["sync", "0", "sync", "2", "sync", "4", "sync", "6", "sync"])
    }

    @Test func aRemovalThatFailsIsReported() throws {
        let log = makeLog { $0.segmentBytes = 400 }
        try append(Array(1...7), to: log)
        try log.deleteRecords(before: 6)
        files.inject(SimulatedFault(.remove, times: 1, errno: EIO))
        #expect(throws: StorageError(.inputOutput, "")) { try log.environment.removals.run() }
    }
}
