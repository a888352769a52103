// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: every kind of damage is found, named, and told from what only looks like it.

import Bytes
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Checking a data directory")
struct VerifyTests {
    private let files = MemoryFileSystem()
    private let first = "t-0/00000000000000000000"
    private let second = "t-0/00000000000000000020"
    private let last = "t-0/00000000000000000040"
    private let id = TopicId(high: 7, low: 8)
    private var size: Int { TestBatch(timestamps: [0, 1], valueSize: 100).bytes.readableBytes }

    private var small: LogConfiguration {
        var configuration = LogConfiguration()
        configuration.segmentBytes = Int64(10 * size)
        configuration.indexIntervalBytes = 300
        return configuration
    }

    /// A log of 25 batches of two records in three segments. `isClean` false: the process was killed after a checkpoint.
    private func make(isClean: Bool = true) throws {
        let directory = try DataDirectory.quiet(files)
        let log = try directory.openLog("t-0", topicId: id, configuration: small)
        for number in 0..<Int64(25) {
            try log.append(TestBatch(timestamps: [10 * number, 10 * number + 1], valueSize: 100))
        }
        try log.write()
        if isClean { return try directory.close([log.close()]) }
        try log.syncNow()
        try directory.saveCheckpoint([log.checkpoint()])
    }

    private func check(
        _ options: VerifyOptions = VerifyOptions()
    ) throws -> DataDirectoryVerifier {
        let verifier = try DataDirectoryVerifier(files, options: options)
        for name in try verifier.logNames() { _ = try verifier.verifyLog(name) }
        return verifier
    }

    private func kinds(_ options: VerifyOptions = VerifyOptions()) throws -> [VerifyFinding.Kind] {
        try check(options).findings.map(\.kind)
    }

    private func damages(_ options: VerifyOptions = VerifyOptions()) throws -> [VerifyFinding] {
        try check(options).findings.filter { $0.severity == .damage }
    }

    private func set(_ path: String, _ position: Int, _ bytes: [UInt8]) throws {
        try files.open(path, create: true).write(ByteBuffer(bytes: bytes), at: Int64(position))
    }

    private func flip(_ path: String, _ position: Int) throws {
        try set(path, position, [try files.contents(path)[position] ^ 1])
    }

    private func cut(_ path: String, to size: Int) throws { try files.open(path, create: false).truncate(to: Int64(size)) }

    // MARK: Sound

    @Test(arguments: [true, false], [true, false])
    func aSoundDirectoryHasNoFindings(isClean: Bool, readsRecords: Bool) throws {
        try make(isClean: isClean)
        let verifier = try check(VerifyOptions(readsRecords: readsRecords))
        #expect(verifier.findings == [])
        #expect(verifier.wasCleanlyClosed == isClean)
        #expect(verifier.totals.logs == 1 && verifier.totals.segments == 3 && verifier.totals.batches == 25)
        #expect(verifier.totals.records == 50 && verifier.totals.bytes == Int64(25 * size))
    }

    @Test func whatIsNoDataDirectoryCannotBeChecked() throws {
        #expect(throws: StorageError(.notFound, "")) { try DataDirectoryVerifier(files, options: VerifyOptions()) }
        try set("martlet.properties", 0, Array("version=99\n".utf8))
        #expect(throws: StorageError(.newerFormat, "")) { try DataDirectoryVerifier(files, options: VerifyOptions()) }
    }

    // MARK: Batches

    @Test func aFlippedBitIsFoundWithItsPlaceAndItsOffsets() throws {
        try make()
        try flip("\(second).log", size + 100)
        let finding = try #require(try damages().first)
        #expect(finding.kind == .batch && finding.file == "\(second).log")
        #expect(finding.positions == Int64(size)..<Int64(2 * size) && finding.offsets == 22..<24)
        #expect(finding.what.contains("checksum") && finding.next.contains("24"))
        #expect(try damages().count == 1)
    }

    @Test func aWrongMagicIsDamage() throws {
        try make()
        try set("\(first).log", 3 * size + 16, [1])
        #expect(try damages().map(\.offsets) == [6..<8])
    }

