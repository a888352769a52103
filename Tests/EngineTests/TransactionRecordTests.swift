// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the records of `__transaction_state`.

import NIOCore
import Testing

@testable import Engine

@Suite struct TransactionRecordTests {
    private func decode(_ record: KeyedRecord) -> TransactionRecord {
        TransactionRecord(key: ByteBuffer(bytes: record.key), value: record.value.map { ByteBuffer(bytes: $0) })
    }

    private let transaction = Transaction(
        producer: TransactionalProducer(id: 4_000, epoch: 3), timeoutMs: 60_000, state: .prepareCommit,
        partitions: [
            TopicPartition(topic: "b", partition: 1), TopicPartition(topic: "a", partition: 2),
            TopicPartition(topic: "a", partition: 0),
        ], startMs: 10, lastUpdateMs: 20)

    /// Of a client of version 2 whose epochs are used up.
    private var second: Transaction {
        var second = transaction
        second.previousProducerId = 3_000
        second.nextProducerId = 5_000
        second.clientVersion = .two
        return second
    }

    @Test func everyStateSurvives() {
        for state in TransactionState.allCases {
            var expected = transaction
            expected.state = state
            #expect(decode(TransactionRecord.encode("id", expected)) == .transaction(id: "id", expected))
        }
        var empty = transaction
        empty.partitions = []
        #expect(decode(TransactionRecord.encode("id", empty)) == .transaction(id: "id", empty))
        #expect(decode(TransactionRecord.encode("id", empty, version: 0)) == .transaction(id: "id", empty))
        #expect(decode(TransactionRecord.encode("id", second)) == .transaction(id: "id", second))
        // What version 0 has no room for is never lost.
        #expect(decode(TransactionRecord.encode("id", second, version: 0)) == .transaction(id: "id", second))
        #expect(decode(TransactionRecord.forget("id")) == .forgotten(id: "id"))
    }

    @Test func pendingOffsetsSurvive() {
        let key = OffsetKey(groupId: "g", topic: "t", partition: 4)
        let offset = CommittedOffset(offset: 9, leaderEpoch: 0, metadata: "m", commitTimestampMs: 5)
        #expect(decode(TransactionRecord.encode("id", key, offset)) == .offset(id: "id", key, offset))
        #expect(decode(TransactionRecord.encode("id", key, nil)) == .offsetForgotten(id: "id", key))
    }

    @Test func theLayoutIsKafkas() {
        // TransactionLogKey and TransactionLogValue of Kafka 4.0, version 0, written out by hand.
        let record = TransactionRecord.encode("id", transaction, version: 0)
        #expect(record.key == [0, 0, 0, 2, 0x69, 0x64])
        #expect(
            record.value == [
                0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 3, 0, 0, 0xea, 0x60, 2, 0, 0, 0, 2,
                0, 1, 0x61, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x62, 0, 0, 0, 1, 0, 0, 0, 1,
                0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 10,
            ])
    }

    @Test func theFlexibleLayoutIsKafkas() {
        // Version 1: compact lengths are one more, every structure ends with its tagged fields.
        let record = TransactionRecord.encode("id", second)
        #expect(record.key == [0, 0, 0, 2, 0x69, 0x64])
        #expect(
            record.value == [
                0, 1, 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 3, 0, 0, 0xea, 0x60, 2, 3,
                2, 0x61, 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0x62, 2, 0, 0, 0, 1, 0,
                0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 10,
                3, 0, 8, 0, 0, 0, 0, 0, 0, 0x0b, 0xb8, 1, 8, 0, 0, 0, 0, 0, 0, 0x13, 0x88, 2, 2, 0, 2,
            ])
    }

    @Test func damageIsRecognised() {
        for version: Int16 in 0...1 {
            expectDamageIsRecognised(TransactionRecord.encode("id", transaction, version: version))
        }
        expectDamageIsRecognised(TransactionRecord.encode("id", second))
    }

    private func expectDamageIsRecognised(_ record: KeyedRecord) {
        let key = ByteBuffer(bytes: record.key)
        let value = record.value ?? []
        for length in 0..<value.count {
            #expect(TransactionRecord(key: key, value: ByteBuffer(bytes: value[..<length])) == .malformed)
        }
        #expect(TransactionRecord(key: ByteBuffer(), value: nil) == .malformed)
        #expect(TransactionRecord(key: ByteBuffer(bytes: [0, 9, 0, 0]), value: nil) == .malformed)
    }
}
