// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of `__transaction_state`.
//
// Transactions are Kafka's own records (message definitions TransactionLogKey and TransactionLogValue, version 0):
//
//   key    int16 version = 0, string transactional id
//   value  int16 version = 0, int64 producer id, int16 epoch, int32 timeout ms, int8 state,
//          int32 count (-1: null) of (string topic, int32 count of int32 partition), int64 last update ms, int64 start ms
//
// Offsets that an open transaction is to commit are records of this broker's own:
//
//   key    int16 version = 0x4d54, string transactional id, then the key of a committed offset (`OffsetRecord`)
//   value  the value of a committed offset; absent once the transaction is over
//
// A log can be damaged or come from elsewhere, so reading trusts nothing.

import NIOCore

enum TransactionRecord: Equatable {
    case transaction(id: String, Transaction)
    case forgotten(id: String)
    case offset(id: String, OffsetKey, CommittedOffset)
    case offsetForgotten(id: String, OffsetKey)
    case malformed

    private static let offsetKeyVersion: Int16 = 0x4d54

    init(key: ByteBuffer, value: ByteBuffer?) {
        var bytes = key
        guard let version = bytes.readInteger(as: Int16.self), let id = bytes.readKafkaString() else {
            self = .malformed
            return
        }
        switch version {
        case 0: self = Self.transaction(id, value)
        case Self.offsetKeyVersion: self = Self.offset(id, key: bytes, value)
        default: self = .malformed
        }
    }

    private static func transaction(_ id: String, _ value: ByteBuffer?) -> TransactionRecord {
        guard let value else { return .forgotten(id: id) }
        return decode(value).map { .transaction(id: id, $0) } ?? .malformed
    }

    private static func offset(_ id: String, key: ByteBuffer, _ value: ByteBuffer?) -> TransactionRecord {
        switch OffsetRecord(key: key, value: value) {
        case .committed(let key, let offset): .offset(id: id, key, offset)
        case .deleted(let key): .offsetForgotten(id: id, key)
        case .applied, .group, .other, .malformed: .malformed
        }
    }

    private static func decode(_ value: ByteBuffer) -> Transaction? {
        var bytes = value
        guard bytes.readInteger(as: Int16.self) == 0, let producerId = bytes.readInteger(as: Int64.self),
            let epoch = bytes.readInteger(as: Int16.self), let timeoutMs = bytes.readInteger(as: Int32.self),
            let state = bytes.readInteger(as: UInt8.self).flatMap(TransactionState.init(rawValue:)),
            let partitions = readPartitions(&bytes), let lastUpdateMs = bytes.readInteger(as: Int64.self),
            let startMs = bytes.readInteger(as: Int64.self)
        else { return nil }
        return Transaction(
            producer: TransactionalProducer(id: producerId, epoch: epoch), timeoutMs: timeoutMs, state: state,
            partitions: partitions, startMs: startMs, lastUpdateMs: lastUpdateMs)
    }

    private static func readPartitions(_ bytes: inout ByteBuffer) -> Set<TopicPartition>? {
        guard let topics = bytes.readInteger(as: Int32.self) else { return nil }
        var partitions: Set<TopicPartition> = []
        for _ in 0..<max(0, topics) {
            guard let topic = bytes.readKafkaString(), let count = bytes.readInteger(as: Int32.self),
                count >= 0, Int(count) * 4 <= bytes.readableBytes
            else { return nil }
            for _ in 0..<count {
                guard let partition = bytes.readInteger(as: Int32.self) else { return nil }
                partitions.insert(TopicPartition(topic: topic, partition: partition))
            }
        }
        return partitions
    }

    static func encode(_ id: String, _ transaction: Transaction) -> KeyedRecord {
        var value = ByteBuffer()
        value.writeInteger(Int16(0))
        value.writeInteger(transaction.producer.id)
        value.writeInteger(transaction.producer.epoch)
        value.writeInteger(transaction.timeoutMs)
        value.writeInteger(transaction.state.rawValue)
        let topics = Dictionary(grouping: transaction.partitions, by: \.topic)
        value.writeInteger(topics.isEmpty ? Int32(-1) : Int32(topics.count))
        for (topic, partitions) in topics.sorted(by: { $0.key < $1.key }) {
            value.writeKafkaString(topic)
            value.writeInteger(Int32(partitions.count))
            for partition in partitions.map(\.partition).sorted() { value.writeInteger(partition) }
        }
        value.writeInteger(transaction.lastUpdateMs)
        value.writeInteger(transaction.startMs)
        return (key(id), Array(value.readableBytesView))
    }

    static func forget(_ id: String) -> KeyedRecord { (key(id), nil) }

    static func encode(_ id: String, _ key: OffsetKey, _ offset: CommittedOffset?) -> KeyedRecord {
        var bytes = ByteBuffer()
        bytes.writeInteger(offsetKeyVersion)
        bytes.writeKafkaString(id)
        bytes.writeBytes(OffsetRecord.encode(key))
        return (Array(bytes.readableBytesView), offset.map(OffsetRecord.encode))
    }

    private static func key(_ id: String) -> [UInt8] {
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(0))
        bytes.writeKafkaString(id)
        return Array(bytes.readableBytesView)
    }
}
