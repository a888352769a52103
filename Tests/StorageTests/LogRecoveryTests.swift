// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: what recovery makes of torn, damaged and missing files.

import Bytes
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Recovery")
struct LogRecoveryTests {
    private static let path = "a-0/00000000000000000000.log"
    private let files = MemoryFileSystem()
    private let batches = (0..<5).map { TestBatch(timestamps: [100, 200], valueSize: 40, seed: UInt8(0x61 + $0)) }
    private var size: Int { batches[0].bytes.readableBytes }

    /// Writes the five batches (offsets 0 to 9) as one segment and leaves without closing.
    private func writeFive() throws {
        let log = try DataDirectory.quiet(files).openLog("a-0")
        for batch in batches { try log.append(batch) }
        try log.write()
    }

    private func reopen() throws -> Log { try DataDirectory.quiet(files).openLog("a-0") }

    private func cut(to size: Int, _ path: String = path) throws {
        try files.open(path, create: false).truncate(to: Int64(size))
    }

    private func overwrite(_ bytes: [UInt8], at offset: Int, _ path: String = path) throws {
        try files.open(path, create: true).write(ByteBuffer(bytes: bytes), at: Int64(offset))
    }

    /// The log must hold exactly these batches (by number), and go on after offset `end`.
    private func expect(_ log: Log, holds numbers: [Int], endsAt end: Int64, _ comment: Comment? = nil) throws {
        for number in 0..<5 {
            for offset in [Int64(number * 2), Int64(number * 2 + 1)] where offset < log.endOffset {
                if numbers.contains(number) {
                    let found = try log.bytes(from: offset, maxBytes: 1)
                    #expect(found == batches[number].stored(at: Int64(number * 2)), comment)
                } else {
                    #expect(throws: StorageError(.corrupt, ""), comment) { try log.read(from: offset, maxBytes: 1) }
                }
            }
        }
        #expect(log.endOffset == end, comment)
        let next = TestBatch(valueSize: 10, seed: 0xdd)
        #expect(try log.append(next) == end, comment)
        try log.write()
        #expect(try log.bytes(from: end) == next.stored(at: end), comment)
    }

    @Test func aTornTailIsCutWhereverItWasTorn() throws {
        for length in 0...(5 * size) {
            try writeFive()
            try cut(to: length)
            let whole = length / size
            let log = try reopen()
            #expect(try files.open(Self.path, create: false).size() == Int64(whole * size))
            try expect(log, holds: Array(0..<whole), endsAt: Int64(whole * 2), "cut to \(length)")
            try removeLog(log)
        }
    }

    @Test func zerosAfterTheLastBatchAreCut() throws {
        try writeFive()
        try overwrite([UInt8](repeating: 0, count: 5_000), at: 5 * size)
        try expect(try reopen(), holds: [0, 1, 2, 3, 4], endsAt: 10)
        #expect(try files.open(Self.path, create: false).size() < Int64(5 * size + 200))
    }

    @Test func aDamagedLastBatchIsCut() throws {
        // Bytes 0 to 7 and 12 to 15 are not covered by the checksum.
        for byte in Array(8..<12) + Array(16..<size) {
            try writeFive()
            try flip(byte: 4 * size + byte)
            let log = try reopen()
            try expect(log, holds: [0, 1, 2, 3], endsAt: 8, "byte \(byte)")
            try removeLog(log)
        }
    }

    @Test func aDamagedBatchInTheMiddleIsQuarantinedAndNothingIsDeleted() throws {
        for byte in Array(0..<12) + Array(16..<size) {
            try writeFive()
            try flip(byte: 2 * size + byte)
            let before = try files.contents(Self.path)
            let log = try reopen()
            #expect(try files.contents(Self.path) == before)
            #expect(log.quarantined.map(\.offsets) == [4..<6], "byte \(byte)")
            let note = String(decoding: try files.contents("a-0/quarantine"), as: UTF8.self)
            #expect(note.hasPrefix("offsets 4..<6 file 00000000000000000000.log bytes \(2 * size)..<\(3 * size): "))
            try expect(log, holds: [0, 1, 3, 4], endsAt: 10, "byte \(byte)")
            try removeLog(log)
        }
    }

