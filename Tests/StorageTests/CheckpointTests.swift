// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: what the checkpoint spares a start, and when it is not believed.

import Bytes
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Checkpoints")
struct CheckpointTests {
    private let files = SimulatedFileSystem(seed: 1)
    private let batch = TestBatch(timestamps: [5, 6], valueSize: 100)
    private var size: Int { batch.bytes.readableBytes }

    private var small: LogConfiguration {
        var configuration = LogConfiguration()
        configuration.segmentBytes = Int64(10 * size)
        configuration.indexIntervalBytes = 300
        return configuration
    }

    /// Appends `count` batches of two records.
    private func fill(_ log: Log, _ count: Int) throws {
        for _ in 0..<count { try log.append(batch) }
        try log.write()
    }

    private func expectAll(_ log: Log, from start: Int64 = 0, to end: Int64) throws {
        #expect(log.endOffset == end)
        for offset in stride(from: start, to: end, by: 2) {
            #expect(try log.bytes(from: offset, maxBytes: 1) == batch.stored(at: offset))
        }
    }

    @Test func aCleanStartReadsTheSameFewFilesWhateverTheNumberOfLogs() throws {
        for count in [1, 50] {
            let files = SimulatedFileSystem(seed: 2)
            var directory = try DataDirectory.quiet(files)
            var logs = try (0..<count).map { try directory.openLog("t-\($0)", small) }
            for log in logs { try fill(log, 30) }
            try directory.close(logs.map { $0.close() })
            files.startRecording()
            directory = try DataDirectory.quiet(files)
            logs = try (0..<count).map { try directory.openLog("t-\($0)", small) }
            #expect(files.recorded.map(\.path) == ["martlet.properties", "martlet.checkpoint", "martlet.clean"])
            #expect(files.recorded.allSatisfy { $0.operation == .read })
            for log in logs { try expectAll(log, to: 60) }
        }
    }

