// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: queues over crashes of the machine, anywhere in the middle of what workers do.
//
// Three workers take jobs from two partitions and accept, give back, delay, reject or forget them, from a seed; locks end; the log
// of their state is rewritten. The machine crashes at some change to the disk, and the broker starts again. A model knows what was
// answered: a job whose acknowledgement was answered never comes again, nobody holds a job that another holds, no more jobs are in
// flight than may be, those given back come before new ones, a worker that let a lock end without a word gets nothing for the time of another
// one while there are others, and everything that is there when there are none, the delivery count goes up by one with every delivery (a
// crash may forget the last one), and in the end every job is acknowledged or dead-lettered with its cause; none is lost.
//
// MARTLET_SHARE_SEEDS=n lives n lives of each kind instead of a few.

import Bytes
import Glibc
import Logging
import NIOCore
import NIOEmbedded
import Records
import Storage
import TestSupport
import Testing

@testable import Engine

extension Logger {
    fileprivate static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}

private final class Said: @unchecked Sendable {
    // Unchecked: tests run in one thread.
    var answer: ShareError??
}

private struct Job {
    var isPublished = false
    /// Its acknowledgement was answered.
    var isAccepted = false
    /// It was accepted, and nobody knows whether that counts.
    var mayBeAccepted = false
    var isRejected = false
    var mayBeRejected = false
    var deliveries: Int16 = 0
    /// What a crash cannot take from the count.
    var durableDeliveries: Int16 = 0
    var holder: ShareMemberId?
    var place = 0
    var offset: Int64 = -1
}

private struct ShareLife {
    let files: SimulatedFileSystem
    var test: TestEngine
    var script: Storage.SeededGenerator
    var jobs: [String: Job] = [:]
    var deadLetters: [String: Int] = [:]
    private var count = 0
    private let workers = (0..<3).map { ShareMemberId("worker-\($0)") }
    private let group = "g"
    private var queues: [ShareQueue] = []
    /// Of each partition: who has come for jobs, and since when (loop's time) who lets locks end and says nothing.
    private var known = [Set<ShareMemberId>(), []]
    private var silent = [[ShareMemberId: NIODeadline](), [:]]
    private var comment: Comment
    /// In every other life the bound is met all the time.
    private let locksMax: Int

    init(seed: UInt64) throws {
        files = SimulatedFileSystem(seed: seed)
        script = Storage.SeededGenerator(seed: seed &* 91 &+ 5)
        comment = "seed \(seed)"
        locksMax = seed % 2 == 0 ? 2_000 : 4
        test = try Self.start(files, locksMax)
    }

    private static func start(_ files: SimulatedFileSystem, _ locksMax: Int) throws -> TestEngine {
        try TestEngine(fileSystem: files, durability: .disk, logger: .silent) {
            $0.shares.partitionMaxRecordLocks = locksMax
        }
    }

    // MARK: What happens

    mutating func run(steps: Int) throws {
        try setUp()
        for _ in 0..<steps where !files.hasCrashed && !queues.isEmpty {
            switch Int.random(in: 0..<12, using: &script) {
            case 0, 1: try publish()
            case 2, 3, 4: try take(workers.randomElement(using: &script) ?? workers[0], max: Int.random(in: 1...5, using: &script))
            case 5, 6, 7, 8: try speak()
            case 9:
                test.loop.advanceTime(by: .seconds(Int64.random(in: 1...20, using: &script)))
                // The clock of the locks is the loop's; that of the delays has to follow.
                test.clock.advance(ms: 20_000)
                settle()
                forgetExpired()
            case 10: test.engine.checkpoint()
            default:
                test.engine.rewriteInternalLogs(largerThan: 0, on: test.loop)
                settle()
            }
        }
    }

    private mutating func setUp() throws {
        if test.engine.topics.topic(named: "jobs") == nil {
            let made = test.engine.topics.create(
                TopicSpecification(name: "jobs", partitions: 2, overrides: ["segment.bytes": "2000"]), on: test.loop)
            settle()
            guard !files.hasCrashed else { return }
            _ = try made.wait()
        }
        let resource = ConfigurationResource(.group, group)
        if test.engine.configurations.overrides(of: resource).isEmpty {
            _ = test.engine.configurations.alter(resource, on: test.loop) { _ in
                [
                    "share.auto.offset.reset": "earliest", "errors.deadletterqueue.topic.name": "dlq.g",
                    "share.delivery.count.limit": "3",
                ]
            }
            settle()
            guard !files.hasCrashed, !test.engine.configurations.overrides(of: resource).isEmpty else { return }
        }
        try openQueues()
    }

