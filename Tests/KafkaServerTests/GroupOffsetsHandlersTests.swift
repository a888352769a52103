// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: OffsetCommit, OffsetFetch and OffsetDelete through frames, in every version.

import Bytes
import Engine
import KafkaWire
import NIOCore
import Testing

@testable import KafkaServer

@Suite struct GroupOffsetsHandlersTests {
    private func broker(_ change: (inout GroupConfiguration) -> Void = { _ in }) throws -> GroupHandlersFixture {
        let broker = try GroupHandlersFixture(change)
        try broker.createTopic("t")
        return broker
    }

    private func fetch(_ client: FrameClient, group: String = "g", topic: String = "t", _ partition: Int32 = 0)
        throws -> OffsetFetchResponse.Partition
    {
        var request = OffsetFetchRequest()
        request.groupId = group
        var wanted = OffsetFetchRequest.Topic()
        wanted.name = topic
        wanted.partitionIndexes = [partition]
        request.topics = [wanted]
        return try #require(try client.call(request, version: 5).topics.first?.partitions.first)
    }

    // MARK: OffsetCommit

    @Test(arguments: 2...9 as ClosedRange<Int16>) func `A commit without membership is stored in every version`(
        version: Int16
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        let answer = try client.call(GroupRequests.commit(42, partitions: [0, 1]), version: version)
        #expect(answer.topics.map(\.name) == ["t"])
        #expect(answer.topics[0].partitions.map(\.partitionIndex) == [0, 1])
        #expect(answer.topics[0].partitions.map(\.errorCode) == [.none, .none])
        let stored = try fetch(client, 1)
        #expect(stored.committedOffset == 42)
        #expect(stored.committedLeaderEpoch == (version >= 6 ? 3 : -1))
        #expect(stored.metadata == "meta")
    }

    @Test(arguments: 2...9 as ClosedRange<Int16>) func `What is wrong with member or group fails the whole commit`(
        version: Int16
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        let memberId = try broker.stableMember(client)
        func commit(_ request: OffsetCommitRequest) throws -> KafkaErrorCode {
            let answer = try client.call(request, version: version)
            return try #require(answer.topics.first?.partitions.first?.errorCode)
        }
        #expect(try commit(GroupRequests.commit(member: memberId, generation: 1)) == .none)
        #expect(try commit(GroupRequests.commit(member: memberId, generation: 2)) == .illegalGeneration)
        #expect(try commit(GroupRequests.commit(member: "who", generation: 1)) == .unknownMemberId)
        #expect(try commit(GroupRequests.commit()) == .unknownMemberId)
        let missing = GroupRequests.commit(group: "none", member: "m", generation: 1)
        #expect(try commit(missing) == (version >= 9 ? .groupIdNotFound : .illegalGeneration))
        let long = String(repeating: "g", count: 1_025)
        #expect(try commit(GroupRequests.commit(group: long)) == .invalidGroupId)
        if version >= 7 {
            _ = try client.call(GroupRequests.join(group: "static", instance: "i"), version: 9)
            var fenced = GroupRequests.commit(group: "static", member: "other", generation: 1)
            fenced.groupInstanceId = "i"
            #expect(try commit(fenced) == .fencedInstanceId)
        }
        let joining = try client.call(GroupRequests.join(group: "half"), version: 3)
        let early = GroupRequests.commit(group: "half", member: joining.memberId, generation: 1)
        #expect(try commit(early) == .rebalanceInProgress)
    }