    @Test func aReadStopsBeforeDamageAndGoesOnBehindIt() throws {
        try writeFive()
        try flip(byte: 2 * size + 30)
        let log = try reopen()
        var expected = batches[0].stored(at: 0)
        expected.writeImmutableBuffer(batches[1].stored(at: 2))
        #expect(try log.bytes(from: 0) == expected)
        expected = batches[3].stored(at: 6)
        expected.writeImmutableBuffer(batches[4].stored(at: 8))
        #expect(try log.bytes(from: 6) == expected)
        #expect {
            try log.read(from: 5, maxBytes: 1)
        } throws: { error in
            (error as? StorageError)?.message.contains("reading goes on at offset 6") == true
        }
    }

    @Test func severalDamagedBatchesAreOneRangeEachOrTogether() throws {
        try writeFive()
        try flip(byte: 1 * size + 40)
        try flip(byte: 3 * size + 40)
        #expect(try reopen().quarantined.map(\.offsets) == [2..<4, 6..<8])
        try overwrite([UInt8](repeating: 0xff, count: 2 * size), at: size)
        #expect(try reopen().quarantined.map(\.offsets) == [2..<8])
    }

    @Test func aBatchInsideADamagedBatchesPayloadIsNotTakenForReal() throws {
        let inner = TestBatch(timestamps: [1, 2, 3], valueSize: 5).stored(at: 3)
        let log = try DataDirectory.quiet(files).openLog("a-0")
        try log.append(batches[0])
        let outer = TestBatch(payload: inner)
        try log.append(outer)
        try log.append(batches[1])
        try log.write()
        // The head of the outer batch is destroyed, so that only a search finds what follows.
        try overwrite([UInt8](repeating: 0, count: 61), at: size)
        let again = try reopen()
        #expect(again.quarantined.map(\.offsets) == [2..<3])
        #expect(try again.bytes(from: 3) == batches[1].stored(at: 3))
    }

    @Test func theReportSaysWhatWasDone() throws {
        try writeFive()
        try flip(byte: 2 * size + 30)
        try cut(to: 5 * size - 1)
        let environment = LogEnvironment(files)
        let log = Log(name: "a-0", topicId: .zero, configuration: LogConfiguration(), environment: environment)
        let report = try log.recover(from: nil)
        #expect(report.scannedBytes == Int64(5 * size - 1))
        #expect(report.cutBytes == Int64(size - 1))
        #expect(report.quarantined.map(\.offsets) == [4..<6])
        #expect(!report.isUneventful)
    }

    // MARK: Several segments

    private var small: LogConfiguration {
        var configuration = LogConfiguration()
        configuration.segmentBytes = Int64(2 * size)
        return configuration
    }

    /// Segments with base offsets 0, 4 and 8.
    private func writeSegments() throws {
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        for batch in batches { try log.append(batch) }
        try log.write()
    }

    @Test func aTornEndOfASealedSegmentIsQuarantined() throws {
        try writeSegments()
        try cut(to: 2 * size - 1)
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.map(\.offsets) == [2..<4])
        try expect(log, holds: [0, 2, 3, 4], endsAt: 10)
    }

    @Test func deletingRecordsBeforeTheMiddleOfDamageLeavesTheRestOfIt() throws {
        try writeSegments()
        try cut(to: 2 * size - 1)
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        try log.deleteRecords(before: 3)
        #expect(try log.applyRetention(nowMs: 0) == 0)
        #expect(log.startOffset == 3)
        #expect(throws: StorageError(.corrupt, "")) { try log.read(from: 3, maxBytes: 1) }
        try log.deleteRecords(before: 4)
        #expect(log.startOffset == 4 && log.quarantined.isEmpty && log.sealed.first?.baseOffset == 4)
    }

    @Test func aMissingSegmentInTheMiddleIsQuarantined() throws {
        try writeSegments()
        try files.remove("a-0/00000000000000000004.log")
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.map(\.offsets) == [4..<8])
        try expect(log, holds: [0, 1, 4], endsAt: 10)
    }

    @Test func aLastSegmentWithoutAGoodBatchIsRemoved() throws {
        try writeSegments()
        try cut(to: 10, "a-0/00000000000000000008.log")
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.isEmpty)
        try expect(log, holds: [0, 1, 2, 3], endsAt: 8)
    }

    @Test func aSegmentThatReachesIntoTheNextOneEndsWhereThatBegins() throws {
        try writeSegments()
        // A refused write whose truncation was lost: offsets 4 and 5 stand at the end of segment 0 too.
        let stale = TestBatch(timestamps: [7, 8], valueSize: 40, seed: 1).stored(at: 4)
        try overwrite(Array(stale.readableBytesView), at: 2 * size)
        let log = try DataDirectory.quiet(files).openLog("a-0", small)
        #expect(log.quarantined.isEmpty)
        try expect(log, holds: [0, 1, 2, 3, 4], endsAt: 10)
    }

    // MARK: Helpers

    private func flip(byte: Int) throws {
        let old = try files.contents(Self.path)[byte]
        try overwrite([old ^ 0x10], at: byte)
    }

    private func removeLog(_ log: Log) throws {
        for name in try files.list("a-0") { try files.remove("a-0/\(name)") }
        try files.remove("a-0")
    }
}
