// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: transactions, from a producer's first request to what readers see.

import Bytes
import NIOCore
import Records
import Storage
import TestSupport
import Testing

@testable import Engine

@Suite struct TransactionTests {
    @Test func committedRecordsAreSeenOnceTheTransactionIsOver() throws {
        let test = try TestEngine(durability: .disk)
        let topic = try test.makeTopic(partitions: 2)
        var producer = try test.producer("payments")
        #expect(test.add(producer, topic.partitions[0], topic.partitions[1]) == nil)
        #expect(try test.send(["a"], from: &producer, to: topic.partitions[0]).result?.get().baseOffset == 0)
        _ = test.send(["b", "c"], from: &producer, to: topic.partitions[1])
        #expect(try readCommitted(topic.partitions[0]) == [])
        #expect(try topic.partitions[1].lastStableOffset() == 0)
        #expect(test.end(producer, .commit).error == nil)
        #expect(try readCommitted(topic.partitions[0]) == ["a"])
        #expect(try readCommitted(topic.partitions[1]) == ["b", "c"])
        #expect(try topic.partitions[1].lastStableOffset() == 3)
        #expect(test.transactions.describe("payments")?.state == .completeCommit)
    }

    @Test func abortedRecordsAreNeverSeen() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var first = try test.producer("first")
        var second = try test.producer("second")
        #expect(test.add(first, partition) == nil)
        #expect(test.add(second, partition) == nil)
        _ = test.send(["a1"], from: &first, to: partition)
        _ = test.send(["b1"], from: &second, to: partition)
        _ = test.send(["a2"], from: &first, to: partition)
        #expect(test.end(second, .commit).error == nil)
        // The first one is still open, and it started first.
        #expect(try readCommitted(partition) == [])
        #expect(test.end(first, .abort).error == nil)
        #expect(try readCommitted(partition) == ["b1"])
        let aborted = try partition.readCommitted(from: 0, maxBytes: 1 << 20).aborted
        #expect(aborted == [
            AbortedTransaction(producerId: first.producer.id, firstOffset: 0, lastOffset: 4, lastStableOffset: 5)
        ])
    }

    @Test func manyTransactionsOfOneProducerFollowEachOther() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("loop")
        for round in 0..<10 {
            #expect(test.add(producer, partition) == nil)
            #expect(test.send(["\(round)"], from: &producer, to: partition).error == nil)
            #expect(test.end(producer, round % 3 == 0 ? .abort : .commit).error == nil)
        }
        #expect(try readCommitted(partition) == ["1", "2", "4", "5", "7", "8"])
    }

    @Test func aBatchOutsideATransactionIsRefused() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic(partitions: 2)
        var producer = try test.producer("late")
        #expect(test.send(["a"], from: &producer, to: topic.partitions[0]).error == .partitionNotInTransaction)
        #expect(test.add(producer, topic.partitions[0]) == nil)
        #expect(test.send(["a"], from: &producer, to: topic.partitions[1]).error == .partitionNotInTransaction)
        #expect(test.send(["a"], from: &producer, to: topic.partitions[0]).error == nil)
        #expect(test.end(producer, .commit).error == nil)
        #expect(test.send(["b"], from: &producer, to: topic.partitions[0]).error == .partitionNotInTransaction)
        #expect(try readCommitted(topic.partitions[0]) == ["a"])
    }

    @Test func aPlainBatchOfAProducerWithAnOpenTransactionIsRefused() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("mixed")
        #expect(test.add(producer, partition) == nil)
        _ = test.send(["a"], from: &producer, to: partition)
        let plain = batch("b", producer: .init(id: producer.producer.id, epoch: producer.producer.epoch, baseSequence: 1))
        let answer = test.append(plain, to: partition)
        test.settle()
        #expect(answer.error == .invalidTransactionState)
    }

    @Test func aNewProducerFencesTheOldOneAndAbortsItsTransaction() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var old = try test.producer("worker")
        #expect(test.add(old, partition) == nil)
        _ = test.send(["lost"], from: &old, to: partition)
        // The abort comes first; the new producer tries again, as clients do.
        #expect(test.initialise("worker").error == .concurrentTransactions)
        var new = try test.producer("worker")
        #expect(new.producer.id == old.producer.id)
        #expect(new.producer.epoch > old.producer.epoch)
        #expect(test.send(["zombie"], from: &old, to: partition).error == .invalidProducerEpoch)
        #expect(test.end(old, .commit).error == .producerFenced)
        #expect(test.add(old, partition) == .producerFenced)
        #expect(test.add(new, partition) == nil)
        #expect(test.send(["kept"], from: &new, to: partition).error == nil)
        #expect(test.end(new, .commit).error == nil)
        #expect(try readCommitted(partition) == ["kept"])
    }

    @Test func endingTwiceIsNoErrorAndEndingOtherwiseIs() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let producer = try test.producer("twice")
        #expect(test.end(producer, .commit).error == .invalidTxnState)
        #expect(test.add(producer, partition) == nil)
        #expect(test.end(producer, .commit).error == nil)
        #expect(test.end(producer, .commit).error == nil)
        #expect(test.end(producer, .abort).error == .invalidTxnState)
    }

    @Test func strangersAreRefused() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("known")
        let unknown = TestProducer(id: "unknown", producer: producer.producer)
        #expect(test.add(unknown, partition) == .invalidProducerIdMapping)
        producer.producer.id += 1
        #expect(test.add(producer, partition) == .invalidProducerIdMapping)
        #expect(test.end(producer, .abort).error == .invalidProducerIdMapping)
        #expect(test.initialise("").error == .invalidRequest)
        #expect(test.initialise("x", timeoutMs: 0).error == .invalidTransactionTimeout)
        #expect(test.initialise("x", timeoutMs: 900_001).error == .invalidTransactionTimeout)
        #expect(
            test.initialise("known", expected: .init(id: producer.producer.id, epoch: 0)).error == .producerFenced)
    }

    @Test func aProducerThatNamesItsEpochGetsTheNextOne() throws {
        let test = try TestEngine()
        let producer = try test.producer("kip360")
        let next = try #require(try test.initialise("kip360", expected: producer.producer).result?.get())
        #expect(next == TransactionalProducer(id: producer.producer.id, epoch: producer.producer.epoch + 1))
        var older = producer.producer
        older.epoch -= 1
        #expect(test.initialise("kip360", expected: older).error == .producerFenced)
    }

    @Test func aTransactionThatTakesTooLongIsAbortedAndItsProducerFenced() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("slow", timeoutMs: 1_000)
        #expect(test.add(producer, partition) == nil)
        _ = test.send(["a"], from: &producer, to: partition)
        test.clock.advance(ms: 1_000)
        test.transactions.cleanUp()
        test.settle()
        #expect(test.transactions.describe("slow")?.state == .ongoing)
        test.clock.advance(ms: 1)
        test.transactions.cleanUp()
        test.settle()
        #expect(test.transactions.describe("slow")?.state == .completeAbort)
        #expect(test.end(producer, .commit).error == .producerFenced)
        #expect(test.send(["b"], from: &producer, to: partition).error == .invalidProducerEpoch)
        #expect(try readCommitted(partition) == [])
        #expect(try partition.lastStableOffset() == 2)
    }

    @Test func anIdleProducerIsForgottenAfterADayByTheBrokersClock() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var open = try test.producer("open")
        #expect(test.add(open, partition) == nil)
        _ = test.send(["o"], from: &open, to: partition)
        let idle = RecordBatchBuilder.Producer(id: 900, epoch: 0, baseSequence: 0)
        let first = test.append(batch("a", timestamp: test.clock.nowMs(), producer: idle), to: partition)
        test.settle()
        #expect(first.error == nil)
        test.clock.advance(ms: 86_399_999)
        test.engine.forgetIdleProducers()
        #expect(try partition.activeProducers().map(\.id) == [open.producer.id, 900])
        test.clock.advance(ms: 1)
        test.engine.forgetIdleProducers()
        #expect(try partition.activeProducers().map(\.id) == [open.producer.id])
    }

    @Test func aForgottenIdLeavesATombstoneAndIsNewAgain() throws {
        let files = SimulatedFileSystem(seed: 2)
        var test = try TestEngine(fileSystem: files, durability: .disk) { $0.transactions.idExpirationMs = 1_000 }
        let partition = try #require(try test.makeTopic().partition(0))
        let first = try test.producer("gone")
        let open = try test.producer("open", timeoutMs: 900_000)
        #expect(test.add(open, partition) == nil)
        test.clock.advance(ms: 1_001)
        test.transactions.cleanUp()
        test.settle()
        #expect(test.transactions.list().map(\.id) == ["open"])
        files.crash(.loseUnsynced)
        test = try TestEngine(fileSystem: files, durability: .disk)
        test.settle()
        #expect(test.transactions.list().map(\.id) == ["open"])
        let again = try test.producer("gone")
        #expect(again.producer.epoch == 0)
        #expect(again.producer.id != first.producer.id)
    }

    @Test func anIdThatNobodyUsesIsForgotten() throws {
        let test = try TestEngine()
        _ = try test.producer("gone")
        test.clock.advance(ms: 7 * 24 * 3_600_000 + 1)
        test.transactions.cleanUp()
        test.settle()
        #expect(test.transactions.describe("gone") == nil)
    }

    @Test func deletedTopicsDoNotHoldUpATransaction() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic("doomed")
        var producer = try test.producer("p")
        #expect(test.add(producer, topic.partitions[0]) == nil)
        _ = test.send(["a"], from: &producer, to: topic.partitions[0])
        let deleted = test.engine.topics.delete("doomed", on: test.loop)
        test.settle()
        try deleted.wait()
        #expect(test.end(producer, .commit).error == nil)
        #expect(test.transactions.describe("p")?.state == .completeCommit)
    }

    @Test func aFullDiskDelaysTheEndOfATransactionAndChangesNothingElse() throws {
        let files = SimulatedFileSystem(seed: 1)
        let test = try TestEngine(fileSystem: files, durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        var producer = try test.producer("full")
        #expect(test.add(producer, partition) == nil)
        #expect(test.send(["a"], from: &producer, to: partition).error == nil)
        files.inject(SimulatedFault(.write, path: "orders-0", times: 1, errno: 28))
        #expect(test.end(producer, .commit).error == nil)
        #expect(test.transactions.describe("full")?.state == .prepareCommit)
        #expect(try readCommitted(partition) == [])
        #expect(test.add(producer, partition) == .concurrentTransactions)
        test.transactions.cleanUp()
        test.settle()
        #expect(test.transactions.describe("full")?.state == .completeCommit)
        #expect(try readCommitted(partition) == ["a"])
    }
}

