// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: transactions version 2 (KIP-890): the epoch rises with every end, partitions come with what is
// written, requests are recognised when they are repeated.

import Bytes
import NIOCore
import Records
import Storage
import Synchronization
import TestSupport
import Testing

@testable import Engine

extension TestEngine {
    /// Ends a transaction as a client of version 2 does, and takes what it is told.
    @discardableResult
    func end2(_ producer: inout TestProducer, _ marker: TransactionMarker) -> Outcome<TransactionalProducer> {
        let outcome = Outcome<TransactionalProducer>()
        transactions.end(producer.id, producer.producer, marker, by: .two, on: loop) { outcome.result = $0 }
        settle()
        if case .success(let next) = outcome.result {
            if next != producer.producer { producer.sequence = [:] }
            producer.producer = next
        }
        return outcome
    }

    /// Adds partitions as Produce does for a client of version 2.
    func add2(_ producer: TestProducer, _ partitions: Partition...) -> TransactionError? {
        let outcome = Outcome<Void>()
        transactions.addPartitions(
            producer.id, producer.producer,
            partitions.map { TopicPartition(topic: $0.topic, partition: $0.index) }, by: .two, on: loop
        ) { outcome.result = $0 }
        settle()
        return outcome.result == nil ? .notCoordinator : outcome.error
    }

    func commitOffsets2(
        _ offset: Int64, group: String, topic: String, _ producer: TestProducer
    ) -> Outcome<OffsetRefusal?> {
        let outcome = Outcome<OffsetRefusal?>()
        let commit = OffsetCommit(groupId: group, positions: [.init(topic: topic, partition: 0, offset: offset)])
        transactions.commitOffsets(commit, of: producer.id, producer.producer, by: .two, on: loop) {
            outcome.result = .success($0)
        }
        settle()
        return outcome
    }

    /// The durable state of a transactional id, as if it had come to this.
    func put(_ transaction: Transaction, as id: String) {
        transactions.table.withLock { $0.insert(id, TransactionTable.Entry(current: transaction)) }
    }
}

