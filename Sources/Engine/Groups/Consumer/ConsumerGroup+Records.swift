// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a consumer group as records of `__consumer_offsets`, byte for byte those of Kafka 4.0.
//
// All values are version 0 and flexible. Their fields, in order:
//
//   metadata     epoch int32
//   topics       [id uuid, name string, partitions int32, [racks of partitions: none here]]
//   member       instance string?, rack string?, client id, client host, [topic name], pattern string?, rebalance
//                timeout int32, assignor string?; tag 0, of classic members: session timeout int32, [name, metadata bytes]
//   targetEpoch  epoch int32
//   target       [id uuid, [partition int32]]
//   current      epoch int32, previous epoch int32, state int8, assigned and to be given up: [id uuid, [int32]]
//   pattern      [topic name], version int64, time int64

import Bytes
import NIOCore

extension ConsumerGroup {
    /// Everything that the log should have of the group.
    var recordKeys: Set<GroupRecordKey> {
        var keys: Set<GroupRecordKey> = [.metadata, .targetEpoch]
        if !topics.isEmpty { keys.insert(.topics) }
        for memberId in members.keys { keys.formUnion([.member(memberId), .current(memberId)]) }
        for memberId in targets.keys { keys.insert(.target(memberId)) }
        for text in patterns.keys { keys.insert(.pattern(text)) }
        return keys
    }

    /// The value of a record; nil: there is none.
    func record(_ key: GroupRecordKey) -> [UInt8]? {
        var bytes = ByteBuffer()
        bytes.writeInteger(Int16(0))
        switch key {
        case .classic: return nil
        case .metadata: bytes.writeInteger(groupEpoch)
        case .targetEpoch: bytes.writeInteger(assignmentEpoch)
        case .topics:
            if topics.isEmpty { return nil }
            bytes.writeCompactArray(topics.values.sorted { $0.name < $1.name }, Self.write)
        case .member(let memberId):
            guard let member = members[memberId] else { return nil }
            Self.write(&bytes, member)
            return Array(bytes.readableBytesView)
        case .target(let memberId):
            guard let target = targets[memberId] else { return nil }
            bytes.writeAssignment(target)
        case .current(let memberId):
            guard let member = members[memberId] else { return nil }
            bytes.writeInteger(member.epoch)
            bytes.writeInteger(member.previousEpoch)
            bytes.writeInteger(member.state.rawValue)
            bytes.writeAssignment(member.assigned)
            bytes.writeAssignment(member.pendingRevocation)
        case .pattern(let text):
            guard let resolved = patterns[text] else { return nil }
            bytes.writeCompactArray(resolved.topics.sorted()) { $0.writeCompactString($1) }
            bytes.writeInteger(resolved.version)
            bytes.writeInteger(resolved.timestampMs)
        }
        bytes.writeNoTags()
        return Array(bytes.readableBytesView)
    }

    private static func write(_ bytes: inout ByteBuffer, _ topic: GroupTopic) {
        bytes.writeTopicId(topic.id)
        bytes.writeCompactString(topic.name)
        bytes.writeInteger(topic.partitions)
        bytes.writeUnsignedVarint(1)
        bytes.writeNoTags()
    }

    private static func write(_ bytes: inout ByteBuffer, _ member: ConsumerGroupMember) {
        bytes.writeCompactString(member.instanceId)
        bytes.writeCompactString(member.rackId)
        bytes.writeCompactString(member.clientId)
        bytes.writeCompactString(member.clientHost)
        bytes.writeCompactArray(member.subscribedTopics) { $0.writeCompactString($1) }
        bytes.writeCompactString(member.pattern)
        bytes.writeInteger(member.rebalanceTimeoutMs)
        bytes.writeCompactString(member.assignor)
        guard let classic = member.classic else { return bytes.writeNoTags() }
        var tag = ByteBuffer()
        // It is there: the structure could be null.
        tag.writeInteger(Int8(1))
        tag.writeInteger(classic.sessionTimeoutMs)
        tag.writeCompactArray(classic.protocols) { bytes, each in
            bytes.writeCompactString(each.name)
            bytes.writeCompactBytes(each.metadata)
            bytes.writeNoTags()
        }
        tag.writeNoTags()
        bytes.writeUnsignedVarint(1)
        bytes.writeUnsignedVarint(0)
        bytes.writeUnsignedVarint(tag.readableBytes)
        bytes.writeBuffer(&tag)
    }
}