@Suite struct TransactionOffsetsTests {
    @Test func offsetsCountWhenTheTransactionCommits() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic(partitions: 2)
        let producer = try test.producer("etl")
        #expect(test.commitOffsets([0: 5, 1: 7], group: "g", topic: "orders", producer) == nil)
        #expect(try test.committed("g", "orders", 0) == nil)
        #expect(test.end(producer, .commit).error == nil)
        #expect(try test.committed("g", "orders", 0) == 5)
        #expect(try test.committed("g", "orders", 1) == 7)
    }

    @Test func offsetsOfAnAbortedTransactionNeverCount() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic()
        let producer = try test.producer("etl")
        #expect(test.commitOffsets([0: 5], group: "g", topic: "orders", producer) == nil)
        #expect(test.end(producer, .abort).error == nil)
        #expect(try test.committed("g", "orders", 0) == nil)
        #expect(test.commitOffsets([0: 6], group: "g", topic: "orders", producer) == nil)
        #expect(test.end(producer, .commit).error == nil)
        #expect(try test.committed("g", "orders", 0) == 6)
    }

    @Test func pendingOffsetsAreUnstableUntilTheEnd() throws {
        let test = try TestEngine(durability: .disk)
        _ = try test.makeTopic()
        let producer = try test.producer("etl")
        func isUnstable() throws -> Bool? {
            let outcome = Answer<[TopicPositions]>()
            test.engine.groups.stableCommitted(
                groupId: "g", topics: [TopicPartitions(topic: "orders", partitions: [0])], on: test.loop
            ) { outcome.result = $0.mapError { _ in EngineError(.shuttingDown, "") } }
            test.settle()
            return try outcome.result?.get()[0].positions[0].isUnstable
        }
        #expect(try isUnstable() == false)
        #expect(test.commitOffsets([0: 5], group: "g", topic: "orders", producer) == nil)
        #expect(test.commitOffsets([0: 6], group: "g", topic: "orders", producer) == nil)
        #expect(try isUnstable() == true)
        #expect(test.end(producer, .commit).error == nil)
        #expect(try isUnstable() == false)
        #expect(try test.committed("g", "orders", 0) == 6)
    }

    @Test func offsetsWithoutATransactionAreRefused() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let producer = try test.producer("etl")
        let outcome = Outcome<OffsetRefusal?>()
        test.transactions.commitOffsets(
            OffsetCommit(groupId: "g", positions: [.init(topic: "orders", partition: 0, offset: 1)]),
            of: "etl", producer.producer, on: test.loop
        ) { outcome.result = .success($0) }
        test.settle()
        #expect(try outcome.result?.get() == .transaction(.invalidTxnState))
    }

    @Test func aStaleMemberCannotCommit() throws {
        let test = try TestEngine()
        _ = try test.makeTopic()
        let producer = try test.producer("etl")
        #expect(test.commitOffsets([0: 1], group: "g", topic: "orders", producer) == nil)
        let outcome = Outcome<OffsetRefusal?>()
        test.transactions.commitOffsets(
            OffsetCommit(
                groupId: "g", member: GroupMemberIdentity(memberId: "ghost"), generationId: 3,
                positions: [.init(topic: "orders", partition: 0, offset: 1)]),
            of: "etl", producer.producer, on: test.loop
        ) { outcome.result = .success($0) }
        test.settle()
        #expect(try outcome.result?.get() == .group(.illegalGeneration))
    }

    @Test func offsetsThatWereCommittedOnceAreNotCommittedAgainAfterACrash() throws {
        let files = SimulatedFileSystem(seed: 7)
        var test = try TestEngine(fileSystem: files, durability: .disk)
        _ = try test.makeTopic()
        let producer = try test.producer("etl")
        #expect(test.commitOffsets([0: 5], group: "g", topic: "orders", producer) == nil)
        // The decision is written, that it was carried out is not.
        files.inject(SimulatedFault(.write, path: "__transaction_state", skip: 1, times: 1, errno: 28))
        #expect(test.end(producer, .commit).error == nil)
        let later = Answer<Void>()
        test.engine.groups.commit(
            OffsetCommit(groupId: "g", positions: [.init(topic: "orders", partition: 0, offset: 9)]),
            on: test.loop
        ) { later.result = $0.map { _ in }.mapError { _ in EngineError(.shuttingDown, "") } }
        test.settle()
        #expect(try test.committed("g", "orders", 0) == 9)
        files.crash(.loseUnsynced)
        test = try TestEngine(fileSystem: files, durability: .disk)
        #expect(test.transactions.describe("etl")?.state == .prepareCommit)
        test.settle()
        #expect(test.transactions.describe("etl")?.state == .completeCommit)
        #expect(try test.committed("g", "orders", 0) == 9)
    }
}
