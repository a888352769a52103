// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: index files that are missing, damaged or somebody else's.

import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Index files")
struct LogIndexTests {
    private let files = MemoryFileSystem()
    private let index = "i-0/00000000000000000000.index"
    private let timeIndex = "i-0/00000000000000000000.timeindex"

    private var configuration: LogConfiguration {
        var configuration = LogConfiguration()
        configuration.indexIntervalBytes = 500
        configuration.segmentBytes = 1 << 20
        return configuration
    }

    private func batch(_ number: Int) -> TestBatch { TestBatch.sized(400, timestamp: Int64(1_000 + number)) }

    /// 400 batches, one offset each, closed in order.
    private func writeLog() throws {
        let directory = try DataDirectory.quiet(files)
        let log = try directory.openLog("i-0", configuration)
        for number in 0..<400 { try log.append(batch(number)) }
        try directory.close([log.close()])
    }

    private func expectEverythingIsFound() throws {
        let log = try DataDirectory.quiet(files).openLog("i-0", configuration)
        for number in [0, 1, 2, 57, 199, 250, 398, 399] {
            #expect(try log.bytes(from: Int64(number), maxBytes: 1) == batch(number).stored(at: Int64(number)))
            #expect(try log.read(from: Int64(number), maxBytes: 10_000)?.length == min(25, 400 - number) * 400)
            let found = try log.offset(forTimestamp: Int64(1_000 + number))
            #expect(found?.offset == Int64(number) && found?.timestamp == Int64(1_000 + number))
        }
        #expect(try log.offset(forTimestamp: 1_400) == nil)
        #expect(try log.offset(forTimestamp: -5)?.offset == 0)
    }

    @Test func goodIndexesAreUsed() throws {
        try writeLog()
        #expect(try files.contents(index).count == 8 * 199)
        try expectEverythingIsFound()
    }

    @Test func missingIndexesAreRebuilt() throws {
        try writeLog()
        let before = try (files.contents(index), files.contents(timeIndex))
        try files.remove(index)
        try files.remove(timeIndex)
        try expectEverythingIsFound()
        // The active segment's are written with the next checkpoint.
        let log = try DataDirectory.quiet(files).openLog("i-0", configuration)
        _ = try log.read(from: 399, maxBytes: 1)
        _ = log.checkpoint()
        #expect(try files.contents(index) == before.0)
        #expect(try files.contents(timeIndex) == before.1.dropLast(TimeEntry.size))
    }

    @Test(arguments: [0, 1, 7, 8, 100, 801, 1_591]) func cutIndexesAreRebuilt(length: Int) throws {
        try writeLog()
        try files.open(index, create: false).truncate(to: Int64(length))
        try files.open(timeIndex, create: false).truncate(to: Int64(length))
        try expectEverythingIsFound()
    }

    @Test(arguments: [UInt8(0x00), 0xff, 0x01]) func indexesOfRubbishAreRebuilt(byte: UInt8) throws {
        try writeLog()
        let rubbish = ByteBuffer(repeating: byte, count: 2_400)
        try files.open(index, create: false).write(rubbish, at: 0)
        try files.open(timeIndex, create: false).write(rubbish, at: 0)
        try expectEverythingIsFound()
    }

    /// In order and within the log, but every entry points between two batches or at another one.
    @Test(arguments: [1, 200, 400]) func plausibleButWrongIndexesAreRebuilt(shift: UInt32) throws {
        try writeLog()
        var bytes = ByteBuffer(bytes: try files.contents(index))
        var wrong = ByteBuffer()
        while let (relative, position) = bytes.readMultipleIntegers(as: (UInt32, UInt32).self) {
            wrong.writeMultipleIntegers(relative, position - shift)
        }
        try files.open(index, create: false).write(wrong, at: 0)
        bytes = ByteBuffer(bytes: try files.contents(timeIndex))
        wrong.clear()
        while let (timestamp, relative) = bytes.readMultipleIntegers(as: (Int64, UInt32).self) {
            wrong.writeMultipleIntegers(timestamp - Int64(shift), relative)
        }
        try files.open(timeIndex, create: false).write(wrong, at: 0)
        try expectEverythingIsFound()
    }

    @Test func indexesOfSealedSegmentsAreLoadedWhenTheyAreNeeded() throws {
        var configuration = configuration
        configuration.segmentBytes = 20_000
        let log = Log("i-0", files, configuration: configuration)
        for number in 0..<400 { try log.append(batch(number)) }
        try log.write()
        try log.syncNow()
        for number in 0..<400 {
            #expect(try log.bytes(from: Int64(number), maxBytes: 1) == batch(number).stored(at: Int64(number)))
            #expect(try log.offset(forTimestamp: Int64(1_000 + number))?.offset == Int64(number))
        }
        #expect(log.sealed.filter(\.index.isLoaded).count <= StorageLimits.openSealedSegments)
    }

    @Test func entriesFollowAfterARestart() throws {
        try writeLog()
        let directory = try DataDirectory.quiet(files)
        let log = try directory.openLog("i-0", configuration)
        for number in 400..<500 { try log.append(batch(number)) }
        try directory.close([log.close()])
        let again = Log("i-0", files, configuration: configuration)
        _ = try again.recover(from: nil)
        for number in [0, 399, 400, 450, 499] {
            #expect(try again.bytes(from: Int64(number), maxBytes: 1) == batch(number).stored(at: Int64(number)))
            #expect(try again.offset(forTimestamp: Int64(1_000 + number))?.offset == Int64(number))
        }
        let entries = try files.contents(index).count / OffsetEntry.size
        #expect(entries > 240 && entries < 250)
    }
}
