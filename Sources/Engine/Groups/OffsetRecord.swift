// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of the log of committed offsets, byte for byte those of Kafka's
// `__consumer_offsets` (message definitions OffsetCommitKey and OffsetCommitValue of Kafka 4.0).
//
//   key    int16 version = 1 (0 reads the same), string group, string topic, int32 partition
//   value  int16 version, int64 offset, [int32 leader epoch: 3 and later], string metadata,
//          int64 commit timestamp, [int64 expire timestamp: 1 only]; 4 is flexible (compact string, tags)
//
// Written is version 3, or 1 when the commit has an expiry of its own, as Kafka does. Keys of version 2 to 8 and 16
// are about groups and their members (GroupRecordKey), others are skipped. One kind is this broker's own, which
// transaction of a transactional id was the last whose offsets were committed:
//
//   key    int16 version = 0x4d54, string transactional id
//   value  int16 version = 0, int64 producer id, int16 epoch, int64 time of the decision to commit, ms
//
// A log can be damaged or come from elsewhere, so reading trusts nothing.

import NIOCore

/// What a record of the log says.
enum OffsetRecord: Equatable {
    case committed(OffsetKey, CommittedOffset)
    case deleted(OffsetKey)
    /// Absent once the transactional id is forgotten.
    case applied(id: String, AppliedTransaction?)
    /// Of a group itself; absent once there is none.
    case group(id: String, GroupRecordKey, ByteBuffer?)
    /// A kind of record that is not known.
    case other(keyVersion: Int16)
    case malformed

    init(key: ByteBuffer, value: ByteBuffer?) {
        var bytes = key
        guard let version = bytes.readInteger(as: Int16.self), version >= 0 else {
            self = .malformed
            return
        }
        if version == Self.appliedKeyVersion {
            self = Self.applied(key: bytes, value)
            return
        }
        guard version <= 1 else {
            self = Self.group(kind: version, bytes, value)
            return
        }
        guard let group = bytes.readKafkaString(), let topic = bytes.readKafkaString(),
            let partition = bytes.readInteger(as: Int32.self), bytes.readableBytes == 0
        else {
            self = .malformed
            return
        }
        let key = OffsetKey(groupId: group, topic: topic, partition: partition)
        guard let value else {
            self = .deleted(key)
            return
        }
        self = Self.decode(value).map { .committed(key, $0) } ?? .malformed
    }

    private static let appliedKeyVersion: Int16 = 0x4d54

    private static func applied(key: ByteBuffer, _ value: ByteBuffer?) -> OffsetRecord {
        var key = key
        guard let id = key.readKafkaString(), key.readableBytes == 0 else { return .malformed }
        guard var value else { return .applied(id: id, nil) }
        guard value.readInteger(as: Int16.self) == 0, let producerId = value.readInteger(as: Int64.self),
            let epoch = value.readInteger(as: Int16.self), let decidedMs = value.readInteger(as: Int64.self)
        else { return .malformed }
        return .applied(
            id: id,
            AppliedTransaction(producer: TransactionalProducer(id: producerId, epoch: epoch), decidedMs: decidedMs))
    }

    private static func group(kind: Int16, _ key: ByteBuffer, _ value: ByteBuffer?) -> OffsetRecord {
        guard GroupRecordKey.isKnown(kind: kind) else { return .other(keyVersion: kind) }
        guard let (groupId, key) = GroupRecordKey.decode(kind: kind, key) else { return .malformed }
        return .group(id: groupId, key, value)
    }

    private static func decode(_ value: ByteBuffer) -> CommittedOffset? {
        var bytes = value
        guard let version = bytes.readInteger(as: Int16.self), (0...4).contains(version),
            let offset = bytes.readInteger(as: Int64.self)
        else { return nil }
        var leaderEpoch: Int32 = -1
        if version >= 3 {
            guard let read = bytes.readInteger(as: Int32.self) else { return nil }
            leaderEpoch = read
        }
        guard let metadata = version >= 4 ? bytes.readKafkaCompactString() : bytes.readKafkaString(),
            let timestamp = bytes.readInteger(as: Int64.self)
        else { return nil }
        var expireTimestamp: Int64?
        if version == 1 {
            guard let read = bytes.readInteger(as: Int64.self) else { return nil }
            expireTimestamp = read == -1 ? nil : read
        }
        // Tagged fields of version 4 and later carry nothing that is kept here.
        return CommittedOffset(
            offset: offset, leaderEpoch: leaderEpoch, metadata: metadata, commitTimestampMs: timestamp,
            expireTimestampMs: expireTimestamp)
    }

