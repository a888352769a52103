// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: ConsumerGroupHeartbeat, ConsumerGroupDescribe and what other APIs say of consumer groups,
// through frames; and groups that change their protocol with members in them.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Testing

@testable import KafkaServer

@Suite struct GroupProtocolHandlersTests {
    private static func joining(_ memberId: String, topics: [String]? = ["t"]) -> ConsumerGroupHeartbeatRequest {
        var request = ConsumerGroupHeartbeatRequest()
        (request.groupId, request.memberId, request.rebalanceTimeoutMs) = ("g", memberId, 60_000)
        request.subscribedTopicNames = topics
        request.topicPartitions = []
        return request
    }

    private static func staying(_ memberId: String, _ epoch: Int32) -> ConsumerGroupHeartbeatRequest {
        var request = ConsumerGroupHeartbeatRequest()
        (request.groupId, request.memberId, request.memberEpoch) = ("g", memberId, epoch)
        return request
    }

    /// A classic consumer's join, with the embedded protocol's metadata.
    private static func classicJoin(
        _ memberId: String = "", owned: [Int32] = [], topic: String = "t", version: Int16 = 1
    ) throws -> JoinGroupRequest {
        var subscription = ConsumerProtocolSubscription()
        subscription.topics = [topic]
        var partitions = ConsumerProtocolSubscription.TopicPartitions()
        (partitions.topic, partitions.partitions) = (topic, owned)
        if !owned.isEmpty { subscription.ownedPartitions = [partitions] }
        var metadata = ByteBuffer()
        try subscription.encode(into: &metadata, version: version)
        var request = GroupRequests.join(memberId)
        request.protocols[0].metadata = metadata
        return request
    }

