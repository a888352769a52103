// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: few descriptors for many files, on the real file system.

import Bytes
import Glibc
import NIOCore
import Synchronization
import Testing

@testable import Storage

@Suite("Open files")
struct FilePoolTests {
    private let place: TemporaryDirectory

    init() throws { place = try TemporaryDirectory() }

    private func files(limit: Int) throws -> RealFileSystem {
        try RealFileSystem(root: place.path, pool: FilePool(limit: limit))
    }

    private func segmented(_ name: String, _ files: any FileSystem) -> Log {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 2_000
        return Log(name, files, configuration: configuration)
    }

    @Test func moreFilesThanTheLimitAreReadAndWritten() throws {
        let files = try files(limit: 3)
        let open = try (0..<20).map { try files.open("f\($0)", create: true) }
        for round in 0..<3 {
            for (number, file) in open.enumerated() {
                try file.write(ByteBuffer(string: "\(number)/\(round) "), at: Int64(6 * round))
                #expect(files.pool.openCount <= 3)
            }
        }
        for (number, file) in open.enumerated() {
            let text = String(decoding: try file.readAll(limit: 100).filter { $0 != 0 }, as: UTF8.self)
            #expect(text == "\(number)/0 \(number)/1 \(number)/2 ")
        }
        #expect(files.pool.reopenedCount > 0)
        #expect(files.pool.openCount <= 3)
    }

    @Test func aFileThatNobodyHasIsClosed() throws {
        let files = try files(limit: 10)
        var open = try (0..<5).map { try files.open("f\($0)", create: true) }
        #expect(files.pool.openCount == 5)
        open.removeLast(2)
        #expect(files.pool.openCount == 3)
        open = []
        #expect(files.pool.openCount == 0)
    }

    /// A file that is used between two looks of the clock stays, one that is not goes.
    @Test func theFileThatIsUsedStaysOpen() throws {
        let files = try files(limit: 4)
        let busy = try files.open("busy", create: true)
        let others = try (0..<40).map { number in
            _ = try busy.size()
            return try files.open("f\(number)", create: true)
        }
        #expect(files.pool.reopenedCount <= others.count / 4)
    }

    /// A reply that is under way keeps its descriptor, and its bytes, whatever becomes of the log's file.
    @Test func aPinnedFileStaysReadableWhenThePoolClosesIt() throws {
        let files = try files(limit: 2)
        let file = try files.open("f", create: true)
        try file.write(ByteBuffer(string: "on its way"), at: 0)
        let pinned = try file.pinned()
        let descriptor = try #require(pinned.descriptor)
        let others = try (0..<6).map { try files.open("g\($0)", create: true) }
        try files.remove("f")
        #expect(String(decoding: try pinned.readAll(limit: 20), as: UTF8.self) == "on its way")
        #expect(pinned.descriptor == descriptor)
        #expect(fcntl(descriptor, F_GETFD) >= 0)
        withExtendedLifetime((file, others)) {}
    }

    @Test func aDescriptorThatIsPinnedCountsUntilItIsLetGo() throws {
        let files = try files(limit: 8)
        var pinned: (any File)? = try files.open("f", create: true).pinned()
        #expect(files.pool.openCount == 1)
        #expect(pinned?.descriptor != nil)
        pinned = nil
        #expect(files.pool.openCount == 0)
    }

    @Test func aFileThatWasReplacedWhileItWasClosedIsRefused() throws {
        let files = try files(limit: 1)
        let file = try files.open("f", create: true)
        try file.write(ByteBuffer(string: "mine"), at: 0)
        let other = try files.open("other", create: true)
        _ = try other.size()
        try files.rename("other", to: "f")
        #expect(throws: StorageError(.inputOutput, "")) { try file.write(ByteBuffer(string: "lost"), at: 4) }
        #expect(String(decoding: try files.contents("f"), as: UTF8.self) == "")
    }