    static func encode(_ key: OffsetKey) -> [UInt8] {
        var bytes = ByteBuffer()
        bytes.reserveCapacity(10 + key.groupId.utf8.count + key.topic.utf8.count)
        bytes.writeInteger(Int16(1))
        bytes.writeKafkaString(key.groupId)
        bytes.writeKafkaString(key.topic)
        bytes.writeInteger(key.partition)
        return Array(bytes.readableBytesView)
    }

    /// Which transaction's offsets are in, as the last one of this transactional id.
    static func encode(_ id: String, _ applied: AppliedTransaction?) -> KeyedRecord {
        var key = ByteBuffer()
        key.writeInteger(appliedKeyVersion)
        key.writeKafkaString(id)
        let value = applied.map { applied in
            var bytes = ByteBuffer()
            bytes.writeInteger(Int16(0))
            bytes.writeInteger(applied.producer.id)
            bytes.writeInteger(applied.producer.epoch)
            bytes.writeInteger(applied.decidedMs)
            return Array(bytes.readableBytesView)
        }
        return (Array(key.readableBytesView), value)
    }

    static func encode(_ offset: CommittedOffset) -> [UInt8] {
        var bytes = ByteBuffer()
        bytes.reserveCapacity(32 + offset.metadata.utf8.count)
        bytes.writeInteger(Int16(offset.expireTimestampMs == nil ? 3 : 1))
        bytes.writeInteger(offset.offset)
        if offset.expireTimestampMs == nil { bytes.writeInteger(offset.leaderEpoch) }
        bytes.writeKafkaString(offset.metadata)
        bytes.writeInteger(offset.commitTimestampMs)
        if let expireTimestamp = offset.expireTimestampMs { bytes.writeInteger(expireTimestamp) }
        return Array(bytes.readableBytesView)
    }
}

/// A transaction whose offsets are committed, by its producer and the time of the decision.
package struct AppliedTransaction: Equatable, Sendable {
    package var producer: TransactionalProducer
    /// Wall clock, ms; unique among the transactional id's decisions.
    package var decidedMs: Int64
}

/// Which offset.
package struct OffsetKey: Hashable, Comparable, Sendable {
    package var groupId: String
    package var topic: String
    package var partition: Int32

    package init(groupId: String, topic: String, partition: Int32) {
        self.groupId = groupId
        self.topic = topic
        self.partition = partition
    }

    package static func < (left: OffsetKey, right: OffsetKey) -> Bool {
        (left.groupId, left.topic, left.partition) < (right.groupId, right.topic, right.partition)
    }
}

extension ByteBuffer {
    mutating func readKafkaString() -> String? {
        guard let length = readInteger(as: Int16.self), length >= 0 else { return nil }
        return readString(length: Int(length))
    }

    fileprivate mutating func readKafkaCompactString() -> String? {
        var length: UInt32 = 0
        for shift in stride(from: UInt32(0), through: 28, by: 7) {
            guard let byte = readInteger(as: UInt8.self) else { return nil }
            length |= UInt32(byte & 0x7f) << shift
            if byte & 0x80 == 0 {
                // Length plus one; zero would be null, which no version allows here.
                guard length >= 1, Int(length) - 1 <= readableBytes else { return nil }
                return readString(length: Int(length) - 1)
            }
        }
        return nil
    }

    /// Callers keep names and metadata far below 32 KiB (`GroupConfiguration`).
    mutating func writeKafkaString(_ text: String) {
        guard let length = Int16(exactly: text.utf8.count) else {
            preconditionFailure("a string of \(text.utf8.count) bytes in a record of committed offsets")
        }
        writeInteger(length)
        writeString(text)
    }
}
