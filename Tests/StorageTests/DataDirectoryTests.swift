// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: the data directory as a whole, on real files.

import Bytes
import Glibc
import Logging
import NIOCore
import Testing

@testable import Storage

extension DataDirectory {
    /// Opens a directory without log output.
    static func quiet(_ fileSystem: any FileSystem, processId: Int32 = 0) throws(StorageError) -> DataDirectory {
        try DataDirectory(
            fileSystem: fileSystem, clock: ManualClock(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            processId: processId)
    }

    /// Opens a log without a topic id.
    func openLog(_ name: String, _ configuration: LogConfiguration = LogConfiguration()) throws(StorageError) -> Log {
        try openLog(name, topicId: .zero, configuration: configuration)
    }
}

@Suite("The data directory")
struct DataDirectoryTests {
    private let place: TemporaryDirectory

    init() throws { place = try TemporaryDirectory() }

    private func files() throws -> RealFileSystem { try RealFileSystem(root: place.path) }

    @Test func theClusterIdStaysTheSame() throws {
        let first = try DataDirectory.quiet(files()).clusterId
        #expect(TopicId(first) != nil)
        #expect(try DataDirectory.quiet(files()).clusterId == first)
    }

    @Test func aSecondProcessIsRefusedAndTheFirstIsNamed() throws {
        let first = try DataDirectory.quiet(files(), processId: getpid())
        let comm = try String(
            decoding: RealFileSystem(root: "/proc/self").open("comm", create: false).readAll(limit: 64),
            as: UTF8.self)
        #expect {
            try DataDirectory.quiet(files())
        } throws: { error in
            guard let error = error as? StorageError else { return false }
            return error.code == .inUse && error.message.contains(place.path)
                && error.message.contains("process \(getpid())") && error.message.contains(comm.dropLast())
        }
        _ = first.clusterId
    }

    @Test func theLockEndsWithTheDirectory() throws {
        do { _ = try DataDirectory.quiet(files()) }
        #expect(throws: Never.self) { try DataDirectory.quiet(files()) }
    }