/// The values of a consumer group's records, read.
enum ConsumerGroupRecord {
    /// `metadata` and `targetEpoch`.
    static func epoch(_ value: ByteBuffer) -> Int32? {
        var bytes = value
        guard bytes.readInteger(as: Int16.self) == 0 else { return nil }
        return bytes.readInteger(as: Int32.self)
    }

    static func topics(_ value: ByteBuffer) -> [GroupTopic]? {
        var bytes = value
        guard bytes.readInteger(as: Int16.self) == 0 else { return nil }
        return bytes.readCompactArray { bytes in
            guard let id = bytes.readTopicId(), let name = bytes.readPresentCompactString(),
                let partitions = bytes.readInteger(as: Int32.self),
                bytes.readCompactArray({ bytes -> Int32? in
                    guard let partition = bytes.readInteger(as: Int32.self),
                        bytes.readCompactArray({ $0.readPresentCompactString() }) != nil, bytes.readTags()
                    else { return nil }
                    return partition
                }) != nil, bytes.readTags()
            else { return nil }
            return GroupTopic(name: name, id: id, partitions: partitions)
        }
    }

    static func assignment(_ value: ByteBuffer) -> TopicAssignment? {
        var bytes = value
        guard bytes.readInteger(as: Int16.self) == 0 else { return nil }
        return bytes.readAssignment()
    }

    /// What a member said; it has nothing yet.
    static func member(_ memberId: String, _ value: ByteBuffer) -> ConsumerGroupMember? {
        var bytes = value
        var member = ConsumerGroupMember(id: memberId)
        guard bytes.readInteger(as: Int16.self) == 0, let instance = bytes.readCompactString(),
            let rack = bytes.readCompactString(), let clientId = bytes.readPresentCompactString(),
            let clientHost = bytes.readPresentCompactString(),
            let topics = bytes.readCompactArray({ $0.readPresentCompactString() }),
            let pattern = bytes.readCompactString(), let timeoutMs = bytes.readInteger(as: Int32.self),
            let assignor = bytes.readCompactString()
        else { return nil }
        member.instanceId = instance
        member.rackId = rack
        member.clientId = clientId
        member.clientHost = clientHost
        member.subscribedTopics = Set(topics).sorted()
        member.pattern = pattern.flatMap { $0.isEmpty ? nil : $0 }
        member.rebalanceTimeoutMs = timeoutMs
        member.assignor = assignor
        var isSound = true
        let isRead = bytes.readTags { tag, bytes in
            guard tag == 0 else { return }
            member.classic = classic(bytes)
            isSound = member.classic != nil
        }
        return isRead && isSound ? member : nil
    }

    private static func classic(_ bytes: ByteBuffer) -> ConsumerGroupMember.Classic? {
        var bytes = bytes
        guard bytes.readInteger(as: Int8.self) == 1, let sessionMs = bytes.readInteger(as: Int32.self),
            let protocols = bytes.readCompactArray({ bytes -> GroupProtocol? in
                guard let name = bytes.readPresentCompactString(), let metadata = bytes.readCompactBytes(),
                    bytes.readTags()
                else { return nil }
                return GroupProtocol(name: name, metadata: metadata)
            })
        else { return nil }
        return ConsumerGroupMember.Classic(sessionTimeoutMs: sessionMs, protocols: protocols)
    }

    /// Only what the record of the current assignment says.
    static func current(_ memberId: String, _ value: ByteBuffer) -> ConsumerGroupMember? {
        var bytes = value
        var member = ConsumerGroupMember(id: memberId)
        guard bytes.readInteger(as: Int16.self) == 0, let epoch = bytes.readInteger(as: Int32.self),
            let previous = bytes.readInteger(as: Int32.self), let state = bytes.readInteger(as: Int8.self),
            let assigned = bytes.readAssignment(), let pending = bytes.readAssignment()
        else { return nil }
        member.epoch = epoch
        member.previousEpoch = previous
        // A state of the future: with nothing to give up, the next heartbeat finds out.
        member.state = ConsumerGroupMember.State(rawValue: state) ?? .unreleased
        member.assigned = assigned
        member.pendingRevocation = pending
        return member
    }

    static func pattern(_ text: String, _ value: ByteBuffer) -> ConsumerGroup.Resolved? {
        var bytes = value
        guard let pattern = try? TopicPattern(text), bytes.readInteger(as: Int16.self) == 0,
            let topics = bytes.readCompactArray({ $0.readPresentCompactString() }),
            let version = bytes.readInteger(as: Int64.self), let timestampMs = bytes.readInteger(as: Int64.self)
        else { return nil }
        return ConsumerGroup.Resolved(
            pattern: pattern, topics: Set(topics), version: version, timestampMs: timestampMs)
    }
}