@Suite struct TransactionVersionTwoTests {
    @Test func everyEndRaisesTheEpoch() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("loop")
        let id = producer.producer.id
        for round in 0..<10 {
            #expect(producer.producer == TransactionalProducer(id: id, epoch: Int16(round)))
            #expect(test.add2(producer, partition) == nil)
            #expect(test.send(["\(round)"], from: &producer, to: partition).error == nil)
            #expect(test.end2(&producer, round % 3 == 0 ? .abort : .commit).error == nil)
        }
        #expect(try readCommitted(partition) == ["1", "2", "4", "5", "7", "8"])
        #expect(try partition.lastStableOffset() == 20)
    }

    @Test func aRepeatedEndIsAnsweredAsTheFirst() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let first = try test.producer("twice")
        #expect(test.add2(first, partition) == nil)
        var once = first
        #expect(test.end2(&once, .commit).error == nil)
        var again = first
        #expect(test.end2(&again, .commit).error == nil)
        #expect(again.producer == once.producer)
        #expect(once.producer.epoch == first.producer.epoch + 1)
        var otherwise = first
        #expect(test.end2(&otherwise, .abort).error == .invalidTxnState)
        var older = first
        older.producer.epoch -= 1
        #expect(test.end2(&older, .commit).error == .producerFenced)
    }

    @Test func aTransactionInWhichNothingWasDoneCanBeAborted() throws {
        let test = try TestEngine()
        var producer = try test.producer("empty")
        var committing = producer
        #expect(test.end2(&committing, .commit).error == .invalidTxnState)
        #expect(test.end2(&producer, .abort).error == nil)
        #expect(producer.producer.epoch == 1)
        #expect(test.transactions.describe("empty")?.state == .completeAbort)
        // Once more, as the end of the next transaction.
        #expect(test.end2(&producer, .abort).error == nil)
        #expect(producer.producer.epoch == 2)
        committing = producer
        #expect(test.end2(&committing, .commit).error == .invalidTxnState)
        #expect(test.end(producer, .abort).error == nil, "a client of version 1 asks for what was done")
    }

    @Test func aLateBatchOfAnEarlierTransactionIsRefused() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("late")
        #expect(test.add2(producer, partition) == nil)
        _ = test.send(["a"], from: &producer, to: partition)
        var late = producer
        #expect(test.end2(&producer, .commit).error == nil)
        #expect(test.add2(producer, partition) == nil)
        // The next transaction is open and names the partition: the epoch alone tells the two apart.
        #expect(test.add2(late, partition) == .producerFenced)
        #expect(test.send(["b"], from: &late, to: partition).error == .invalidProducerEpoch)
        #expect(test.send(["c"], from: &producer, to: partition).error == nil)
        #expect(test.end2(&producer, .commit).error == nil)
        #expect(try readCommitted(partition) == ["a", "c"])
    }

    @Test(arguments: [TransactionMarker.commit, .abort])
    func usedUpEpochsBringANewProducerId(marker: TransactionMarker) throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("old")
        var aged = try #require(test.transactions.describe("old"))
        aged.producer.epoch = Int16.max - 1
        test.put(aged, as: "old")
        producer.producer = aged.producer
        #expect(test.add2(producer, partition) == nil)
        #expect(test.send(["last"], from: &producer, to: partition).error == nil)
        let last = producer
        #expect(test.end2(&producer, marker).error == nil)
        #expect(producer.producer.id != last.producer.id)
        #expect(producer.producer.epoch == 0)
        // The answer was lost: the same again, with the old id.
        var again = last
        #expect(test.end2(&again, marker).error == nil)
        #expect(again.producer == producer.producer)
        var otherwise = last
        #expect(test.end2(&otherwise, marker == .commit ? .abort : .commit).error == .invalidTxnState)
        #expect(test.add2(last, partition) == .invalidProducerIdMapping)
        #expect(test.add2(producer, partition) == nil)
        #expect(test.send(["first"], from: &producer, to: partition).error == nil)
        #expect(test.end2(&producer, .commit).error == nil)
        #expect(try readCommitted(partition) == (marker == .commit ? ["last", "first"] : ["first"]))
        #expect(try partition.lastStableOffset() == 4)
    }

    @Test func whatAProducerWasToldSurvivesAStart() throws {
        let files = SimulatedFileSystem(seed: 3)
        var test = try TestEngine(fileSystem: files, durability: .disk)
        let first = try test.producer("p")
        var aged = try #require(test.transactions.describe("p"))
        aged.producer.epoch = Int16.max - 1
        test.put(aged, as: "p")
        var producer = first
        producer.producer = aged.producer
        #expect(test.add2(producer, try #require(try test.makeTopic().partition(0))) == nil)
        let last = producer
        #expect(test.end2(&producer, .commit).error == nil)
        test.settle()
        files.crash(.loseUnsynced)
        test = try TestEngine(fileSystem: files, durability: .disk)
        test.settle()
        var again = last
        #expect(test.end2(&again, .commit).error == nil)
        #expect(again.producer == producer.producer)
        let current = try #require(test.transactions.describe("p"))
        #expect(current.producer == producer.producer)
        #expect(current.previousProducerId == last.producer.id)
        #expect(current.clientVersion == .two)
    }

    @Test func oneIdGoesFromVersionToVersion() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var expected: [String] = []
        for round in 0..<6 {
            var producer = try test.producer("both")
            for step in 0..<2 {
                let value = "\(round)/\(step)"
                if round % 2 == 0 {
                    #expect(test.add(producer, partition) == nil)
                    #expect(test.send([value], from: &producer, to: partition).error == nil)
                    #expect(test.end(producer, step == 0 ? .commit : .abort).error == nil)
                } else {
                    #expect(test.add2(producer, partition) == nil)
                    #expect(test.send([value], from: &producer, to: partition).error == nil)
                    #expect(test.end2(&producer, step == 0 ? .commit : .abort).error == nil)
                }
                if step == 0 { expected.append(value) }
            }
        }
        #expect(try readCommitted(partition) == expected)
    }

    @Test func offsetsNeedNoAddOffsets() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic()
        var producer = try test.producer("offsets")
        let outcome = test.commitOffsets2(7, group: "g", topic: "orders", producer)
        #expect(try outcome.result?.get() == .some(nil))
        #expect(test.transactions.describe("offsets")?.state == .ongoing)
        #expect(try test.committed("g", "orders", 0) == nil)
        #expect(test.end2(&producer, .commit).error == nil)
        #expect(try test.committed("g", "orders", 0) == 7)
        _ = test.commitOffsets2(9, group: "g", topic: "orders", producer)
        #expect(test.end2(&producer, .abort).error == nil)
        #expect(try test.committed("g", "orders", 0) == 7)
        producer.producer.epoch -= 1
        #expect(try test.commitOffsets2(11, group: "g", topic: "orders", producer).result?.get()
            == .transaction(.producerFenced))
    }

    @Test func requestsOfOneProducerWaitForEachOtherInOrder() throws {
        let test = try TestEngine(durability: .disk)
        let topic = try test.makeTopic(partitions: 3)
        let producer = try test.producer("busy")
        let order = Order()
        for index in [0, 1, 0, 2] {
            test.transactions.addPartitions(
                producer.id, producer.producer, [TopicPartition(topic: topic.name, partition: Int32(index))], by: .two,
                on: test.loop
            ) { result in
                if case .success = result { order.seen.append(index) }
            }
        }
        let offsets = Outcome<OffsetRefusal?>()
        test.transactions.commitOffsets(
            OffsetCommit(groupId: "g", positions: [.init(topic: topic.name, partition: 0, offset: 1)]), of: "busy",
            producer.producer, by: .two, on: test.loop
        ) { offsets.result = .success($0) }
        // A client of version 1 is asked to come again.
        let early = Outcome<Void>()
        test.transactions.addPartitions(
            producer.id, producer.producer, [TopicPartition(topic: topic.name, partition: 1)], on: test.loop
        ) { early.result = $0 }
        #expect(early.error == .concurrentTransactions)
        test.settle()
        test.settle()
        #expect(order.seen == [0, 1, 0, 2])
        #expect(try offsets.result?.get() == .some(nil))
        #expect(test.transactions.describe("busy")?.partitions.count == 4)
    }

    private final class Order: @unchecked Sendable {
        // Unchecked: tests run in one thread.
        var seen: [Int] = []
    }

    @Test func whoWaitsIsBounded() throws {
        let test = try TestEngine(durability: .disk) { $0.transactions.waitingMax = 2 }
        let topic = try test.makeTopic(partitions: 4)
        let producer = try test.producer("crowd")
        let outcomes = (0..<4).map { _ in Outcome<Void>() }
        for (index, outcome) in outcomes.enumerated() {
            test.transactions.addPartitions(
                producer.id, producer.producer, [TopicPartition(topic: topic.name, partition: Int32(index))], by: .two,
                on: test.loop
            ) { outcome.result = $0 }
        }
        test.settle()
        test.settle()
        #expect(outcomes.map(\.error) == [nil, nil, nil, .concurrentTransactions])
        #expect(outcomes.allSatisfy { $0.result != nil })
    }

    @Test func aTimeoutFencesAProducerOfVersionTwo() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("slow", timeoutMs: 1_000)
        #expect(test.add2(producer, partition) == nil)
        _ = test.send(["a"], from: &producer, to: partition)
        test.clock.advance(ms: 1_001)
        test.transactions.cleanUp()
        test.settle()
        // Not taken for a repeated abort of its own: it would go on with an epoch that it was never given.
        var aborting = producer
        #expect(test.end2(&aborting, .abort).error == .producerFenced)
        #expect(test.end2(&producer, .commit).error == .producerFenced)
        #expect(test.send(["b"], from: &producer, to: partition).error == .invalidProducerEpoch)
        #expect(try readCommitted(partition) == [])
    }

    @Test func theLastEpochIsFencedAndThenReplaced() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("aged")
        var aged = try #require(test.transactions.describe("aged"))
        aged.producer.epoch = Int16.max - 1
        test.put(aged, as: "aged")
        producer.producer = aged.producer
        #expect(test.add2(producer, partition) == nil)
        _ = test.send(["lost"], from: &producer, to: partition)
        #expect(test.initialise("aged").error == .concurrentTransactions)
        #expect(test.transactions.describe("aged")?.producer.epoch == .max)
        let next = try #require(try test.initialise("aged").result?.get())
        #expect(next.id != producer.producer.id)
        #expect(next.epoch == 0)
        #expect(test.end2(&producer, .commit).error == .invalidProducerIdMapping)
    }

    @Test func whoeverDidNotHearTheAnswerMayAskAgain() throws {
        let test = try TestEngine()
        let first = try test.producer("kip360").producer
        let second = try #require(try test.initialise("kip360", expected: first).result?.get())
        #expect(second.epoch == first.epoch + 1)
        // A repetition gets the same; somebody else's initialisation ends that.
        #expect(try test.initialise("kip360", expected: first).result?.get() == second)
        #expect(try test.initialise("kip360").result?.get().epoch == second.epoch + 1)
        #expect(test.initialise("kip360", expected: first).error == .producerFenced)
        #expect(test.initialise("kip360", expected: second).error == .producerFenced)
        // The same where the id changes with it.
        var aged = try #require(test.transactions.describe("kip360"))
        aged.producer.epoch = Int16.max - 1
        test.put(aged, as: "kip360")
        let renewed = try #require(try test.initialise("kip360", expected: aged.producer).result?.get())
        #expect(renewed.id != first.id)
        #expect(try test.initialise("kip360", expected: aged.producer).result?.get() == renewed)
    }

    @Test func noProducerIsNotTakenForThePreviousOne() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let producer = try test.producer("p")
        #expect(test.add(producer, partition) == nil)
        #expect(test.end(producer, .commit).error == nil)
        var nobody = producer
        nobody.producer = TransactionalProducer(id: -1, epoch: Int16.max - 1)
        #expect(test.end2(&nobody, .commit).error == .invalidProducerIdMapping)
    }

    @Test func anEmptyIdIsNoId() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        var nobody = TestProducer(id: "", producer: .init(id: 0, epoch: 0))
        #expect(test.add2(nobody, partition) == .invalidRequest)
        #expect(test.end2(&nobody, .commit).error == .invalidRequest)
    }
}
