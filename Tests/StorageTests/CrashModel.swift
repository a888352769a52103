// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: a random life of a few logs, and what must be true after any crash in it.
//
// The same seed gives the same calls. The model remembers every batch that was ever handed to a log, by offset (after a
// failed write an offset is used again, so there may be several), and what a successful sync has fixed for good.

import Bytes
import Glibc
import NIOCore
import Records
import Testing

@testable import Storage

/// One log as the test sees it.
struct LogModel {
    /// Every batch that may be found at a base offset.
    var attempts: [Int64: [ByteBuffer]] = [:]
    /// The batches as the log has them now, by base offset.
    var current: [Int64: ByteBuffer] = [:]
    /// What a sync has made durable.
    var durable: [Int64: ByteBuffer] = [:]
    var durableEnd: Int64 = 0
    /// The highest start offset that was asked for.
    var start: Int64 = 0
}

/// A life on a simulated disk.
struct CrashScenario {
    let files: SimulatedFileSystem
    private var script: SeededGenerator
    private(set) var directory: DataDirectory
    private(set) var logs: [Log] = []
    private(set) var models = [LogModel(), LogModel()]
    private var nowMs: Int64 = 1_000
    private let hasFaults: Bool

    static let configuration: LogConfiguration = {
        var configuration = LogConfiguration()
        configuration.segmentBytes = 1_500
        configuration.indexIntervalBytes = 300
        configuration.retentionMs = -1
        configuration.retentionBytes = 4_000
        return configuration
    }()

    /// `hasFaults`: calls fail now and then, and the disk fills up and is freed again.
    init(seed: UInt64, hasFaults: Bool = false) throws {
        self.hasFaults = hasFaults
        files = SimulatedFileSystem(seed: seed)
        script = SeededGenerator(seed: seed &* 31 &+ 7)
        directory = try DataDirectory.quiet(files)
        try openLogs()
    }

    private mutating func openLogs() throws {
        logs = try (0..<models.count).map { try directory.openLog("log-\($0)", Self.configuration) }
    }

    /// Lives for `steps` steps, or until the machine crashes.
    mutating func run(steps: Int) {
        for _ in 0..<steps where !files.hasCrashed {
            do {
                try step()
            } catch {
                // Failures are part of the life; a log that lost its disk stays read-only.
            }
        }
    }

    private mutating func step() throws {
        if hasFaults { injectFault() }
        let number = Int.random(in: 0..<logs.count, using: &script)
        switch Int.random(in: 0..<100, using: &script) {
        case 0..<50: try append(to: number)
        case 50..<70: try write(number)
        case 70..<84: try sync(number)
        case 84..<88: try directory.saveCheckpoint(logs.map { $0.checkpoint() })
        case 88..<91: _ = try logs[number].applyRetention(nowMs: nowMs)
        case 91..<93: try deleteRecords(of: number)
        case 93..<96: try logs[number].roll()
        case 96..<98: directory.runBackgroundWork()
        default: try restartCleanly()
        }
    }

    private mutating func injectFault() {
        switch Int.random(in: 0..<60, using: &script) {
        case 0: files.inject(SimulatedFault(.write, path: ".log", times: 1, errno: EIO))
        case 1: files.inject(SimulatedFault(.write, times: 2, errno: ENOSPC))
        case 2: files.inject(SimulatedFault(.sync, times: 1, errno: EIO))
        case 3: files.inject(SimulatedFault(nil, skip: Int.random(in: 0..<20, using: &script), times: 1, errno: EIO))
        case 4: files.inject(SimulatedFault(.create, times: 1, errno: ENOSPC))
        case 5, 6: files.limitCapacity(to: files.usedBytes + Int64.random(in: 0..<2_000, using: &script))
        case 7...10: files.limitCapacity(to: nil)
        default: break
        }
    }

    private mutating func append(to number: Int) throws {
        let size = [80, 150, 400, 700, 17_000][Int.random(in: 0..<5, using: &script)]
        let count = Int.random(in: 1...4, using: &script)
        nowMs += 1
        let batch = TestBatch(
            timestamps: (0..<count).map { nowMs + Int64($0) }, valueSize: size / count,
            seed: UInt8.random(in: 1...250, using: &script))
        // Noted before the call: even if it fails, the bytes may be found after a crash.
        let offset = logs[number].endOffset
        models[number].attempts[offset, default: []].append(batch.stored(at: offset))
        // What waits is written first where a segment is full, so the offset may be used by a second attempt.
        defer { dropUnassigned(number) }
        let assigned = try logs[number].append(batch)
        models[number].current[assigned] = batch.stored(at: assigned)
    }