    @Test func aBatchThatSaysItHasOtherCountsThanItsOffsetsIsFound() throws {
        try make()
        // Right checksum, wrong number of records: as a bad producer would have written it.
        var batch = TestBatch(timestamps: [30, 31], valueSize: 100).stored(at: 6)
        batch.setInteger(Int32(1), at: 57)
        let crc = unsafe batch.withUnsafeReadableBytes { unsafe crc32c(UnsafeRawBufferPointer(rebasing: $0[21...])) }
        batch.setInteger(crc, at: 17)
        try set("\(first).log", 3 * size, Array(batch.readableBytesView))
        #expect(try damages().map(\.kind) == [.counts])
        #expect(try damages(VerifyOptions(readsRecords: true)).map(\.kind) == [.counts, .records])
    }

    @Test func recordsThatCannotBeReadAreFoundWhenTheyAreAskedFor() throws {
        try make()
        var batch = TestBatch(timestamps: [30, 31], valueSize: 100).stored(at: 6)
        // The first record's length.
        batch.setInteger(UInt8(0x7e), at: 61)
        let crc = unsafe batch.withUnsafeReadableBytes { unsafe crc32c(UnsafeRawBufferPointer(rebasing: $0[21...])) }
        batch.setInteger(crc, at: 17)
        try set("\(first).log", 3 * size, Array(batch.readableBytesView))
        #expect(try kinds() == [])
        #expect(try kinds(VerifyOptions(readsRecords: true)) == [.records])
    }

    @Test func aBaseOffsetThatDoesNotFollowIsDamageUnlessTheLogIsCompacted() throws {
        try make(isClean: false)
        // The last batch of the log says that it starts four offsets later.
        try set("\(last).log", 4 * size + 7, [52])
        #expect(try damages().contains { $0.file == "\(last).log" })
        var mark = CompactionMark()
        mark.generation = 1
        mark.holesBelow = .max >> 1
        try AtomicFile.replace("t-0/compaction", with: mark.contents, in: files)
        let compacted = try check()
        #expect(!compacted.findings.contains { $0.kind == .batch || $0.kind == .gap })
    }

    // MARK: Files

    @Test func aMissingSegmentIsAGapAndAMissingFile() throws {
        try make()
        try files.remove("\(second).log")
        let found = try damages()
        #expect(Set(found.map(\.kind)) == [.gap, .missingFile])
        #expect(found.first { $0.kind == .gap }?.offsets == 20..<40)
    }

    @Test func segmentsThatRetentionRemovedAreNotMissed() throws {
        try make(isClean: false)
        for name in ["log", "index", "timeindex"] { try files.remove("\(first).\(name)") }
        #expect(try kinds() == [])
    }

    @Test func aSealedSegmentThatWasCutIsDamage() throws {
        try make()
        try cut("\(first).log", to: 9 * size + 20)
        let found = try damages()
        #expect(found.contains { $0.kind == .size && $0.offsets == 18..<20 })
        #expect(found.contains { $0.kind == .gap && $0.offsets == 18..<20 })
    }

    @Test func durableRecordsThatAreMissingAtTheEndAreDamage() throws {
        try make(isClean: false)
        try cut("\(last).log", to: 3 * size)
        let found = try damages()
        #expect(found.contains { $0.kind == .size } && found.contains { $0.kind == .gap && $0.offsets == 46..<50 })
    }

    @Test func bytesBehindTheEndAreATornWriteAfterACrashAndDamageAfterACleanStop() throws {
        try make(isClean: false)
        try set("\(last).log", 5 * size, [1, 2, 3])
        #expect(try check().findings.map(\.kind) == [.tornTail])
        #expect(try damages() == [])
    }

    @Test func bytesThatNobodyWroteAfterACleanStopAreDamage() throws {
        try make()
        try set("\(last).log", 5 * size, [1, 2, 3])
        #expect(Set(try damages().map(\.kind)) == [.batch, .size])
    }

    /// A broker that writes meanwhile leaves half a batch at the end, and segments that go while they are read.
    @Test func aTailThatIsBeingWrittenIsNoFinding() throws {
        try make(isClean: false)
        try set("\(last).log", 5 * size, [1, 2, 3])
        try set("t-0/00000000000000000050.snapshot", 0, [0])
        #expect(try kinds(VerifyOptions(isInUse: true)) == [])
    }

    @Test func knownDamageIsToldAsSuch() throws {
        try make()
        try flip("\(second).log", size + 100)
        try set(
            "t-0/quarantine", 0,
            Array("offsets 22..<24 file 00000000000000000020.log bytes \(size)..<\(2 * size): rotten\n".utf8))
        let found = try damages()
        #expect(found.map(\.kind) == [.quarantined])
        #expect(found.first?.offsets == 22..<24)
    }

