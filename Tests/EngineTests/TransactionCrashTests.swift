// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: transactions over crashes of the machine, anywhere in the middle of them.
//
// Two producers write to two partitions and commit offsets, from a seed. The machine crashes at some change to the
// disk; the broker starts again, and what readers of committed records see is compared with a model: a
// transaction that was answered as committed is there as a whole, one that was aborted or never ended is not, and
// one whose answer was still missing is there as a whole or not at all. Committed offsets never go back.

import Logging
import NIOCore
import Records
import Storage
import TestSupport
import Testing

@testable import Engine

extension Logger {
    /// Crashes are what this is about; what the broker says of them is not.
    fileprivate static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}

private struct TransactionModel {
    enum Fate {
        case committed
        case aborted
        case unknown
    }

    struct Written {
        var fate: Fate
        /// Values by partition, in the order in which they were acknowledged.
        var values: [[String]]
        var offset: Int64
    }

    var finished: [Written] = []
    /// The highest position that was acknowledged as committed.
    var offset: [String: Int64] = [:]
}

private struct TransactionLife {
    let files: SimulatedFileSystem
    var test: TestEngine
    var model = TransactionModel()
    var script: Storage.SeededGenerator
    private var count: Int64 = 0
    /// How the producer of the moment goes about transactions.
    private var isVersionTwo = false

    init(seed: UInt64) throws {
        files = SimulatedFileSystem(seed: seed)
        script = Storage.SeededGenerator(seed: seed &* 77 &+ 3)
        test = try TestEngine(fileSystem: files, durability: .disk, logger: .silent)
    }

    /// Until the machine is down, or `rounds` are over.
    mutating func run(rounds: Int) throws {
        if test.engine.topics.topic(named: "orders") == nil {
            let topic = test.engine.topics.create(
                TopicSpecification(
                    name: "orders", partitions: 2, overrides: ["segment.bytes": "2000"]), on: test.loop)
            test.settle()
            guard !files.hasCrashed else { return }
            _ = try topic.wait()
        }
        for _ in 0..<rounds where !files.hasCrashed {
            try transaction(of: "p\(Int.random(in: 0..<2, using: &script))")
            if Int.random(in: 0..<6, using: &script) == 0 { test.engine.checkpoint() }
        }
    }

    private mutating func transaction(of id: String) throws {
        guard let topic = test.engine.topics.topic(named: "orders") else { return }
        var initialised = test.initialise(id)
        if initialised.error == .concurrentTransactions { initialised = test.initialise(id) }
        guard let started = try? initialised.result?.get() else { return }
        var producer = TestProducer(id: id, producer: started)
        isVersionTwo = Bool.random(using: &script)
        for _ in 0..<Int.random(in: 1...3, using: &script) where !files.hasCrashed {
            guard try one(&producer, topic) else { return }
        }
    }

    /// One transaction; false if it was left open, so that its producer has to start again.
    private mutating func one(_ producer: inout TestProducer, _ topic: Topic) throws -> Bool {
        count += 1
        var written = TransactionModel.Written(fate: .aborted, values: [[], []], offset: count * 10)
        let added = isVersionTwo
            ? test.add2(producer, topic.partitions[0], topic.partitions[1])
            : test.add(producer, topic.partitions[0], topic.partitions[1])
        guard added == nil else { return false }
        for step in 0..<Int.random(in: 1...3, using: &script) {
            let at = Int.random(in: 0..<2, using: &script)
            let value = "\(producer.id)/\(count)/\(step)"
            let answer = test.send([value], from: &producer, to: topic.partitions[at])
            guard case .success = answer.result else {
                // The transaction is left open: it can only be aborted.
                model.finished.append(written)
                return false
            }
            written.values[at].append(value)
        }
        let group = "group-\(producer.id)"
        let hasOffsets = Bool.random(using: &script)
        if hasOffsets, !commitOffset(written.offset, group, producer) || files.hasCrashed {
            model.finished.append(written)
            return false
        }
        if Int.random(in: 0..<8, using: &script) == 0 {
            // The producer goes away in the middle.
            model.finished.append(written)
            return false
        }
        let marker: TransactionMarker = Int.random(in: 0..<4, using: &script) == 0 ? .abort : .commit
        let end = end(&producer, marker)
        if marker == .commit {
            if case .success = end.result { written.fate = .committed } else { written.fate = .unknown }
            if written.fate == .committed, hasOffsets { model.offset[group] = written.offset }
        }
        model.finished.append(written)
        if written.fate == .committed, Bool.random(using: &script) { commitPlainly(group, written.offset + 5) }
        if case .success = end.result { return true }
        return false
    }