    private mutating func openQueues() throws {
        guard let topic = test.engine.topics.topic(named: "jobs") else { return }
        final class Opened: @unchecked Sendable { var queues: [ShareQueue] = [] }
        let opened = Opened()
        test.engine.shares.openQueues(
            group, (0..<2).map { SharePlace(topicId: topic.id, partition: $0) }, on: test.loop
        ) { found in opened.queues = found.compactMap { try? $0.queue.get() } }
        settle()
        queues = opened.queues.count == 2 ? opened.queues : []
    }

    private func settle() { for _ in 0..<10 { test.sync() } }

    private mutating func publish() throws {
        let place = Int.random(in: 0..<2, using: &script)
        let values = (0..<Int.random(in: 1...4, using: &script)).map { "job-\(count + $0)" }
        count += values.count
        var builder = RecordBatchBuilder()
        for value in values {
            let isLater = Int.random(in: 0..<6, using: &script) == 0
            let headers = isLater
                ? [RecordHeader(key: "not-before", value: ByteBuffer(string: "\(test.clock.nowMs() + 15_000)"))] : []
            builder.append(
                key: nil, value: ByteBuffer(string: value), headers: headers, timestamp: test.clock.nowMs())
        }
        let answer = test.append(builder.finish(), to: queues[place].partition, acks: .all)
        settle()
        for value in values { jobs[value] = Job(place: place) }
        if case .success(let result) = answer.result {
            for (index, value) in values.enumerated() {
                jobs[value]?.isPublished = true
                jobs[value]?.offset = result.baseOffset + Int64(index)
            }
        }
    }

    private mutating func take(_ worker: ShareMemberId, max: Int) throws {
        let place = Int.random(in: 0..<2, using: &script)
        let limits = ShareFetchLimits(maxRecords: max, maxBytes: 1 << 16, isStrict: true)
        let before = queues[place].snapshot
        known[place].insert(worker)
        guard let outcome = try? queues[place].fetch(worker, limits, on: test.loop) else { return }
        forgetExpired()
        guard case .acquired(let bytes, let runs) = outcome else { return checkNothing(place, worker, before) }
        checkOrder(runs, before)
        // It is passed over for 30 s, of which up to 20 may lie before it was noticed here.
        if let since = silent[place][worker], test.loop.now - since < .seconds(10) {
            #expect(known[place].allSatisfy { silent[place][$0] != nil }, "\(comment): \(worker) is silent, and preferred to others")
        }
        #expect(queues[place].snapshot.inFlightCount <= Int64(locksMax), comment)
        for (value, offset, deliveries) in try records(bytes, runs) { delivered(value, place, offset, deliveries, to: worker) }
    }

    /// Whoever gets nothing is silent, and not alone, or there is nothing.
    private func checkNothing(_ place: Int, _ worker: ShareMemberId, _ before: SharePartition) {
        let isPassedOver = silent[place][worker] != nil && known[place].contains { silent[place][$0] == nil }
        let waits = before.runs.first { $0.isDeliverable(test.clock.nowMs()) && $0.deliveryCount < 3 }
        #expect(isPassedOver || waits == nil, "\(comment): \(worker) gets nothing of \(before.runs)")
    }

