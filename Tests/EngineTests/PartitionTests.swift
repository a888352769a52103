// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: a record's way through a partition.

import Bytes
import NIOCore
import Records
import Storage
import Testing

import TestSupport

@testable import Engine

@Suite struct PartitionTests {
    @Test func anAppendIsAnsweredWhenTheTurnEndsAndReadableFromThen() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let answer = test.append(batch("a", "b"), to: partition)
        #expect(answer.result == nil)
        #expect(try read(partition) == [])
        test.turn()
        #expect(try answer.result?.get().baseOffset == 0)
        #expect(try read(partition) == ["0:a", "1:b"])
    }

    @Test func appendsOfOneTurnGetConsecutiveOffsets() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let answers = ["a", "b", "c"].map { test.append(batch($0), to: partition) }
        test.turn()
        #expect(try answers.map { try $0.result?.get().baseOffset } == [0, 1, 2])
        #expect(try read(partition, from: 1) == ["1:b", "2:c"])
    }

    @Test func acksAllIsAnsweredAfterTheSyncAndAcksOneBefore() throws {
        let test = try TestEngine(durability: .disk)
        let partition = try #require(try test.makeTopic().partition(0))
        let one = test.append(batch("a"), to: partition, acks: .leader)
        let all = test.append(batch("b"), to: partition, acks: .all)
        test.turn()
        #expect(one.result != nil)
        #expect(all.result == nil)
        test.groupCommit.runRound()
        test.turn()
        #expect(try all.result?.get().baseOffset == 1)
    }

    @Test func oneSyncServesAllWhoWait() throws {
        let test = try TestEngine(durability: .disk)
        let topic = try test.makeTopic(partitions: 3)
        let answers = (0..<30).map { at in
            test.append(batch("\(at)"), to: topic.partitions[at % 3], acks: .all)
        }
        test.turn()
        #expect(test.groupCommit.runRound())
        test.turn()
        #expect(answers.allSatisfy { (try? $0.result?.get()) != nil })
    }

    @Test func aRepeatedBatchIsAnsweredWithItsOffsetAndStoredOnce() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        let producer = RecordBatchBuilder.Producer(id: 5, epoch: 0, baseSequence: 0)
        _ = test.append(batch("x"), to: partition)
        let first = test.append(batch("a", producer: producer), to: partition)
        let sameTurn = test.append(batch("a", producer: producer), to: partition)
        test.turn()
        let later = test.append(batch("a", producer: producer), to: partition)
        test.turn()
        for answer in [first, sameTurn, later] { #expect(try answer.result?.get().baseOffset == 1) }
        #expect(try read(partition) == ["0:x", "1:a"])
    }

    @Test func aDamagedBatchIsRefusedAndTheNextOneTaken() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic().partition(0))
        var damaged = batch("a")
        let last = damaged.writerIndex - 1
        damaged.setInteger(UInt8(0xff), at: last)
        #expect(test.append(damaged, to: partition).error == .corruptMessage)
        let next = test.append(batch("b"), to: partition)
        test.turn()
        #expect(try next.result?.get().baseOffset == 0)
    }

    @Test func aBatchOverTheLimitIsRefused() throws {
        let test = try TestEngine()
        let partition = try #require(try test.makeTopic(overrides: ["max.message.bytes": "100"]).partition(0))
        #expect(test.append(batch(String(repeating: "x", count: 100)), to: partition).error == .messageTooLarge)
    }

    @Test func logAppendTimeIsTheBrokersAndIsAnswered() throws {
        let test = try TestEngine()
        let topic = try test.makeTopic(overrides: ["message.timestamp.type": "LogAppendTime"])
        let partition = try #require(topic.partition(0))
        let answer = test.append(batch("a", timestamp: 5), to: partition)
        test.turn()
        #expect(try answer.result?.get().logAppendTimeMs == test.clock.nowMs())
        let slice = try #require(try partition.read(from: 0, maxBytes: 1000).slice)
        var bytes = ByteBuffer()
        try slice.read(into: &bytes)
        let header = try #require(BatchHeader(bytes))
        #expect(header.isLogAppendTime)
        #expect(header.maxTimestamp == test.clock.nowMs())
        #expect(BatchBytes.isCRCValid(bytes, header: header))
    }

    @Test func aDeletedTopicAnswersWhoWaitsAndRefusesTheRest() throws {
        let test = try TestEngine(durability: .disk)
        let topic = try test.makeTopic()
        let partition = try #require(topic.partition(0))
        let waiting = test.append(batch("a"), to: partition, acks: .all)
        let deletion = test.engine.topics.delete("orders", on: test.loop)
        test.turn()
        test.sync()
        try deletion.wait()
        #expect(waiting.result != nil)
        #expect(test.append(batch("b"), to: partition).error == .unknownTopic)
        #expect(throws: EngineError(.unknownTopic, "")) { try partition.read(from: 0, maxBytes: 10) }
    }
}