    private static func assignment(_ bytes: ByteBuffer) throws -> [Int32] {
        var bytes = bytes
        return try ConsumerProtocolAssignment(from: &bytes).assignedPartitions.flatMap(\.partitions)
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>) func `A member joins, stays and leaves in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t", partitions: 3)
        let client = try broker.connect()
        let joined = try client.call(Self.joining(version == 0 ? "" : "m"), version: version)
        #expect(joined.errorCode == .none)
        #expect(joined.memberEpoch == 1)
        #expect(joined.heartbeatIntervalMs == 5_000)
        #expect(joined.assignment?.topicPartitions.map(\.partitions) == [[0, 1, 2]])
        let memberId = try #require(joined.memberId)
        #expect(version == 0 || memberId == "m")
        let stayed = try client.call(Self.staying(memberId, 1), version: version)
        #expect(stayed.errorCode == .none)
        #expect(stayed.assignment == nil)
        let left = try client.call(Self.staying(memberId, -1), version: version)
        #expect(left.memberEpoch == -1)
        let gone = try client.call(Self.staying(memberId, 1), version: version)
        #expect(gone.errorCode == .unknownMemberId)
        #expect(gone.errorMessage != nil)
    }

    @Test func `Version 1 wants a member id and takes a pattern, refused if it is none`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("topic-a")
        let client = try broker.connect()
        #expect(try client.call(Self.joining(""), version: 1).errorCode == .invalidRequest)
        var request = Self.joining("m", topics: nil)
        request.subscribedTopicRegex = "(?<=a)b"
        #expect(try client.call(request, version: 1).errorCode == .invalidRegularExpression)
        request.subscribedTopicRegex = "^topic.*"
        #expect(try client.call(request, version: 1).assignment?.topicPartitions.map(\.partitions) == [[0, 1]])
        request.serverAssignor = "round-robin"
        #expect(try client.call(request, version: 1).errorCode == .unsupportedAssignor)
    }

    @Test(arguments: 0...1 as ClosedRange<Int16>) func `A consumer group is described, a classic one is not found`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try client.call(Self.joining("m"), version: 1)
        _ = try client.call(GroupRequests.join(group: "old"), version: 3)
        var request = ConsumerGroupDescribeRequest()
        request.groupIds = ["g", "old", "none", "g"]
        request.includeAuthorizedOperations = true
        let groups = try client.call(request, version: version).groups
        #expect(groups.map(\.errorCode) == [.none, .groupIdNotFound, .groupIdNotFound])
        #expect(groups[0].groupState == "Stable")
        #expect(groups[0].groupEpoch == 1)
        #expect(groups[0].assignmentEpoch == 1)
        #expect(groups[0].assignorName == "uniform")
        let member = try #require(groups[0].members.first)
        #expect(member.memberId == "m")
        #expect(member.clientHost == "/127.0.0.1")
        #expect(member.subscribedTopicNames == ["t"])
        #expect(member.assignment.topicPartitions.map(\.topicName) == ["t"])
        #expect(member.targetAssignment == member.assignment)
        #expect(member.memberType == (version >= 1 ? 1 : -1))
    }

    @Test func `DescribeGroups does not know consumer groups, ListGroups does`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try client.call(Self.joining("m"), version: 1)
        var describe = DescribeGroupsRequest()
        describe.groups = ["g"]
        let old = try client.call(describe, version: 5).groups[0]
        #expect(old.errorCode == .none)
        #expect(old.groupState == "Dead")
        let new = try client.call(describe, version: 6).groups[0]
        #expect(new.errorCode == .groupIdNotFound)
        #expect(new.errorMessage == "Group g is not a classic group.")
        var list = ListGroupsRequest()
        list.typesFilter = ["Consumer"]
        list.statesFilter = ["stable"]
        let listed = try client.call(list, version: 5).groups
        #expect(listed.map(\.groupId) == ["g"])
        #expect(listed[0].groupType == "consumer")
        #expect(listed[0].groupState == "Stable")
        list.typesFilter = ["classic"]
        #expect(try client.call(list, version: 5).groups.isEmpty)
    }

    // MARK: Both protocols in one group

    /// A stable classic group of one member that has both partitions.
    private func classicGroup(_ client: FrameClient) throws -> String {
        let joined = try client.call(Self.classicJoin(), version: 3)
        var assignment = ConsumerProtocolAssignment()
        var partitions = ConsumerProtocolAssignment.TopicPartitions()
        (partitions.topic, partitions.partitions) = ("t", [0, 1])
        assignment.assignedPartitions = [partitions]
        var bytes = ByteBuffer()
        try assignment.encode(into: &bytes, version: 1)
        var sync = GroupRequests.sync(joined.memberId)
        var own = SyncGroupRequest.Assignment()
        (own.memberId, own.assignment) = (joined.memberId, bytes)
        sync.assignments = [own]
        #expect(try client.call(sync, version: 3).errorCode == .none)
        return joined.memberId
    }

    @Test func `A classic group becomes a consumer group with its members, and a classic one again`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        let old = try classicGroup(client)
        // The new one waits for what the old one has.
        let new = try client.call(Self.joining("new"), version: 1)
        #expect(new.errorCode == .none)
        #expect(new.memberEpoch == 2)
        #expect(new.assignment?.topicPartitions == [])
        // The old one is told to join again, gives up one partition, and syncs.
        #expect(try client.call(GroupRequests.heartbeat(old), version: 3).errorCode == .rebalanceInProgress)
        let first = try client.call(Self.classicJoin(old, owned: [0, 1]), version: 3)
        #expect(first.errorCode == .none)
        #expect(first.generationId == 1)
        let kept = try Self.assignment(try client.call(GroupRequests.sync(old), version: 3).assignment)
        #expect(kept.count == 1)
        #expect(try client.call(GroupRequests.heartbeat(old), version: 3).errorCode == .rebalanceInProgress)
        let second = try client.call(Self.classicJoin(old, owned: kept), version: 3)
        #expect(second.generationId == 2)
        let synced = try client.call(GroupRequests.sync(old, generation: 2), version: 3)
        #expect(try Self.assignment(synced.assignment) == kept)
        #expect(try client.call(GroupRequests.heartbeat(old, generation: 2), version: 3).errorCode == .none)
        let given = try client.call(Self.staying("new", 2), version: 1)
        #expect(given.assignment?.topicPartitions.map(\.partitions) == [[0, 1].filter { !kept.contains($0) }])
        // The last of the new protocol leaves.
        _ = try client.call(Self.staying("new", -1), version: 1)
        #expect(try client.call(GroupRequests.heartbeat(old, generation: 2), version: 3).errorCode == .rebalanceInProgress)
        let third = try client.call(Self.classicJoin(old, owned: kept), version: 3)
        #expect(third.generationId == 3)
        #expect(third.leader == old, "it assigns again")
        #expect(third.members.map(\.memberId) == [old])
    }

    @Test func `A group whose members are no consumers stays classic`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        var connect = GroupRequests.join()
        connect.protocolType = "connect"
        let member = try client.call(connect, version: 3)
        #expect(try client.call(Self.joining("new"), version: 1).errorCode == .groupIdNotFound)
        #expect(try client.call(GroupRequests.sync(member.memberId), version: 3).errorCode == .none)
    }

    @Test func `Migration can be switched off`() throws {
        let broker = try GroupHandlersFixture { $0.consumerMigration = .disabled }
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try classicGroup(client)
        #expect(try client.call(Self.joining("new"), version: 1).errorCode == .groupIdNotFound)
    }

    @Test func `Empty groups change their protocol freely and keep their offsets`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try client.call(Self.joining("m"), version: 1)
        _ = try client.call(Self.staying("m", -1), version: 1)
        let joined = try client.call(Self.classicJoin(), version: 3)
        #expect(joined.errorCode == .none)
        #expect(joined.leader == joined.memberId)
        var leave = LeaveGroupRequest()
        (leave.groupId, leave.memberId) = ("g", joined.memberId)
        #expect(try client.call(leave, version: 2).errorCode == .none)
        #expect(try client.call(Self.joining("m"), version: 1).assignment?.topicPartitions.count == 1)
    }

    @Test func `A classic member that has nothing in common with the group is refused`() throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try client.call(Self.joining("m"), version: 1)
        #expect(try client.call(GroupRequests.join(), version: 3).errorCode == .inconsistentGroupProtocol)
        var odd = try Self.classicJoin()
        odd.protocolType = "connect"
        #expect(try client.call(odd, version: 3).errorCode == .inconsistentGroupProtocol)
        // What is said of a member of the other protocol.
        #expect(try client.call(GroupRequests.heartbeat("m"), version: 3).errorCode == .unknownMemberId)
        #expect(try client.call(GroupRequests.sync("m"), version: 3).errorCode == .unknownMemberId)
    }
}