    /// A failed write-back is only told to those who have the file open, so nothing is closed before it is synced.
    @Test func whatWasWrittenIsSyncedBeforeItIsClosedAndPressureIsTold() throws {
        let files = try files(limit: 2)
        let pressed = Mutex(0)
        files.pool.whenPressed { pressed.withLock { $0 += 1 } }
        let open = try (0..<2).map { try files.open("f\($0)", create: true) }
        for file in open { try file.write(ByteBuffer(string: "x"), at: 0) }
        #expect(pressed.withLock { $0 } == 0)
        let third = try files.open("third", create: true)
        #expect(pressed.withLock { $0 } == 1)
        // Synced files are closed without any pressure.
        for file in open { try file.sync() }
        try third.sync()
        _ = try files.open("fourth", create: true)
        #expect(pressed.withLock { $0 } <= 2)
        for file in open { #expect(try file.size() == 1) }
    }

    @Test func logsWithManySegmentsNeedFewDescriptors() throws {
        let files = try files(limit: 5)
        let logs = (0..<12).map { segmented("t-\($0)", files) }
        for number in 0..<12 {
            for log in logs {
                try log.append(TestBatch.sized(900, timestamp: Int64(number)))
                try log.write()
            }
        }
        for log in logs { try log.syncNow() }
        #expect(logs.allSatisfy { $0.sealed.count >= 5 && $0.failure == nil })
        for log in logs {
            for offset in 0..<Int64(12) {
                #expect(try log.bytes(from: offset, maxBytes: 1) == TestBatch.sized(900, timestamp: offset).stored(at: offset))
            }
        }
        #expect(files.pool.openCount <= 5)
    }

    /// What recovery finds in the page cache may not be on the disk: a sync of such a file must not be skipped
    /// because it was closed meanwhile.
    @Test func aSyncOfAFileThatWasClosedUnwrittenOpensItAgain() throws {
        let files = try files(limit: 1)
        let file = try files.open("f", create: true)
        let other = try files.open("other", create: true)
        _ = try other.size()
        let before = files.pool.reopenedCount
        try file.sync()
        #expect(files.pool.reopenedCount == before + 1)
        _ = try other.size()
        let after = files.pool.reopenedCount
        try file.sync()
        #expect(files.pool.reopenedCount == after)
    }
}

@Suite("No descriptor left")
struct NoDescriptorTests {
    private let files = SimulatedFileSystem(seed: 9)
    private let batch = TestBatch(timestamps: [1], valueSize: 300)

    @Test(arguments: [EMFILE, ENFILE])
    func anAppendThatFindsNoDescriptorIsRefusedAndTheNextOneIsTaken(number: Int32) throws {
        let log = Log("d-0", files)
        try log.append(batch)
        try log.write()
        files.inject(SimulatedFault(.write, path: ".log", times: 1, errno: number))
        #expect(try log.append(batch) == 1)
        #expect(throws: StorageError(.tooManyOpenFiles, "")) { try log.write() }
        #expect(log.failure == nil && log.endOffset == 1 && log.writtenEndOffset == 1)
        #expect(try log.append(batch) == 1)
        try log.write()
        #expect(try log.bytes(from: 1) == batch.stored(at: 1))
    }

    @Test func aSyncThatFindsNoDescriptorIsTriedAgain() throws {
        let log = Log("d-0", files)
        try log.append(batch)
        try log.write()
        files.inject(SimulatedFault(.sync, path: ".log", times: 1, errno: EMFILE))
        #expect(throws: StorageError(.tooManyOpenFiles, "")) { try log.syncNow() }
        #expect(log.failure == nil && log.syncedEndOffset == 0)
        try log.syncNow()
        #expect(log.syncedEndOffset == 1)
        #expect(try !files.exists("d-0/sync-failed"))
        // Durable for sure: the directories were synced by the second round too.
        files.crash(.loseUnsynced)
        #expect(try files.contents("d-0/00000000000000000000.log").count == batch.bytes.readableBytes)
    }

    /// Its file may be gone, and could not be opened again for a sync.
    @Test func aSegmentThatRetentionDroppedIsNotSyncedAnyMore() throws {
        var configuration = LogConfiguration()
        configuration.retentionMs = 10
        let log = Log("d-0", files, configuration: configuration)
        try log.append(batch)
        try log.write()
        #expect(try log.applyRetention(nowMs: 1_000_000) == 1)
        #expect(log.beginSync()?.files.isEmpty == true)
    }

    /// The one that cannot be tried again decides.
    @Test func aRealFailureBesideItStillMakesTheLogReadOnly() throws {
        let log = Log("d-0", files)
        try log.append(batch)
        try log.write()
        files.inject(SimulatedFault(.sync, path: ".log", times: 1, errno: EMFILE))
        files.inject(SimulatedFault(.syncDirectory, times: 1, errno: EIO))
        let commit = GroupCommit(fileSystem: files, clock: ManualClock())
        let participant = OneLog(log)
        commit.enqueue(participant)
        commit.runRound()
        #expect(log.failure?.errno == EIO)
    }
}

private final class OneLog: SyncParticipant, @unchecked Sendable {
    // Unchecked: used by one test on one thread.
    private let log: Log

    init(_ log: Log) { self.log = log }

    func beginSync() -> SyncWork? { log.beginSync() }
    func endSync(_ work: SyncWork, failure: StorageError?) { log.endSync(work, failure: failure) }
}