    private mutating func write(_ number: Int) throws {
        defer { dropUnassigned(number) }
        try logs[number].write()
    }

    /// After a failed write the log's end goes back; what was there is not the log's content any more.
    private mutating func dropUnassigned(_ number: Int) {
        let end = logs[number].endOffset
        models[number].current = models[number].current.filter { $0.key < end }
    }

    private mutating func sync(_ number: Int) throws {
        try logs[number].syncNow()
        noteDurable(number)
    }

    private mutating func noteDurable(_ number: Int) {
        let end = logs[number].syncedEndOffset
        models[number].durableEnd = end
        models[number].durable = models[number].current.filter { $0.key < end }
        models[number].start = logs[number].startOffset
    }

    private mutating func deleteRecords(of number: Int) throws {
        let log = logs[number]
        let target = Int64.random(in: log.startOffset...log.writtenEndOffset, using: &script)
        models[number].start = max(models[number].start, target)
        try log.deleteRecords(before: target)
    }

    private mutating func restartCleanly() throws {
        let states = logs.map { $0.close() }
        for number in logs.indices where logs[number].syncedEndOffset == logs[number].endOffset {
            noteDurable(number)
        }
        try directory.close(states)
        directory = try DataDirectory.quiet(files)
        #expect(directory.wasCleanlyClosed)
        try openLogs()
    }

    /// Brings the machine back and checks every promise; then uses the logs on and checks again.
    mutating func crashAndVerify(_ mode: CrashMode, _ comment: Comment) throws {
        files.crash(mode)
        files.removeFaults()
        files.limitCapacity(to: nil)
        directory = try DataDirectory.quiet(files)
        try openLogs()
        for number in logs.indices { try verify(number, comment) }
        // Life goes on, and a second crash right after a sync loses nothing either.
        for number in logs.indices {
            let log = logs[number]
            let before = try contents(of: log)
            let batch = TestBatch(timestamps: [nowMs, nowMs], valueSize: 60, seed: 0xee)
            let offset = try log.append(batch)
            try log.write()
            try log.syncNow()
            files.crash(.loseUnsynced)
            directory = try DataDirectory.quiet(files)
            try openLogs()
            var expected = before
            expected[offset] = batch.stored(at: offset)
            let after = try contents(of: logs[number])
            #expect(after == expected, comment)
            #expect(logs[number].endOffset == offset + 2, comment)
            try reopenCleanly(expecting: expected, number, comment)
        }
    }

    private mutating func reopenCleanly(expecting expected: [Int64: ByteBuffer], _ number: Int, _ comment: Comment) throws {
        try directory.close(logs.map { $0.close() })
        directory = try DataDirectory.quiet(files)
        try openLogs()
        #expect(try contents(of: logs[number]) == expected, comment)
    }

    private func verify(_ number: Int, _ comment: Comment) throws {
        let log = logs[number]
        let model = models[number]
        #expect(log.endOffset >= model.durableEnd, comment)
        #expect(log.startOffset <= max(model.start, log.startOffset), comment)
        let found = try contents(of: log)
        for (offset, bytes) in found {
            #expect(model.attempts[offset]?.contains(bytes) == true, "\(comment): offset \(offset) was never written like that")
        }
        for (offset, bytes) in model.durable where offset >= max(log.startOffset, model.start) {
            #expect(found[offset] == bytes, "\(comment): offset \(offset) was durable")
        }
        for range in log.quarantined where range.offsets.upperBound > model.start {
            #expect(range.offsets.lowerBound >= model.durableEnd, "\(comment): durable \(range) is quarantined")
        }
    }

    /// Every batch that can be read, by base offset; each must follow the one before, or a quarantined range.
    private func contents(of log: Log) throws -> [Int64: ByteBuffer] {
        var batches: [Int64: ByteBuffer] = [:]
        var offset = log.startOffset
        var isFirst = true
        while offset < log.endOffset {
            if let range = log.quarantined.first(where: { $0.offsets.contains(offset) }) {
                #expect(throws: StorageError(.corrupt, "")) { try log.read(from: offset, maxBytes: 1) }
                offset = range.offsets.upperBound
                continue
            }
            var bytes = try #require(try log.bytes(from: offset, maxBytes: 600))
            while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
                // A log may start in the middle of a batch.
                #expect(isFirst ? header.baseOffset <= offset : header.baseOffset == offset)
                isFirst = false
                batches[header.baseOffset] = batch
                offset = header.nextOffset
            }
            #expect(bytes.readableBytes == 0)
        }
        #expect(offset == log.endOffset)
        return batches
    }
}