    @Test(arguments: 2...9 as ClosedRange<Int16>) func `Unknown partitions and long metadata fail on their own`(
        version: Int16
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        var request = GroupRequests.commit(1, partitions: [7, 0, 1])
        request.topics[0].partitions[2].committedMetadata = String(repeating: "x", count: 4_097)
        request.topics += GroupRequests.commit(1, topic: "nope").topics
        let answer = try client.call(request, version: version)
        #expect(
            answer.topics[0].partitions.map(\.errorCode)
                == [.unknownTopicOrPartition, .none, .offsetMetadataTooLarge])
        #expect(answer.topics[1].partitions.map(\.errorCode) == [.unknownTopicOrPartition])
        #expect(try fetch(client, 0).committedOffset == 1)
        #expect(try fetch(client, 1).committedOffset == -1)
        request.topics.removeFirst()
        #expect(
            try client.call(request, version: version).topics[0].partitions.map(\.errorCode)
                == [.unknownTopicOrPartition])
    }

    @Test(arguments: 2...9 as ClosedRange<Int16>) func `Null metadata is empty metadata`(version: Int16) throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(metadata: nil), version: version)
        #expect(try fetch(client).metadata == "")
    }

    @Test(arguments: [(2, true), (4, true), (5, false)] as [(Int16, Bool)])
    func `A retention time counts as long as versions have one`(version: Int16, counts: Bool) throws {
        let broker = try broker()
        let client = try broker.connect()
        var request = GroupRequests.commit(9)
        request.retentionTimeMs = 1_000
        _ = try client.call(request, version: version)
        broker.clock.advance(ms: 1_000)
        broker.engine.groups.cleanUp()
        broker.run()
        #expect(try fetch(client).committedOffset == (counts ? -1 : 9))
    }

    @Test(arguments: [Int64.max, .max - 1, -2, .min])
    func `An absurd retention time is taken for what it says`(retentionTimeMs: Int64) throws {
        let broker = try broker()
        let client = try broker.connect()
        var request = GroupRequests.commit(9)
        request.retentionTimeMs = retentionTimeMs
        _ = try client.call(request, version: 4)
        broker.engine.groups.cleanUp()
        broker.run()
        #expect(try fetch(client).committedOffset == (retentionTimeMs > 0 ? 9 : -1))
    }

    @Test func `A commit too large to be kept is refused`() throws {
        let broker = try broker { $0.offsetsMax = 1 }
        let client = try broker.connect()
        let answer = try client.call(GroupRequests.commit(partitions: [0, 1]), version: 9)
        #expect(answer.topics[0].partitions.map(\.errorCode)
            == [.invalidCommitOffsetSize, .invalidCommitOffsetSize])
    }

    // MARK: OffsetFetch

    @Test(arguments: 1...7 as ClosedRange<Int16>) func `One group's positions are read in early versions`(
        version: Int16
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(42), version: 9)
        var request = OffsetFetchRequest()
        request.groupId = "g"
        request.requireStable = true
        var topic = OffsetFetchRequest.Topic()
        topic.name = "t"
        topic.partitionIndexes = [1, 0]
        request.topics = [topic]
        let answer = try client.call(request, version: version)
        #expect(answer.errorCode == .none)
        let partitions = try #require(answer.topics.first?.partitions)
        #expect(partitions.map(\.partitionIndex) == [1, 0])
        #expect(partitions.map(\.committedOffset) == [-1, 42])
        #expect(partitions.map(\.committedLeaderEpoch) == (version >= 5 ? [-1, 3] : [-1, -1]))
        #expect(partitions.map(\.metadata) == ["", "meta"])
        #expect(partitions.map(\.errorCode) == [.none, .none])
    }

    @Test(arguments: 2...7 as ClosedRange<Int16>) func `All positions of a group are read since version 2`(
        version: Int16
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(42, partitions: [1, 0]), version: 9)
        var request = OffsetFetchRequest()
        request.groupId = "g"
        request.topics = nil
        let answer = try client.call(request, version: version)
        #expect(answer.topics.map(\.name) == ["t"])
        #expect(answer.topics[0].partitions.map(\.partitionIndex) == [0, 1])
        request.groupId = "none"
        let none = try client.call(request, version: version)
        #expect(none.errorCode == .none)
        #expect(none.topics.isEmpty)
    }

    @Test(arguments: 8...9 as ClosedRange<Int16>, [false, true]) func `Many groups are read at once since version 8`(
        version: Int16, requireStable: Bool
    ) throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(1, group: "a"), version: 9)
        _ = try client.call(GroupRequests.commit(2, group: "b"), version: 9)
        var request = OffsetFetchRequest()
        request.requireStable = requireStable
        request.groups = ["a", "none", "b"].map { id in
            var group = OffsetFetchRequest.Group()
            group.groupId = id
            group.memberId = "m"
            group.memberEpoch = 3
            group.topics = nil
            return group
        }
        var topic = OffsetFetchRequest.Topic()
        topic.name = "t"
        topic.partitionIndexes = [0]
        request.groups[2].topics = [topic]
        let answer = try client.call(request, version: version)
        #expect(answer.groups.map(\.groupId) == ["a", "none", "b"])
        #expect(answer.groups.map { $0.topics.flatMap(\.partitions).map(\.committedOffset) } == [[1], [], [2]])
        #expect(answer.groups.allSatisfy { $0.errorCode == .none })
    }

    @Test func `A stopping broker says so in each version's own place`() throws {
        let broker = try broker()
        let client = try broker.connect()
        broker.engine.groups.close()
        var request = OffsetFetchRequest()
        request.groupId = "g"
        var topic = OffsetFetchRequest.Topic()
        topic.name = "t"
        topic.partitionIndexes = [0]
        request.topics = [topic]
        var group = OffsetFetchRequest.Group()
        group.groupId = "g"
        group.topics = [topic]
        request.groups = [group]
        let first = try client.call(request, version: 1)
        #expect(first.topics[0].partitions.map(\.errorCode) == [.coordinatorNotAvailable])
        #expect(first.topics[0].partitions.map(\.committedOffset) == [-1])
        for version: Int16 in 2...7 {
            #expect(try client.call(request, version: version).errorCode == .coordinatorNotAvailable)
        }
        for version: Int16 in 8...9 {
            #expect(try client.call(request, version: version).groups.map(\.errorCode) == [.coordinatorNotAvailable])
        }
    }

    @Test func `Too many groups, or positions, are refused`() throws {
        let broker = try broker()
        let client = try broker.connect()
        var request = OffsetFetchRequest()
        request.groups = (0...Limits.groupsPerRequest).map { index in
            var group = OffsetFetchRequest.Group()
            group.groupId = "g\(index)"
            return group
        }
        let answer = try client.call(request, version: 9)
        #expect(answer.groups.allSatisfy { $0.errorCode == .invalidRequest })
        var topic = OffsetFetchRequest.Topic()
        topic.name = "t"
        topic.partitionIndexes = [0]
        request.groups = Array(request.groups.prefix(3))
        request.groups[0].topics = [topic]
        request.groups[2].topics = [topic]
        topic.partitionIndexes = Array(repeating: 0, count: Limits.positionsPerReply)
        request.groups[1].topics = [topic]
        let large = try client.call(request, version: 9)
        #expect(large.groups.map(\.errorCode) == [.none, .invalidRequest, .none])
        #expect(large.groups.map(\.topics.count) == [1, 0, 1])
    }

    // MARK: OffsetDelete

    private func deletion(group: String = "g", _ topics: [(String, [Int32])]) -> OffsetDeleteRequest {
        var request = OffsetDeleteRequest()
        request.groupId = group
        request.topics = topics.map { name, partitions in
            var topic = OffsetDeleteRequest.Topic()
            topic.name = name
            topic.partitions = partitions.map { index in
                var partition = OffsetDeleteRequest.Partition()
                partition.partitionIndex = index
                return partition
            }
            return topic
        }
        return request
    }

    @Test func `Positions are forgotten, unknown partitions reported`() throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(1, partitions: [0, 1]), version: 9)
        let answer = try client.call(deletion([("t", [0, 7]), ("nope", [0])]), version: 0)
        #expect(answer.errorCode == .none)
        #expect(answer.topics.map(\.name) == ["t", "nope"])
        #expect(answer.topics.map { $0.partitions.map(\.partitionIndex) } == [[0, 7], [0]])
        #expect(
            answer.topics.map { $0.partitions.map(\.errorCode) }
                == [[.none, .unknownTopicOrPartition], [.unknownTopicOrPartition]])
        #expect(try fetch(client, 0).committedOffset == -1)
        #expect(try fetch(client, 1).committedOffset == 1)
    }

    @Test func `Topics that members consume keep their positions`() throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(1), version: 9)
        _ = try broker.stableMember(client, metadata: "\0\0\0\0\0\u{1}\0\u{1}t")
        let answer = try client.call(deletion([("t", [0])]), version: 0)
        #expect(answer.topics[0].partitions.map(\.errorCode) == [.groupSubscribedToTopic])
        #expect(try fetch(client).committedOffset == 1)
    }

    @Test func `What is wrong with the group is the response's error`() throws {
        let broker = try broker()
        let client = try broker.connect()
        #expect(try client.call(deletion(group: "none", [("t", [0])]), version: 0).errorCode == .groupIdNotFound)
        #expect(try client.call(deletion(group: "", [("t", [0])]), version: 0).errorCode == .invalidGroupId)
        _ = try client.call(GroupRequests.join(type: "connect"), version: 3)
        let busy = try client.call(deletion([("t", [0])]), version: 0)
        #expect(busy.errorCode == .nonEmptyGroup)
        #expect(busy.topics.isEmpty)
    }

    // MARK: Topics

    @Test func `A deleted topic's positions are gone, also when it is created again`() throws {
        let broker = try broker()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.commit(42), version: 9)
        let deleted = broker.engine.topics.delete("t", on: broker.loop)
        broker.run()
        try deleted.wait()
        try broker.createTopic("t")
        #expect(try fetch(client).committedOffset == -1)
    }
}
