// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: crashes at every change of lives in which logs are compacted.

import Bytes
import NIOCore
import Records
import Testing

@testable import Storage

@Suite("Crashes during compaction")
struct CompactionCrashTests {
    private static let steps = 70

    @Test(arguments: 1...3 as ClosedRange<UInt64>) func theNewestRecordOfEveryKeyIsThereAfterACrashAtAnyChange(seed: UInt64) throws {
        let undisturbed = try KeyedLife(seed: seed)
        undisturbed.run(steps: Self.steps)
        let changes = undisturbed.files.changeCount
        #expect(undisturbed.swaps > 2)
        try undisturbed.verify("seed \(seed), no crash")
        for change in stride(from: Int(seed) % 3, to: changes, by: 3) {
            for mode in [CrashMode.arbitrary, change % 2 == 0 ? .loseUnsynced : .keepUnsynced] {
                let life = try KeyedLife(seed: seed)
                life.files.crash(atChange: change)
                life.run(steps: Self.steps)
                let comment: Comment = "seed \(seed), crash at change \(change), \(mode)"
                #expect(throws: Never.self, comment) { try life.crashAndVerify(mode, comment) }
            }
        }
    }

    @Test(arguments: 11...12 as ClosedRange<UInt64>) func aStartThatIsCutOffIsFinishedByTheNext(seed: UInt64) throws {
        let undisturbed = try KeyedLife(seed: seed)
        undisturbed.run(steps: Self.steps)
        for change in stride(from: 1, to: undisturbed.files.changeCount, by: 7) {
            let life = try KeyedLife(seed: seed)
            life.files.crash(atChange: change)
            life.run(steps: Self.steps)
            for again in 0..<6 {
                life.files.crash(.arbitrary)
                life.files.crash(atChange: life.files.changeCount + again)
                guard (try? life.restart()) == nil else { break }
            }
            life.files.crash(atChange: nil)
            let comment: Comment = "seed \(seed), crash at change \(change), and again"
            #expect(throws: Never.self, comment) { try life.crashAndVerify(.arbitrary, comment) }
        }
    }
}

/// A random life of one compacted log with keyed records, tombstones and transactions.
final class KeyedLife {
    let files: SimulatedFileSystem
    private(set) var swaps = 0
    private var script: SeededGenerator
    private var directory: DataDirectory
    private var owner: CompactionLog
    private var nowMs: Int64 = 1_000
    /// What was appended, by offset; of transactions that were aborted nothing is.
    private var appended: [Int64: CompactionLog.Read] = [:]
    private var committed: Set<Int64> = []
    private var durableEnd: Int64 = 0
    private var open: (producer: Int64, first: Int64, offsets: [Int64])?

    init(seed: UInt64) throws {
        files = SimulatedFileSystem(seed: seed)
        script = SeededGenerator(seed: seed &* 31 &+ 7)
        directory = try DataDirectory.quiet(files)
        owner = CompactionLog(try directory.openLog("k-0", .compacted(segmentBytes: 600)))
    }

    func run(steps: Int) {
        for _ in 0..<steps where !files.hasCrashed {
            // A crash ends the step that it comes in.
            try? step()
        }
    }

    private func step() throws {
        nowMs += 40
        switch Int.random(in: 0..<100, using: &script) {
        case 0..<45: try append()
        case 45..<55: try transact()
        case 55..<65: try sync()
        case 65..<72: try owner.seal(); durableEnd = owner.log.syncedEndOffset
        case 72..<90:
            let keys = [3, 1000][Int.random(in: 0..<2, using: &script)]
            let stable = open?.first ?? .max
            if let result = try owner.compact(nowMs: nowMs, stable: stable, keys: keys) { swaps += result.swaps }
        case 90..<96: try directory.saveCheckpoint([owner.log.checkpoint()])
        case 96..<98: directory.runBackgroundWork()
        default: try restartCleanly()
        }
    }

    private func record() -> (key: String?, value: String?) {
        let key = "k\(Int.random(in: 0..<6, using: &script))"
        let isTombstone = Int.random(in: 0..<6, using: &script) == 0
        let filling = String(repeating: "x", count: Int.random(in: 0..<80, using: &script))
        return (key, isTombstone ? nil : "\(nowMs)-\(filling)")
    }

