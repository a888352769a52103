// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: what the engine writes of groups is, byte for byte, what Kafka's definitions in KafkaWire
// write.

import Bytes
import KafkaWire
import NIOCore
import Testing

@testable import Engine

@Suite struct GroupRecordTests {
    private static let topicId = TopicId(high: 1, low: 2)

    private func bytes(_ record: some VersionedRecord, _ version: Int16) throws -> [UInt8] {
        var buffer = ByteBuffer()
        try record.encode(into: &buffer, version: version)
        return Array(buffer.readableBytesView)
    }

    private func group() throws -> ConsumerGroup {
        var group = ConsumerGroup(id: "g", configuration: GroupConfiguration())
        group.groupEpoch = 7
        group.assignmentEpoch = 6
        group.topics["t"] = GroupTopic(name: "t", id: Self.topicId, partitions: 300)
        var member = ConsumerGroupMember(id: "m")
        member.epoch = 5
        member.previousEpoch = 4
        member.state = .unrevoked
        member.instanceId = "i"
        member.clientId = "c"
        member.clientHost = "/h"
        member.rebalanceTimeoutMs = 9
        member.subscribedTopics = ["a", "b"]
        member.pattern = "p.*"
        member.assignor = "range"
        member.assigned = TopicAssignment([.init(topicId: Self.topicId, partitions: [2, 1])])
        member.pendingRevocation = TopicAssignment([.init(topicId: Self.topicId, partitions: [3])])
        group.put(member)
        group.setTarget(member.assigned, of: "m")
        group.patterns["p.*"] = .init(pattern: try TopicPattern("p.*"), topics: ["pb", "pa"], version: 3, timestampMs: 4)
        return group
    }

    @Test func `Keys are Kafka's`() throws {
        var classic = GroupMetadataKey()
        classic.group = "g"
        #expect(GroupRecordKey.classic.encode(groupId: "g") == (try bytes(classic, 2)))
        var metadata = ConsumerGroupMetadataKey()
        metadata.groupId = "g"
        #expect(GroupRecordKey.metadata.encode(groupId: "g") == (try bytes(metadata, 3)))
        var topics = ConsumerGroupPartitionMetadataKey()
        topics.groupId = "g"
        #expect(GroupRecordKey.topics.encode(groupId: "g") == (try bytes(topics, 4)))
        var member = ConsumerGroupMemberMetadataKey()
        (member.groupId, member.memberId) = ("g", "m")
        #expect(GroupRecordKey.member("m").encode(groupId: "g") == (try bytes(member, 5)))
        var targetEpoch = ConsumerGroupTargetAssignmentMetadataKey()
        targetEpoch.groupId = "g"
        #expect(GroupRecordKey.targetEpoch.encode(groupId: "g") == (try bytes(targetEpoch, 6)))
        var target = ConsumerGroupTargetAssignmentMemberKey()
        (target.groupId, target.memberId) = ("g", "m")
        #expect(GroupRecordKey.target("m").encode(groupId: "g") == (try bytes(target, 7)))
        var current = ConsumerGroupCurrentMemberAssignmentKey()
        (current.groupId, current.memberId) = ("g", "m")
        #expect(GroupRecordKey.current("m").encode(groupId: "g") == (try bytes(current, 8)))
        var pattern = ConsumerGroupRegularExpressionKey()
        (pattern.groupId, pattern.regularExpression) = ("g", "p")
        #expect(GroupRecordKey.pattern("p").encode(groupId: "g") == (try bytes(pattern, 16)))
    }

