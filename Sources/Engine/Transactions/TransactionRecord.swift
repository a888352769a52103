// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of `__transaction_state`.
//
// Transactions are Kafka's own records (message definitions TransactionLogKey and TransactionLogValue):
//
//   key    int16 version = 0, string transactional id
//   value  int16 version, int64 producer id, int16 epoch, int32 timeout ms, int8 state,
//          nullable array of (string topic, array of int32 partition), int64 last update ms, int64 start ms
//
// In version 1 (KIP-890) of the value, lengths are compact and tagged fields follow: 0 int64 previous producer id,
// 1 int64 next producer id, 2 int16 the client's transaction version. Version 0 is written while `transaction.version`
// is 0, as Kafka does.
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
        guard let version = bytes.readInteger(as: Int16.self), (0...1).contains(version),
            let producerId = bytes.readInteger(as: Int64.self),
            let epoch = bytes.readInteger(as: Int16.self), let timeoutMs = bytes.readInteger(as: Int32.self),
            let state = bytes.readInteger(as: UInt8.self).flatMap(TransactionState.init(rawValue:)),
            let partitions = readPartitions(&bytes, isFlexible: version == 1),
            let lastUpdateMs = bytes.readInteger(as: Int64.self), let startMs = bytes.readInteger(as: Int64.self)
        else { return nil }
        var transaction = Transaction(
            producer: TransactionalProducer(id: producerId, epoch: epoch), timeoutMs: timeoutMs, state: state,
            partitions: partitions, startMs: startMs, lastUpdateMs: lastUpdateMs)
        guard version == 1 else { return transaction }
        let isSound = bytes.readTags { tag, field in
            switch tag {
            case 0: field.readInteger(as: Int64.self).map { transaction.previousProducerId = $0 } != nil
            case 1: field.readInteger(as: Int64.self).map { transaction.nextProducerId = $0 } != nil
            case 2: field.readInteger(as: Int16.self).map { transaction.clientVersion = $0 < 2 ? .one : .two } != nil
            default: true
            }
        }
        return isSound ? transaction : nil
    }

    private static func readPartitions(_ bytes: inout ByteBuffer, isFlexible: Bool) -> Set<TopicPartition>? {
        guard let topics = bytes.readCount(isFlexible) else { return nil }
        var partitions: Set<TopicPartition> = []
        for _ in 0..<max(0, topics) {
            guard let topic = bytes.readText(isFlexible), let count = bytes.readCount(isFlexible),
                count >= 0, count * 4 <= bytes.readableBytes
            else { return nil }
            for _ in 0..<count {
                guard let partition = bytes.readInteger(as: Int32.self) else { return nil }
                partitions.insert(TopicPartition(topic: topic, partition: partition))
            }
            if isFlexible, !bytes.readTags({ _, _ in true }) { return nil }
        }
        return partitions
    }

    /// `version` 0 only if nothing needs a tagged field.
    static func encode(_ id: String, _ transaction: Transaction, version: Int16 = 1) -> KeyedRecord {
        let isFlexible = version >= 1 || transaction.needsTags
        var value = ByteBuffer()
        value.writeInteger(Int16(isFlexible ? 1 : 0))
        value.writeInteger(transaction.producer.id)
        value.writeInteger(transaction.producer.epoch)
        value.writeInteger(transaction.timeoutMs)
        value.writeInteger(transaction.state.rawValue)
        let topics = Dictionary(grouping: transaction.partitions, by: \.topic)
        value.writeCount(topics.isEmpty ? -1 : topics.count, isFlexible)
        for (topic, partitions) in topics.sorted(by: { $0.key < $1.key }) {
            value.writeText(topic, isFlexible)
            value.writeCount(partitions.count, isFlexible)
            for partition in partitions.map(\.partition).sorted() { value.writeInteger(partition) }
            if isFlexible { value.writeVarint(0) }
        }
        value.writeInteger(transaction.lastUpdateMs)
        value.writeInteger(transaction.startMs)
        if isFlexible { writeTags(of: transaction, to: &value) }
        return (key(id), Array(value.readableBytesView))
    }

    private static func writeTags(of transaction: Transaction, to value: inout ByteBuffer) {
        var tags: [(UInt64, ByteBuffer)] = []
        if transaction.previousProducerId != -1 {
            tags.append((0, ByteBuffer(integer: transaction.previousProducerId)))
        }
        if transaction.nextProducerId != -1 { tags.append((1, ByteBuffer(integer: transaction.nextProducerId))) }
        if transaction.clientVersion != .one {
            tags.append((2, ByteBuffer(integer: transaction.clientVersion.rawValue)))
        }
        value.writeVarint(UInt64(tags.count))
        for (tag, field) in tags {
            value.writeVarint(tag)
            value.writeVarint(UInt64(field.readableBytes))
            value.writeImmutableBuffer(field)
        }
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

extension Transaction {
    fileprivate var needsTags: Bool { previousProducerId != -1 || nextProducerId != -1 || clientVersion != .one }
}

/// Lengths as Kafka writes them: fixed in version 0 of a record, compact (KIP-482) in version 1.
extension ByteBuffer {
    /// The number of elements of a nullable array; -1: null.
    fileprivate mutating func readCount(_ isFlexible: Bool) -> Int? {
        guard isFlexible else { return readInteger(as: Int32.self).map { Int($0) } }
        return readVarint().flatMap { $0 <= UInt64(UInt32.max) ? Int($0) - 1 : nil }
    }

    fileprivate mutating func readText(_ isFlexible: Bool) -> String? {
        guard isFlexible else { return readKafkaString() }
        guard let length = readCount(true), length >= 0 else { return nil }
        return readString(length: length)
    }

    /// Hands each tagged field to `body`; false if they are damaged, or `body` says so.
    fileprivate mutating func readTags(_ body: (UInt64, inout ByteBuffer) -> Bool) -> Bool {
        guard let count = readVarint(), count <= UInt64(readableBytes) else { return false }
        for _ in 0..<count {
            guard let tag = readVarint(), let length = readVarint(), length <= UInt64(readableBytes),
                var field = readSlice(length: Int(length)), body(tag, &field)
            else { return false }
        }
        return true
    }

    private mutating func readVarint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0 as UInt64, to: 35, by: 7) {
            guard let byte = readInteger(as: UInt8.self) else { return nil }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    fileprivate mutating func writeCount(_ count: Int, _ isFlexible: Bool) {
        if isFlexible { writeVarint(UInt64(count + 1)) } else { writeInteger(Int32(count)) }
    }

    fileprivate mutating func writeText(_ text: String, _ isFlexible: Bool) {
        guard isFlexible else { return writeKafkaString(text) }
        writeVarint(UInt64(text.utf8.count + 1))
        writeString(text)
    }

    fileprivate mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            writeInteger(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        writeInteger(UInt8(rest))
    }
}