    // MARK: Indexes, snapshots, small files

    @Test func wrongIndexesAreFound() throws {
        try make()
        let index = try files.contents("\(first).index")
        #expect(index.count >= 24)
        try flip("\(first).index", 3)
        #expect(try damages().map(\.kind) == [.offsetIndex])
        try set("\(first).index", 0, index)
        try flip("\(first).index", 7)
        #expect(try damages().first?.what.contains("no batch starts") == true)
        // Out of order.
        try set("\(first).index", 0, Array(index[8..<16]) + Array(index[0..<8]) + Array(index[16...]))
        #expect(try damages().first?.what.contains("does not come after") == true)
        // Behind the end, and cut in the middle of an entry.
        try set("\(first).index", 0, index + [0, 0, 0, 99, 0, 9, 0, 0])
        #expect(try damages().first?.what.contains("behind the last batch") == true)
        try cut("\(first).index", to: index.count - 3)
        #expect(try damages().first?.what.contains("middle of an entry") == true)
    }

    @Test func wrongTimeIndexesAreFound() throws {
        try make()
        let index = try files.contents("\(first).timeindex")
        #expect(index.count >= 24)
        try flip("\(first).timeindex", 7)
        #expect(try damages().map(\.kind) == [.timeIndex])
        try set("\(first).timeindex", 0, Array(index[12..<24]) + Array(index[0..<12]) + Array(index[24...]))
        #expect(try damages().first?.what.contains("does not come after") == true)
        try set("\(first).timeindex", 0, index)
        try cut("\(first).timeindex", to: index.count - 12)
        // Incomplete is no damage: it is made anew.
        #expect(try damages() == [])
        #expect(try kinds() == [.timeIndex])
        try cut("\(first).timeindex", to: index.count - 17)
        #expect(try damages().first?.what.contains("middle of an entry") == true)
    }

    @Test func aDamagedSnapshotIsFound() throws {
        try make()
        var body = ByteBuffer()
        body.writeInteger(Int32(0))
        let crc = unsafe body.withUnsafeReadableBytes { unsafe crc32c($0) }
        var snapshot = ByteBuffer()
        snapshot.writeMultipleIntegers(Int16(1), crc, Int32(0))
        let path = "t-0/00000000000000000050.snapshot"
        let bytes = Array(snapshot.readableBytesView)
        try set(path, 0, bytes)
        #expect(try kinds() == [])
        for position in bytes.indices {
            try set(path, 0, bytes)
            try flip(path, position)
            #expect(try damages().map(\.kind) == [.snapshot], "byte \(position)")
        }
        try set(path, 0, bytes + [0])
        #expect(try damages().map(\.kind) == [.snapshot])
        try files.remove(path)
        try set("t-0/00000000000000000051.snapshot", 0, bytes)
        #expect(try kinds() == [.snapshot] && damages() == [])
    }

    @Test func smallFilesThatAreWrongAreFound() throws {
        try make()
        try set("t-0/partition.metadata", 0, Array("version: 0\ntopic_ix".utf8))
        #expect(try damages().map(\.kind) == [.partitionMetadata])
    }

    @Test func aWrongCheckpointAndAMarkForAnotherOneAreFound() throws {
        try make()
        try flip("martlet.checkpoint", 20)
        #expect(Set(try damages().map(\.kind)) == [.checkpoint, .cleanMark])
    }

    @Test func leftoversAreNotedAndNoDamage() throws {
        try make()
        try set("t-0/sync-failed", 0, [])
        try set("t-0/00000000000000000010.index", 0, [])
        try files.makeDirectory("u-0.AAAA-delete")
        try files.makeDirectory("u-0.BBBB-stray")
        #expect(Set(try kinds()) == [.failedSync, .leftover])
        #expect(try damages() == [])
    }

    @Test func theLineOfAQuarantinedRangeReadsBack() {
        let range = QuarantinedRange(offsets: 4..<6, segment: 0, positions: 220..<330, reason: "bad: very")
        #expect(QuarantinedRange(line: Substring(range.line.dropLast())) == range)
        #expect(QuarantinedRange(line: "offsets 4..<x file 1.log") == nil)
    }
}