    /// Whoever gets something new has all that was given back.
    private func checkOrder(_ runs: [SharePartition.Run], _ before: SharePartition) {
        guard let last = runs.last, last.last >= before.endOffset else { return }
        for waiting in before.runs where waiting.isDeliverable(test.clock.nowMs()) && waiting.deliveryCount < 3 {
            #expect(
                (waiting.first...waiting.last).allSatisfy { offset in runs.contains { $0.first <= offset && offset <= $0.last } },
                "\(comment): \(waiting) waits while \(last) is delivered")
        }
    }

    private func records(
        _ bytes: ByteBuffer, _ runs: [SharePartition.Run]
    ) throws -> [(value: String, offset: Int64, deliveries: Int16)] {
        var rest = bytes
        var found: [(String, Int64, Int16)] = []
        while let header = BatchHeader(rest), let batch = rest.readSlice(length: header.sizeInBytes) {
            var reader = try RecordBatchReader(batch, decompressor: Decompressor())
            while let record = try reader.next() {
                guard let run = runs.first(where: { $0.first <= record.offset && record.offset <= $0.last }) else { continue }
                found.append((record.value.map { String(buffer: $0) } ?? "", record.offset, run.deliveryCount))
            }
        }
        return found
    }

    private mutating func delivered(
        _ value: String, _ place: Int, _ offset: Int64, _ deliveries: Int16, to worker: ShareMemberId
    ) {
        guard var job = jobs[value] else {
            Issue.record("\(comment): \(value) was never published")
            return
        }
        #expect(!job.isAccepted, "\(comment): \(value) comes again although its acknowledgement was answered")
        #expect(!job.isRejected, "\(comment): \(value) comes again although it was rejected")
        #expect(job.holder == nil, "\(comment): \(value) is held by \(String(describing: job.holder)) and goes to \(worker)")
        #expect(
            deliveries > job.durableDeliveries && deliveries <= job.deliveries + 1,
            "\(comment): \(value) says delivery \(deliveries) after \(job.deliveries), \(job.durableDeliveries) of them durable")
        job.deliveries = deliveries
        job.holder = worker
        job.offset = offset
        job.place = place
        // It came again: what was not answered did not count.
        job.mayBeAccepted = false
        job.mayBeRejected = false
        jobs[value] = job
    }

    private mutating func speak() throws {
        let held = jobs.filter { $0.value.holder != nil }.sorted { $0.key < $1.key }
        guard let (value, job) = held.randomElement(using: &script), let worker = job.holder else { return }
        let choice = Int.random(in: 0..<8, using: &script)
        let outcome: ShareAcknowledgement.Outcome =
            switch choice {
            case 0...3: .accept
            case 4: .release(delayMs: 0)
            case 5: .release(delayMs: 10_000)
            case 6: .reject(reason: "because")
            default: .renew(durationMs: nil)
            }
        let said = Said()
        queues[job.place].acknowledge(
            [ShareAcknowledgement(first: job.offset, last: job.offset, outcome: outcome)], worker, on: test.loop
        ) { said.answer = .some($0) }
        silent[job.place][worker] = nil
        // Sometimes somebody takes it before the answer is there.
        if Bool.random(using: &script) { settle() }
        settle()
        let isAnswered = said.answer == .some(nil)
        if case .some(.some(.invalidRecordState)) = said.answer {
            Issue.record("\(comment): \(value) is not held by \(worker)")
            return
        }
        switch outcome {
        case .accept:
            jobs[value]?.holder = nil
            if isAnswered { jobs[value]?.isAccepted = true } else { jobs[value]?.mayBeAccepted = true }
        case .reject:
            jobs[value]?.holder = nil
            if isAnswered { jobs[value]?.isRejected = true } else { jobs[value]?.mayBeRejected = true }
        case .release:
            jobs[value]?.holder = nil
            if isAnswered { jobs[value]?.durableDeliveries = job.deliveries }
        case .renew, .gap: break
        }
    }

    /// Locks that have ended are no model of their own: who holds what is asked of the queue.
    private mutating func forgetExpired() {
        for (value, job) in jobs where job.holder != nil {
            let run = queues[job.place].snapshot.runs.first { $0.first <= job.offset && job.offset <= $0.last }
            guard run?.state != .acquired || run?.member != job.holder else { continue }
            jobs[value]?.holder = nil
            if let holder = job.holder, silent[job.place][holder] == nil { silent[job.place][holder] = test.loop.now }
        }
    }

    // MARK: What must hold

    mutating func restart(_ mode: CrashMode) throws {
        files.crash(mode)
        for value in jobs.keys { jobs[value]?.holder = nil }
        queues = []
        known = [[], []]
        silent = [[:], [:]]
        test = try Self.start(files, locksMax)
        settle()
        try setUp()
    }

    /// The broker stops in order: every delivery counts.
    mutating func stop() throws {
        test.engine.prepareToShutDown()
        final class Written: @unchecked Sendable { var isDone = false }
        let written = Written()
        test.engine.shares.writeDeliveries { written.isDone = true }
        settle()
        #expect(written.isDone, comment)
        try test.engine.shutDown()
        for (value, job) in jobs { jobs[value]?.durableDeliveries = job.deliveries }
        try restart(.loseUnsynced)
    }

    /// One worker takes everything that is left and accepts it; then every job must have had its end.
    mutating func drainAndCheck() throws {
        try setUp()
        try #require(queues.count == 2, comment)
        for _ in 0..<20 {
            test.loop.advanceTime(by: .seconds(40))
            test.clock.advance(ms: 40_000)
            settle()
            forgetExpired()
            for place in 0..<2 {
                let limits = ShareFetchLimits(maxRecords: 1_000, maxBytes: 1 << 20, isStrict: true)
                while case .acquired(let bytes, let runs) = try queues[place].fetch(workers[0], limits, on: test.loop) {
                    for (value, offset, deliveries) in try records(bytes, runs) {
                        delivered(value, place, offset, deliveries, to: workers[0])
                        jobs[value]?.isAccepted = true
                        jobs[value]?.holder = nil
                    }
                    for run in runs {
                        queues[place].acknowledge(
                            [ShareAcknowledgement(first: run.first, last: run.last, outcome: .accept)], workers[0],
                            on: test.loop
                        ) { error in #expect(error == nil) }
                    }
                    settle()
                }
            }
        }
        try readDeadLetters()
        for (value, job) in jobs where job.isPublished {
            let isBuried = deadLetters[value] != nil
            #expect(
                job.isAccepted || job.mayBeAccepted || isBuried, "\(comment): \(value) is lost: \(job)")
            if job.isRejected { #expect(isBuried, "\(comment): \(value) was rejected and is no dead letter") }
        }
        for queue in queues {
            let state = queue.snapshot
            #expect(state.startOffset == queue.partition.offsets.highWatermark, "\(comment): \(state.runs)")
        }
    }

    private mutating func readDeadLetters() throws {
        guard let partition = test.engine.topics.topic(named: "dlq.g")?.partition(0) else { return }
        var next = partition.offsets.start
        while let slice = try partition.read(from: next, maxBytes: 1 << 20).slice {
            var bytes = ByteBuffer()
            try slice.read(into: &bytes)
            while let header = BatchHeader(bytes), let batch = bytes.readSlice(length: header.sizeInBytes) {
                next = header.nextOffset
                var reader = try RecordBatchReader(batch, decompressor: Decompressor())
                while let record = try reader.next() { check(record) }
            }
        }
    }

    private mutating func check(_ letter: Record) {
        func header(_ name: String) -> String {
            letter.headers.last { $0.key == name }?.value.map { String(buffer: $0) } ?? ""
        }
        let value = letter.value.map { String(buffer: $0) } ?? ""
        deadLetters[value, default: 0] += 1
        guard jobs[value] != nil else {
            Issue.record("\(comment): a dead letter of nobody: \(letter)")
            return
        }
        let deliveries = header(DeadLetterHeader.deliveryCount)
        #expect(header(DeadLetterHeader.topic) == "jobs" && header(DeadLetterHeader.group) == group)
        if header(DeadLetterHeader.message).hasPrefix("Offset delivery count") {
            #expect(deliveries == "3", "\(comment): \(value) was given up after \(deliveries)")
        } else {
            #expect(header(DeadLetterHeader.message).hasPrefix("Offset rejected"), comment)
        }
    }
}

@Suite struct ShareCrashTests {
    private static let seeds: Range<Int> = {
        let text = unsafe getenv("MARTLET_SHARE_SEEDS").map { unsafe String(cString: $0) }
        return 0..<(text.flatMap { Int($0) } ?? 60)
    }()

    @Test(arguments: seeds)
    func aStopLosesNoDelivery(seed: Int) throws {
        var life = try ShareLife(seed: UInt64(seed))
        for _ in 0..<4 {
            try life.run(steps: 30)
            try life.stop()
        }
        try life.run(steps: 20)
        try life.drainAndCheck()
    }

    @Test(arguments: seeds)
    func aCrashAnywhereLosesNoJobAndNoAnsweredAcknowledgement(seed: Int) throws {
        var life = try ShareLife(seed: UInt64(seed))
        for _ in 0..<4 {
            let crash = Int.random(in: 0..<300, using: &life.script)
            life.files.crash(atChange: life.files.changeCount + crash)
            try life.run(steps: 40)
            let modes: [CrashMode] = [.loseUnsynced, .keepUnsynced, .arbitrary, .processKilled]
            try life.restart(modes[Int.random(in: 0..<4, using: &life.script)])
        }
        try life.run(steps: 20)
        try life.drainAndCheck()
    }
}