    private func append() throws {
        let records = (0..<Int.random(in: 1...3, using: &script)).map { _ in record() }
        let codec: CompressionType = Bool.random(using: &script) ? .none : .lz4
        let base = owner.log.endOffset
        for (delta, record) in records.enumerated() { note(record, at: base + Int64(delta), isCommitted: true) }
        try owner.append(records, timestamp: nowMs, compression: codec)
        try owner.log.write()
    }

    /// Goes on with a transaction, or ends it.
    private func transact() throws {
        guard let known = open else {
            let producer = Int64.random(in: 0..<3, using: &script)
            let records = [record()]
            let base = owner.log.endOffset
            note(records[0], at: base, isCommitted: false)
            open = (producer, base, [base])
            try owner.append(
                records, timestamp: nowMs, producer: .init(id: producer, epoch: 0, baseSequence: Int32(truncatingIfNeeded: base)),
                isTransactional: true)
            return try owner.log.write()
        }
        let marker: TransactionMarker = Bool.random(using: &script) ? .commit : .abort
        try owner.end(marker, of: known.producer, first: known.first)
        try owner.log.write()
        // An end that a crash takes back leaves the transaction open; ended is what is durable.
        try sync()
        if marker == .commit { committed.formUnion(known.offsets) }
        open = nil
    }

    private func note(_ record: (key: String?, value: String?), at offset: Int64, isCommitted: Bool) {
        appended[offset] = CompactionLog.Read(offset: offset, key: record.key ?? "-", value: record.value)
        if isCommitted { committed.insert(offset) } else { committed.remove(offset) }
    }

    private func sync() throws {
        try owner.log.syncNow()
        durableEnd = owner.log.syncedEndOffset
    }

    private func restartCleanly() throws {
        let state = owner.log.close()
        durableEnd = owner.log.syncedEndOffset
        try directory.close([state])
        try restart()
        #expect(directory.wasCleanlyClosed)
    }

    func restart() throws {
        directory = try DataDirectory.quiet(files)
        owner.log = try directory.openLog("k-0", .compacted(segmentBytes: 600))
    }

    func crashAndVerify(_ mode: CrashMode, _ comment: Comment) throws {
        files.crash(mode)
        try restart()
        for range in owner.log.quarantined {
            #expect(range.offsets.lowerBound >= durableEnd, "\(comment): durable \(range) is quarantined")
            for offset in range.offsets { appended[offset] = nil }
        }
        // A whole segment that was never durable may be gone.
        #expect(owner.log.startOffset == 0 || durableEnd == 0, comment)
        for offset in 0..<owner.log.startOffset { appended[offset] = nil }
        try verify(comment)
        // Life goes on: another round, another stop in order, and nothing is missed.
        try owner.seal()
        durableEnd = owner.log.syncedEndOffset
        _ = try? owner.compact(nowMs: nowMs, stable: open?.first ?? .max)
        try verify(comment)
        try restartCleanly()
        try verify(comment)
        let verifier = try DataDirectoryVerifier(files, options: VerifyOptions())
        if try files.exists("k-0") { _ = try verifier.verifyLog("k-0") }
        // Indexes are not synced: one that a crash has torn is made anew when it is used. A gap in the log is told of as one.
        let wrong = verifier.findings.filter {
            $0.severity == .damage && ![.offsetIndex, .timeIndex].contains($0.kind) && owner.log.quarantined.isEmpty
        }
        #expect(wrong.isEmpty, "\(comment): \(wrong)")
    }

    /// What can be read is a part of what was written, and holds the newest durable record of every key.
    func verify(_ comment: Comment) throws {
        let found = try owner.records()
        #expect(found.map(\.offset) == found.map(\.offset).sorted(), comment)
        for record in found {
            #expect(appended[record.offset] == record, "\(comment): offset \(record.offset)")
        }
        #expect(owner.log.endOffset >= durableEnd, comment)
        let offsets = Set(found.map(\.offset))
        var newest: [String: CompactionLog.Read] = [:]
        for (offset, record) in appended.sorted(by: { $0.key < $1.key }) where offset < owner.log.endOffset && committed.contains(offset) {
            newest[record.key] = record
        }
        for record in newest.values where record.offset < durableEnd {
            // A tombstone may be gone, and then nothing older of its key may be there.
            if record.value != nil {
                #expect(offsets.contains(record.offset), "\(comment): the newest of \(record.key), \(record.offset)")
            } else if !offsets.contains(record.offset) {
                let older = found.filter { $0.key == record.key && committed.contains($0.offset) }
                #expect(older.isEmpty, "\(comment): \(record.key) has come back")
            }
        }
    }
}