    @Test func `The values of a consumer group are Kafka's`() throws {
        let group = try group()
        var metadata = ConsumerGroupMetadataValue()
        metadata.epoch = 7
        #expect(group.record(.metadata) == (try bytes(metadata, 0)))
        var targetEpoch = ConsumerGroupTargetAssignmentMetadataValue()
        targetEpoch.assignmentEpoch = 6
        #expect(group.record(.targetEpoch) == (try bytes(targetEpoch, 0)))
        var topics = ConsumerGroupPartitionMetadataValue()
        var topic = ConsumerGroupPartitionMetadataValue.TopicMetadata()
        (topic.topicId, topic.topicName, topic.numPartitions) = (Self.topicId, "t", 300)
        topics.topics = [topic]
        #expect(group.record(.topics) == (try bytes(topics, 0)))
        var member = ConsumerGroupMemberMetadataValue()
        (member.instanceId, member.clientId, member.clientHost) = ("i", "c", "/h")
        (member.subscribedTopicNames, member.subscribedTopicRegex) = (["a", "b"], "p.*")
        (member.rebalanceTimeoutMs, member.serverAssignor) = (9, "range")
        #expect(group.record(.member("m")) == (try bytes(member, 0)))
        var target = ConsumerGroupTargetAssignmentMemberValue()
        var planned = ConsumerGroupTargetAssignmentMemberValue.TopicPartitions()
        (planned.topicId, planned.partitions) = (Self.topicId, [1, 2])
        target.topicPartitions = [planned]
        #expect(group.record(.target("m")) == (try bytes(target, 0)))
        var current = ConsumerGroupCurrentMemberAssignmentValue()
        (current.memberEpoch, current.previousMemberEpoch, current.state) = (5, 4, 1)
        var has = ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
        (has.topicId, has.partitions) = (Self.topicId, [1, 2])
        current.assignedPartitions = [has]
        has.partitions = [3]
        current.partitionsPendingRevocation = [has]
        #expect(group.record(.current("m")) == (try bytes(current, 0)))
        var pattern = ConsumerGroupRegularExpressionValue()
        (pattern.topics, pattern.version, pattern.timestamp) = (["pa", "pb"], 3, 4)
        #expect(group.record(.pattern("p.*")) == (try bytes(pattern, 0)))
    }

    @Test func `A classic member's metadata in a consumer group is Kafka's`() throws {
        var group = ConsumerGroup(id: "g", configuration: GroupConfiguration())
        var member = ConsumerGroupMember(id: "m")
        member.classic = .init(
            sessionTimeoutMs: 8, protocols: [GroupProtocol(name: "range", metadata: ByteBuffer(bytes: [1, 2, 3]))])
        group.put(member)
        var value = ConsumerGroupMemberMetadataValue()
        var classic = ConsumerGroupMemberMetadataValue.ClassicMemberMetadata()
        classic.sessionTimeoutMs = 8
        var each = ConsumerGroupMemberMetadataValue.ClassicProtocol()
        (each.name, each.metadata) = ("range", ByteBuffer(bytes: [1, 2, 3]))
        classic.supportedProtocols = [each]
        value.classicMemberMetadata = classic
        let written = try #require(group.record(.member("m")))
        #expect(written == (try bytes(value, 0)))
        let read = try #require(ConsumerGroupRecord.member("m", ByteBuffer(bytes: written)))
        #expect(read.classic == member.classic)
    }

    @Test(arguments: 0...4 as ClosedRange<Int16>) func `A classic group's value is read in every version`(
        version: Int16
    ) throws {
        var value = GroupMetadataValue()
        (value.protocolType, value.generation, value.protocol, value.leader) = ("consumer", 3, "range", "m")
        value.currentStateTimestamp = version >= 2 ? 77 : -1
        var member = GroupMetadataValue.Member()
        (member.memberId, member.clientId, member.clientHost, member.sessionTimeout) = ("m", "c", "/h", 10)
        member.groupInstanceId = version >= 3 ? "i" : nil
        member.rebalanceTimeout = version >= 1 ? 20 : -1
        (member.subscription, member.assignment) = (ByteBuffer(string: "s"), ByteBuffer(string: "a"))
        value.members = [member]
        let written = try bytes(value, version)
        let read = try #require(ClassicGroupRecord(ByteBuffer(bytes: written)))
        #expect(read.generationId == 3)
        #expect(read.stateSinceMs == (version >= 2 ? 77 : nil))
        #expect(read.members[0].rebalanceTimeoutMs == (version >= 1 ? 20 : 10))
        for length in 0..<written.count { #expect(ClassicGroupRecord(ByteBuffer(bytes: written.prefix(length))) == nil || version >= 4) }
        guard version == 3 else { return }
        let group = ClassicGroup(
            id: "g", configuration: GroupConfiguration(), generationId: 3, protocolType: read.protocolType,
            protocolName: read.protocolName, leaderId: read.leaderId, members: read.members, nowMs: 0)
        #expect(group.record(wallMs: 77) == written)
    }

    @Test func `Every cut of a consumer group's value is malformed`() throws {
        let group = try group()
        for key in [.metadata, .topics, .member("m"), .target("m"), .current("m"), .pattern("p.*")] as [GroupRecordKey] {
            let written = try #require(group.record(key))
            // Without the empty tags at its end it can be read.
            for length in 0..<written.count - 1 {
                var image = GroupImage()
                let isTaken = image.apply(key, ByteBuffer(bytes: written.prefix(length)))
                #expect(!isTaken, "\(key) of \(length) bytes")
            }
        }
    }
}