    private func commitOffset(_ offset: Int64, _ group: String, _ producer: TestProducer) -> Bool {
        guard isVersionTwo else {
            return test.commitOffsets([0: offset], group: group, topic: "orders", producer) == nil
        }
        guard case .success(nil) = test.commitOffsets2(offset, group: group, topic: "orders", producer).result else {
            return false
        }
        return true
    }

    private func end(_ producer: inout TestProducer, _ marker: TransactionMarker) -> Outcome<Void> {
        guard isVersionTwo else { return test.end(producer, marker) }
        let outcome = Outcome<Void>()
        outcome.result = test.end2(&producer, marker).result.map { $0.map { _ in } }
        return outcome
    }

    /// A commit of the group's own, after that of the transaction.
    private mutating func commitPlainly(_ group: String, _ offset: Int64) {
        let answer = Answer<Void>()
        test.engine.groups.commit(
            OffsetCommit(groupId: group, positions: [.init(topic: "orders", partition: 0, offset: offset)]),
            on: test.loop
        ) { answer.result = $0.map { _ in }.mapError { _ in EngineError(.shuttingDown, "") } }
        test.settle()
        if case .success = answer.result { model.offset[group] = offset }
    }

    /// The machine comes back, the broker starts, and what it serves is compared with the model.
    mutating func restartAndCheck(_ mode: CrashMode, _ comment: Comment) throws {
        files.crash(mode)
        test = try TestEngine(fileSystem: files, durability: .disk, logger: .silent)
        test.settle()
        test.transactions.cleanUp()
        test.settle()
        // Whatever was open is aborted by the producers' return.
        for id in ["p0", "p1"] {
            if test.initialise(id).error == .concurrentTransactions {
                #expect(test.initialise(id).error == nil, comment)
            }
        }
        for (group, offset) in model.offset {
            let found = try test.committed(group, "orders", 0)
            #expect((found ?? -1) >= offset, "\(comment): \(group) went back to \(String(describing: found))")
        }
        guard let topic = test.engine.topics.topic(named: "orders") else {
            return #expect(model.finished.allSatisfy { $0.fate != .committed }, comment)
        }
        let found = try topic.partitions.map { try readCommitted($0) }
        for index in model.finished.indices {
            let written = model.finished[index]
            let isThere = (0..<2).map { at in written.values[at].allSatisfy(found[at].contains) }
            let isAnyThere = (0..<2).contains { at in written.values[at].contains(where: found[at].contains) }
            switch written.fate {
            case .committed: #expect(isThere == [true, true], "\(comment): \(written)")
            case .aborted: #expect(!isAnyThere, "\(comment): \(written)")
            case .unknown:
                #expect(isThere == [true, true] || !isAnyThere, "\(comment): half of \(written)")
                // From now on it stays what it is.
                model.finished[index].fate = isAnyThere ? .committed : .aborted
            }
        }
        for (at, values) in found.enumerated() {
            let expected = model.finished.filter { $0.fate == .committed }.flatMap { $0.values[at] }
            #expect(values == expected, "\(comment): partition \(at)")
            #expect(try topic.partitions[at].lastStableOffset() == topic.partitions[at].offsets.highWatermark, comment)
        }
    }
}

@Suite struct TransactionCrashTests {
    @Test(arguments: 0..<60)
    func aCrashAnywhereLeavesTransactionsWholeOrAbsent(seed: Int) throws {
        var life = try TransactionLife(seed: UInt64(seed))
        for round in 0..<4 {
            let crash = Int.random(in: 0..<220, using: &life.script)
            life.files.crash(atChange: life.files.changeCount + crash)
            try life.run(rounds: 6)
            let mode: CrashMode = [.loseUnsynced, .keepUnsynced, .arbitrary][Int.random(in: 0..<3, using: &life.script)]
            try life.restartAndCheck(mode, "seed \(seed), crash \(round) at change \(crash)")
        }
    }
}
