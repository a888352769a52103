// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: sequence checks of idempotent producers.

import Records
import Testing

@testable import Engine

@Suite struct ProducerStatesTests {
    private func batch(
        producer: Int64 = 7, epoch: Int16 = 0, sequence: Int32, count: Int32 = 1
    ) -> BatchHeader {
        BatchHeader(
            baseOffset: 0, batchLength: 100, partitionLeaderEpoch: 0, magic: 2, crc: 0, attributes: 0,
            lastOffsetDelta: count - 1, baseTimestamp: 5, maxTimestamp: 5, producerId: producer,
            producerEpoch: epoch, baseSequence: sequence, recordCount: count)
    }

    private func code(_ verdict: ProducerStates.Verdict) -> EngineError.Code? {
        if case .refuse(let error) = verdict { error.code } else { nil }
    }

    @Test func batchesThatFollowEachOtherAreAppended() {
        var states = ProducerStates()
        var offset: Int64 = 100
        for sequence in stride(from: Int32(0), to: 30, by: 3) {
            #expect(states.check(batch(sequence: sequence, count: 3)) == .append)
            states.record(batch(sequence: sequence, count: 3), baseOffset: offset)
            offset += 3
        }
    }

    @Test func aRepeatedBatchIsAnsweredWithItsOriginalOffset() {
        var states = ProducerStates()
        for sequence in Int32(0)..<5 { states.record(batch(sequence: sequence), baseOffset: 10 + Int64(sequence)) }
        for sequence in Int32(0)..<5 {
            guard case .duplicate(let known) = states.check(batch(sequence: sequence)) else {
                Issue.record("sequence \(sequence) was not recognised")
                continue
            }
            #expect(known.baseOffset == 10 + Int64(sequence))
        }
    }

    @Test func aBatchOlderThanTheLastFiveIsOutOfOrder() {
        var states = ProducerStates()
        for sequence in Int32(0)..<6 { states.record(batch(sequence: sequence), baseOffset: Int64(sequence)) }
        #expect(code(states.check(batch(sequence: 0))) == .outOfOrderSequence)
    }

    @Test func aGapIsRefused() {
        var states = ProducerStates()
        states.record(batch(sequence: 0), baseOffset: 0)
        #expect(code(states.check(batch(sequence: 2))) == .outOfOrderSequence)
    }

    @Test func anOldEpochIsFencedAndANewOneStartsAtZero() {
        var states = ProducerStates()
        states.record(batch(epoch: 3, sequence: 0), baseOffset: 0)
        #expect(code(states.check(batch(epoch: 2, sequence: 1))) == .invalidProducerEpoch)
        #expect(code(states.check(batch(epoch: 4, sequence: 1))) == .outOfOrderSequence)
        #expect(states.check(batch(epoch: 4, sequence: 0)) == .append)
    }

    @Test func anUnknownProducerMayStartAnywhere() {
        #expect(ProducerStates().check(batch(sequence: 1234)) == .append)
    }

    @Test func sequencesWrapFromTheLargestToZero() {
        var states = ProducerStates()
        states.record(batch(sequence: .max - 1, count: 4), baseOffset: 0)
        #expect(states.entries[7]?.batches.last?.lastSequence == 1)
        #expect(states.check(batch(sequence: 2)) == .append)
    }

    @Test func whatNeverReachedTheLogIsForgotten() {
        var states = ProducerStates()
        states.record(batch(sequence: 0), baseOffset: 0)
        states.commit()
        let before = states.entries
        states.record(batch(sequence: 1), baseOffset: 1)
        states.record(batch(producer: 8, sequence: 0), baseOffset: 2)
        states.rollBack(from: 1)
        #expect(states.entries == before)
    }

    @Test func whatReachedTheLogBeforeTheFailureIsKept() {
        var states = ProducerStates()
        states.record(batch(sequence: 0), baseOffset: 0)
        states.record(batch(sequence: 1), baseOffset: 1)
        states.rollBack(from: 1)
        #expect(states.entries[7]?.batches.map(\.baseOffset) == [0])
    }

    @Test func theNumberOfProducersIsBoundedAndTheLongestIdleGoes() {
        var states = ProducerStates()
        for producer in 0...Int64(Limits.producersPerPartition) {
            var header = batch(producer: producer, sequence: 0)
            header.maxTimestamp = producer
            states.apply(header, baseOffset: producer)
        }
        #expect(states.entries.count == Limits.producersPerPartition)
        #expect(states.entries[0] == nil)
        #expect(states.entries[Int64(Limits.producersPerPartition)] != nil)
    }

    @Test func anUnknownProducerOfVersionTwoStartsAtZero() {
        let states = ProducerStates()
        #expect(states.check(batch(sequence: 7)) == .append)
        #expect(code(states.check(batch(sequence: 7), startsAtZero: true)) == .outOfOrderSequence)
        #expect(states.check(batch(sequence: 0), startsAtZero: true) == .append)
    }

    @Test func idleProducersAreForgottenUnlessTheirTransactionIsOpen() {
        var states = ProducerStates()
        states.record(batch(producer: 1, sequence: 0), baseOffset: 0, nowMs: 1_000)
        states.record(batch(producer: 2, sequence: 0), baseOffset: 1, nowMs: 2_000)
        var transactional = batch(producer: 3, sequence: 0)
        transactional.attributes = 0x10
        states.record(transactional, baseOffset: 2, nowMs: 1_000)
        // Read back from the log: when it was used is not known, so it counts from the first look.
        states.apply(batch(producer: 4, sequence: 0), baseOffset: 3)
        // A producer whose own clock is ahead.
        var ahead = batch(producer: 5, sequence: 0)
        ahead.maxTimestamp = 9_000
        states.record(ahead, baseOffset: 4, nowMs: 1_000)
        states.commit()
        #expect(states.forgetIdle(nowMs: 1_999, afterMs: 1_000) == 0)
        #expect(states.forgetIdle(nowMs: 2_000, afterMs: 1_000) == 1)
        #expect(states.entries.keys.sorted() == [2, 3, 4, 5])
        #expect(states.forgetIdle(nowMs: 2_999, afterMs: 1_000) == 1)
        #expect(states.entries.keys.sorted() == [2, 3, 5])
        #expect(states.forgetIdle(nowMs: 9_999, afterMs: 1_000) == 1)
        #expect(states.entries.keys.sorted() == [3, 5])
        #expect(states.forgetIdle(nowMs: 10_000, afterMs: 1_000) == 1)
        // What is forgotten may go on with any sequence, as in Kafka.
        #expect(states.check(batch(producer: 1, sequence: 40)) == .append)
    }
}