    @Test func aStartAfterAKillReadsOnlyWhatLiesAfterTheRecoveryPoint() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 25)
            try log.syncNow()
            try fill(log, 2)
            try directory.saveCheckpoint([log.checkpoint()])
            try fill(log, 1)
        }
        files.crash(.keepUnsynced)
        let directory = try DataDirectory.quiet(files)
        files.startRecording()
        let log = try directory.openLog("a-0", small)
        let reads = files.recorded.filter { $0.operation == .read && $0.path.hasSuffix(".log") }
        #expect(Set(reads.map(\.path)) == ["a-0/00000000000000000040.log"])
        #expect(reads.allSatisfy { $0.offset >= Int64(5 * size) })
        try expectAll(log, to: 56)
        #expect(log.syncedEndOffset == 50)
    }

    @Test func aLogThatTheCheckpointDoesNotKnowIsScanned() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let known = try directory.openLog("known-0", small)
            try fill(known, 3)
            try directory.saveCheckpoint([known.checkpoint()])
            try fill(try directory.openLog("new-0", small), 25)
        }
        let directory = try DataDirectory.quiet(files)
        try expectAll(try directory.openLog("new-0", small), to: 50)
        try expectAll(try directory.openLog("known-0", small), to: 6)
    }

    @Test func aDamagedCheckpointIsIgnored() throws {
        for flipped in [0, 20, 60] {
            let files = SimulatedFileSystem(seed: 3)
            do {
                let directory = try DataDirectory.quiet(files)
                let log = try directory.openLog("a-0", small)
                try fill(log, 25)
                try directory.close([log.close()])
            }
            files.flipBit(3, ofByte: flipped, in: CheckpointFile.path)
            let directory = try DataDirectory.quiet(files)
            #expect(!directory.wasCleanlyClosed)
            try expectAll(try directory.openLog("a-0", small), to: 50)
        }
    }

    @Test func aCleanMarkOfAnotherCheckpointDoesNotCount() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 3)
            try directory.close([log.close()])
        }
        try AtomicFile.replace(CleanMark.path, with: ByteBuffer(string: "checkpoint=1\n"), in: files)
        #expect(try !DataDirectory.quiet(files).wasCleanlyClosed)
    }

    @Test func durableRecordsThatAreMissingAfterACrashAreQuarantinedAndTheirOffsetsStayUsed() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 25)
            try log.syncNow()
            try directory.saveCheckpoint([log.checkpoint()])
        }
        try files.open("a-0/00000000000000000040.log", create: false).truncate(to: Int64(3 * size + 5))
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.map(\.offsets) == [46..<50])
        #expect(try log.bytes(from: 44, maxBytes: 1) == batch.stored(at: 44))
        #expect(try log.append(batch) == 50)
        try log.write()
        #expect(try log.bytes(from: 50) == batch.stored(at: 50))
    }

    @Test func aTrustedSegmentThatIsMissingOrShorterIsQuarantined() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 35)
            try log.syncNow()
            try directory.saveCheckpoint([log.checkpoint()])
        }
        try files.open("a-0/00000000000000000020.log", create: false).truncate(to: Int64(2 * size))
        try files.remove("a-0/00000000000000000040.log")
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.map(\.offsets) == [24..<40, 40..<60])
        #expect(try log.bytes(from: 22, maxBytes: 1) == batch.stored(at: 22))
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 50, maxBytes: 1) }
        #expect(try log.bytes(from: 60, maxBytes: 1) == batch.stored(at: 60))
        #expect(log.endOffset == 70)
    }

    @Test func filesChangedWhileTheBrokerWasStoppedAreNoticedAtFirstUse() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 25)
            try directory.close([log.close()])
        }
        try files.open("a-0/00000000000000000040.log", create: false).truncate(to: Int64(size))
        try files.remove("a-0/00000000000000000020.log")
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.endOffset == 50 && log.quarantined.isEmpty)
        #expect(try log.bytes(from: 18) == batch.stored(at: 18))
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 20, maxBytes: 1) }
        #expect(try log.append(batch) == 50)
        try log.write()
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 48, maxBytes: 1) }
        #expect(try log.bytes(from: 40) == batch.stored(at: 40))
        #expect(try log.bytes(from: 50) == batch.stored(at: 50))
        #expect(log.quarantined.map(\.offsets) == [20..<40, 42..<50])
    }

    @Test func bytesThatNobodyWroteAreLeftAndWritingGoesOnInANewSegment() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            try fill(log, 3)
            try directory.close([log.close()])
        }
        let path = "a-0/00000000000000000000.log"
        try files.open(path, create: false).write(ByteBuffer(string: "stray"), at: Int64(3 * size))
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(try log.append(batch) == 6)
        try log.write()
        try expectAll(log, to: 8)
        #expect(try files.contents(path).count == 3 * size + 5)
        #expect(try files.exists("a-0/00000000000000000006.log"))
    }

    @Test func quarantinedRangesSurviveACleanRestart() throws {
        do {
            let log = try DataDirectory.quiet(files).openLog("a-0", small)
            try fill(log, 25)
        }
        files.flipBit(1, ofByte: 2 * size + 50, in: "a-0/00000000000000000000.log")
        do {
            let directory = try DataDirectory.quiet(files)
            let log = try directory.openLog("a-0", small)
            #expect(log.quarantined.map(\.offsets) == [4..<6])
            try directory.close([log.close()])
        }
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.map(\.offsets) == [4..<6])
        #expect(try log.bytes(from: 0)?.readableBytes == 2 * size)
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 4, maxBytes: 1) }
        #expect(try log.bytes(from: 6, maxBytes: 1) == batch.stored(at: 6))
    }

    @Test func aLogThatFailedIsRecoveredAfterACleanShutdownAndTheOthersAreNot() throws {
        do {
            let directory = try DataDirectory.quiet(files)
            let good = try directory.openLog("good-0", small)
            let bad = try directory.openLog("bad-0", small)
            try fill(good, 3)
            try fill(bad, 3)
            files.inject(SimulatedFault(.sync, path: "bad-0", times: 1))
            try directory.close([good.close(), bad.close()])
        }
        let directory = try DataDirectory.quiet(files)
        files.startRecording()
        let good = try directory.openLog("good-0", small)
        #expect(files.recorded.isEmpty)
        let bad = try directory.openLog("bad-0", small)
        #expect(files.recorded.contains { $0.operation == .write && $0.path.hasPrefix("bad-0/") })
        try expectAll(good, to: 6)
        try expectAll(bad, to: 6)
        // What was read back was written again, so a power cut takes nothing more.
        #expect(bad.syncedEndOffset == 6)
        files.crash(.loseUnsynced)
        try expectAll(try DataDirectory.quiet(files).openLog("bad-0", small), to: 6)
    }

    @Test func nothingIsWrittenWhileNothingChanges() throws {
        let directory = try DataDirectory.quiet(files)
        let log = try directory.openLog("a-0", small)
        try fill(log, 3)
        try log.syncNow()
        try directory.saveCheckpoint([log.checkpoint()])
        files.startRecording()
        try directory.saveCheckpoint([log.checkpoint()])
        #expect(files.recorded.isEmpty)
        try fill(log, 1)
        try log.syncNow()
        try directory.saveCheckpoint([log.checkpoint()])
        #expect(files.recorded.contains { $0.operation == .rename })
    }

    @Test func theFileReadsWhatItWroteAndRefusesEveryDamage() throws {
        var extent = SegmentExtent(baseOffset: 7)
        extent.size = 1234
        extent.nextOffset = 99
        extent.maxTimestamp = 55
        extent.offsetOfMaxTimestamp = 50
        extent.firstTimestamp = -3
        let logs = [
            LogCheckpoint(
                name: "empty-0", topicId: .zero, isComplete: true, hasActive: false, startOffset: 0, endOffset: 0,
                segments: [], quarantined: []),
            LogCheckpoint(
                name: "full-1", topicId: TopicId(high: 1, low: 2), isComplete: false, hasActive: true,
                startOffset: 3, endOffset: 99, segments: [RecoveryPoint(segment: 7, extent: extent)],
                quarantined: [QuarantinedRange(offsets: 8..<9, segment: 7, positions: 10..<20, reason: "torn")]),
        ]
        let (bytes, checksum) = CheckpointFile.encode(logs)
        let decoded = try #require(CheckpointFile.decode(bytes))
        #expect(decoded.logs == logs && decoded.checksum == checksum)
        for length in 0..<bytes.readableBytes {
            #expect(CheckpointFile.decode(try #require(bytes.getSlice(at: 0, length: length))) == nil)
        }
        for index in 0..<bytes.readableBytes {
            var damaged = bytes
            damaged.setInteger(try #require(bytes.getInteger(at: index, as: UInt8.self)) ^ 1, at: index)
            #expect(CheckpointFile.decode(damaged) == nil)
        }
    }
}