    @Test func aNewerFormatIsRefusedAndLeftAlone() throws {
        do { _ = try DataDirectory.quiet(files()) }
        let newer = "version=2\ncluster.id=x\n"
        try AtomicFile.replace("martlet.properties", with: ByteBuffer(string: newer), in: files())
        #expect {
            try DataDirectory.quiet(files())
        } throws: { error in
            guard let error = error as? StorageError else { return false }
            return error.code == .newerFormat && error.message.contains("format 2")
        }
        #expect(String(decoding: try files().contents("martlet.properties"), as: UTF8.self) == newer)
    }

    @Test func aFormatFileWithoutAVersionIsRefused() throws {
        try AtomicFile.replace("martlet.properties", with: ByteBuffer(string: "hello"), in: files())
        #expect(throws: StorageError(.corrupt, "")) { try DataDirectory.quiet(files()) }
    }

    @Test func aDirectoryOfApacheKafkaIsRefused() throws {
        try AtomicFile.replace("meta.properties", with: ByteBuffer(string: "version=1"), in: files())
        #expect(throws: StorageError(.corrupt, "")) { try DataDirectory.quiet(files()) }
    }

    @Test func aLogIsThereAgainAfterACleanShutdown() throws {
        var expected: [ByteBuffer] = []
        do {
            let directory = try DataDirectory.quiet(files())
            let log = try directory.openLog("a-0", small)
            for number in 0..<30 {
                let batch = TestBatch(timestamps: [1, 2], valueSize: 50, seed: UInt8(number))
                expected.append(batch.stored(at: try log.append(batch)))
            }
            try directory.close([log.close()])
        }
        let directory = try DataDirectory.quiet(files())
        #expect(directory.wasCleanlyClosed)
        let log = try directory.openLog("a-0", small)
        #expect(log.endOffset == 60 && log.syncedEndOffset == 60 && log.startOffset == 0)
        for number in 0..<30 { #expect(try log.bytes(from: Int64(number * 2), maxBytes: 1) == expected[number]) }
        let batch = TestBatch()
        #expect(try log.append(batch) == 60)
        try log.write()
        #expect(try log.bytes(from: 60) == batch.stored(at: 60))
    }

    @Test func aLogIsThereAgainAfterAKill() throws {
        let batch = TestBatch(timestamps: [1, 2], valueSize: 50)
        do {
            let log = try DataDirectory.quiet(files()).openLog("a-0", small)
            for _ in 0..<30 { try log.append(batch) }
            try log.write()
        }
        let directory = try DataDirectory.quiet(files())
        #expect(!directory.wasCleanlyClosed)
        let log = try directory.openLog("a-0", small)
        #expect(log.endOffset == 60 && log.quarantined.isEmpty)
        for offset in stride(from: Int64(0), to: 60, by: 2) {
            #expect(try log.bytes(from: offset, maxBytes: 1) == batch.stored(at: offset))
        }
    }

    @Test func theCleanMarkIsGoneBeforeTheFirstWrite() throws {
        do {
            let directory = try DataDirectory.quiet(files())
            let log = try directory.openLog("a-0")
            try log.append(TestBatch())
            try directory.close([log.close()])
        }
        do {
            let directory = try DataDirectory.quiet(files())
            let log = try directory.openLog("a-0")
            #expect(try log.bytes(from: 0) != nil)
            #expect(try files().exists(CleanMark.path))
            try log.append(TestBatch())
            try log.write()
            #expect(try !files().exists(CleanMark.path))
        }
        let directory = try DataDirectory.quiet(files())
        #expect(!directory.wasCleanlyClosed)
        #expect(try directory.openLog("a-0").endOffset == 2)
    }

    @Test func aDeletedLogsNameIsFreeAtOnceAndItsFilesGoLater() throws {
        let directory = try DataDirectory.quiet(files())
        let log = try directory.openLog("a-0")
        try log.append(TestBatch())
        try log.write()
        directory.removeLog(log)
        #expect(throws: StorageError(.closed, "")) { try log.append(TestBatch()) }
        #expect(throws: StorageError(.closed, "")) { try log.read(from: 0, maxBytes: 1) }
        let again = try directory.openLog("a-0")
        #expect(again.endOffset == 0)
        #expect(try files().list("").contains { $0.hasPrefix("a-0.") && $0.hasSuffix("-delete") })
        directory.runBackgroundWork()
        #expect(try files().list("").filter { $0.hasPrefix("a-0") } == [])
    }

    @Test func theFilesOfADeletedLogGoBitByBit() throws {
        let files = try self.files()
        let directory = try DataDirectory.quiet(files)
        var configuration = LogConfiguration()
        configuration.segmentBytes = 14
        let log = try directory.openLog("a-0", topicId: .zero, configuration: configuration)
        for _ in 0..<20 { try log.append(TestBatch()) }
        try log.write()
        directory.removeLog(log)
        func left() throws -> Int {
            guard let name = try files.list("").first(where: { $0.hasSuffix("-delete") }) else { return 0 }
            return try files.list(name).count
        }
        var before = try left()
        #expect(before >= 20)
        while before > 0 {
            var steps = 0
            let hasMore = directory.runBackgroundWork(while: {
                steps += 1
                return steps <= 4
            })
            let now = try left()
            #expect(now < before && before - now <= 4)
            #expect(hasMore || now == 0)
            before = now
        }
        directory.runBackgroundWork()
        #expect(try files.list("").filter { $0.hasPrefix("a-0") } == [])
        #expect(!directory.runBackgroundWork())
    }

    @Test func aDirectoryOfAnotherTopicIsSetAside() throws {
        let old = TopicId(high: 1, low: 1)
        let new = TopicId(high: 2, low: 2)
        do {
            let directory = try DataDirectory.quiet(files())
            let log = try directory.openLog("a-0", topicId: old, configuration: LogConfiguration())
            try log.append(TestBatch())
            try log.write()
            try log.syncNow()
            try directory.saveCheckpoint([log.checkpoint()])
        }
        let log = try DataDirectory.quiet(files()).openLog("a-0", topicId: new, configuration: LogConfiguration())
        #expect(log.endOffset == 0)
        #expect(try files().exists("a-0.\(old)-stray/00000000000000000000.log"))
    }

    private var small: LogConfiguration {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 1_000
        configuration.indexIntervalBytes = 300
        return configuration
    }
}
