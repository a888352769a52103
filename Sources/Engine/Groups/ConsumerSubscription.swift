// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what consumers put in JoinGroup and get from SyncGroup: Kafka's ConsumerProtocolSubscription and
// ConsumerProtocolAssignment.
//
// Opaque to a classic group, but for consumers it begins, in every version, with version int16, topics [string]; and a
// consumer group (KIP-848) with classic members speaks it for them. Bytes are the peer's: anything odd gives nil.
//
//   subscription  int16 version, topics [string], user data bytes?, [1: owned [topic, [int32]], [2: generation int32,
//                 [3: rack string?]]]
//   assignment    int16 version, [topic string, partitions [int32]], user data bytes?

import NIOCore

struct ConsumerSubscription: Equatable, Sendable {
    /// The protocol type whose members' metadata has this form.
    static let protocolType = "consumer"
    private static let versionMax: Int16 = 3

    var version: Int16
    var topics: [String]
    var owned: [TopicPartitions] = []
    var rackId: String?

    /// Versions above those known are read as the highest known, as Kafka does.
    init?(_ metadata: ByteBuffer) {
        var bytes = metadata
        guard let version = bytes.readInteger(as: Int16.self), version >= 0, let topics = bytes.readTopics(),
            bytes.skipKafkaBytes()
        else { return nil }
        self.version = min(version, Self.versionMax)
        self.topics = topics
        if version >= 1 {
            guard let owned = bytes.readTopicPartitions() else { return nil }
            self.owned = owned
        }
        if version >= 2 {
            guard bytes.readInteger(as: Int32.self) != nil else { return nil }
        }
        if version >= 3 {
            guard let rackId = bytes.readNullableKafkaString() else { return nil }
            self.rackId = rackId
        }
    }

    /// Only the topics, which every version has at its beginning.
    static func topics(in metadata: ByteBuffer) -> [String]? {
        var bytes = metadata
        guard let version = bytes.readInteger(as: Int16.self), version >= 0 else { return nil }
        return bytes.readTopics()
    }

    // MARK: Assignments

    static func assignment(in bytes: ByteBuffer) -> [TopicPartitions]? {
        var bytes = bytes
        if bytes.readableBytes == 0 { return [] }
        guard let version = bytes.readInteger(as: Int16.self), version >= 0 else { return nil }
        return bytes.readTopicPartitions()
    }

    static func encode(_ assignment: [TopicPartitions], version: Int16) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeInteger(version)
        bytes.writeInteger(Int32(assignment.count))
        for topic in assignment {
            bytes.writeKafkaString(topic.topic)
            bytes.writeInteger(Int32(topic.partitions.count))
            for partition in topic.partitions { bytes.writeInteger(partition) }
        }
        bytes.writeInteger(Int32(-1))
        return bytes
    }
}

extension ByteBuffer {
    /// How many elements follow, if they fit: each takes `elementBytes` at least, which bounds the allocation.
    private mutating func readCount(elementBytes: Int) -> Int? {
        guard let count = readInteger(as: Int32.self), count >= 0, Int(count) <= readableBytes / elementBytes
        else { return nil }
        return Int(count)
    }

    fileprivate mutating func readTopics() -> [String]? {
        guard let count = readCount(elementBytes: 2) else { return nil }
        var topics: [String] = []
        topics.reserveCapacity(count)
        for _ in 0..<count {
            guard let topic = readKafkaString() else { return nil }
            topics.append(topic)
        }
        return topics
    }

    fileprivate mutating func readTopicPartitions() -> [TopicPartitions]? {
        guard let count = readCount(elementBytes: 6) else { return nil }
        var topics: [TopicPartitions] = []
        topics.reserveCapacity(count)
        for _ in 0..<count {
            guard let topic = readKafkaString(), let partitions = readCount(elementBytes: 4) else { return nil }
            var each = TopicPartitions(topic: topic, partitions: [])
            for _ in 0..<partitions { if let read = readInteger(as: Int32.self) { each.partitions.append(read) } }
            topics.append(each)
        }
        return topics
    }

    fileprivate mutating func skipKafkaBytes() -> Bool {
        guard let length = readInteger(as: Int32.self), length >= -1 else { return false }
        return length <= 0 || readSlice(length: Int(length)) != nil
    }

    /// nil: malformed; the string inside is nil if it is null.
    mutating func readNullableKafkaString() -> String?? {
        guard let length = readInteger(as: Int16.self), length >= -1 else { return nil }
        if length == -1 { return .some(nil) }
        guard let text = readString(length: Int(length)) else { return nil }
        return .some(text)
    }
}
