// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: consumer groups (KIP-848) through the coordinator: joining, reconciling, leaving, refusals.

import Bytes
import NIOCore
import Testing

@testable import Engine

@Suite struct ConsumerGroupTests {
    private typealias It = CoordinatorFixture

    private func partitions(_ answer: ConsumerHeartbeatAnswer) -> [Int32]? {
        answer.assignment.map { $0.flatMap(\.partitions) }
    }

    private func refusal(_ it: CoordinatorFixture, _ request: ConsumerHeartbeat) -> GroupError? {
        do throws(GroupRefusal) {
            _ = try it.beaten(request)
            return nil
        } catch {
            return error.error
        }
    }

    private func description(_ it: CoordinatorFixture) throws -> ConsumerGroupDescription {
        try #require(try it.groups.describeConsumerGroups(["g"])[0])
    }

    @Test func `The first member gets everything, and is told once`() throws {
        let it = It()
        it.topic("t", 3)
        let joined = try it.beaten(It.joining("a"))
        #expect(joined == .init(memberId: "a", memberEpoch: 1, heartbeatIntervalMs: 5_000, assignment: joined.assignment))
        #expect(partitions(joined) == [0, 1, 2])
        #expect(try it.beaten(It.staying("a", epoch: 1)).assignment == nil)
        #expect(try description(it).state == "Stable")
        #expect(try it.groups.list()[0] == .init(groupId: "g", protocolType: "consumer", state: "Stable", type: .consumer))
    }

    @Test func `A second member gets its share when the first has given it up`() throws {
        let it = It()
        it.topic("t", 4)
        _ = try it.beaten(It.joining("a"))
        let second = try it.beaten(It.joining("b"))
        #expect(second.memberEpoch == 2)
        #expect(partitions(second) == [])
        #expect(try description(it).state == "Reconciling")
        let told = try it.beaten(It.staying("a", epoch: 1, owned: [0, 1, 2, 3]))
        #expect(told.memberEpoch == 1, "it has to give up first")
        let kept = try #require(partitions(told))
        #expect(kept.count == 2)
        // It has not said that it did.
        #expect(try it.beaten(It.staying("a", epoch: 1)).memberEpoch == 1)
        #expect(partitions(try it.beaten(It.staying("b", epoch: 2))) == nil)
        #expect(try it.beaten(It.staying("a", epoch: 1, owned: kept)).memberEpoch == 2)
        #expect(partitions(try it.beaten(It.staying("b", epoch: 2)))?.count == 2)
        #expect(try description(it).state == "Stable")
    }

    @Test func `A member that leaves is replaced`() throws {
        let it = It()
        it.topic("t", 4)
        _ = try it.beaten(It.joining("a"))
        _ = try it.beaten(It.joining("b"))
        let left = try it.beaten(.init(groupId: "g", memberId: "a", memberEpoch: -1))
        #expect(left.memberEpoch == -1)
        #expect(try description(it).state == "Assigning")
        #expect(partitions(try it.beaten(It.staying("b", epoch: 2)))?.count == 4)
        #expect(refusal(it, It.staying("a", epoch: 1)) == .unknownMemberId)
        _ = try it.beaten(.init(groupId: "g", memberId: "b", memberEpoch: -1))
        #expect(try description(it).state == "Empty")
    }

    @Test func `A silent member is out after the session timeout, one that heartbeats stays`() throws {
        let it = It()
        it.topic("t", 2)
        _ = try it.beaten(It.joining("a"))
        it.pass(ms: 30_000)
        _ = try it.beaten(It.staying("a", epoch: 1))
        it.pass(ms: 44_000)
        it.run()
        #expect(try description(it).members.count == 1)
        it.pass(ms: 1_001)
        it.run()
        #expect(try description(it).members.isEmpty)
    }

    @Test func `A member that does not give up in time is out`() throws {
        let it = It()
        it.topic("t", 2)
        _ = try it.beaten(It.joining("a"))
        _ = try it.beaten(It.joining("b"))
        _ = try it.beaten(It.staying("a", epoch: 1, owned: [0, 1]))
        for _ in 0..<6 {
            it.pass(ms: 10_001)
            it.run()
            _ = try? it.beaten(It.staying("a", epoch: 1))
            _ = try? it.beaten(It.staying("b", epoch: 2))
        }
        #expect(try description(it).members.map(\.memberId) == ["b"])
    }

    @Test func `Overrides of a group are in force for the heartbeats that follow`() throws {
        let it = It()
        it.topic("t", 1)
        it.groups.override(GroupOverrides(sessionTimeoutMs: 1_000, heartbeatIntervalMs: 100), of: "g")
        #expect(try it.beaten(It.joining("a")).heartbeatIntervalMs == 100)
        it.pass(ms: 1_001)
        it.run()
        #expect(try description(it).members.isEmpty)
        it.groups.override(nil, of: "g")
        #expect(try it.beaten(It.joining("a")).heartbeatIntervalMs == 5_000)
    }

    // MARK: Epochs

    @Test func `Epochs that are not the member's are fenced, the previous one is forgiven`() throws {
        let it = It()
        it.topic("t", 2)
        _ = try it.beaten(It.joining("a"))
        #expect(refusal(it, It.staying("a", epoch: 2)) == .fencedMemberEpoch)
        // The answer to the join was lost.
        #expect(try it.beaten(It.joining("a")).memberEpoch == 1)
        _ = try it.beaten(It.joining("b"))
        _ = try it.beaten(It.staying("a", epoch: 1, owned: [0, 1]))
        _ = try it.beaten(It.staying("a", epoch: 1, owned: [0]))
        #expect(try it.beaten(It.staying("a", epoch: 1, owned: [0])).memberEpoch == 2, "that answer was lost, too")
        #expect(refusal(it, It.staying("a", epoch: 1, owned: [0, 1])) == .fencedMemberEpoch)
        #expect(refusal(it, It.staying("a", epoch: 1)) == .fencedMemberEpoch)
        #expect(refusal(it, It.joining("a")) == .fencedMemberEpoch)
    }

    @Test func `Commits and reads have to carry the member's epoch`() throws {
        let it = It()
        it.topic("t", 2)
        _ = try it.beaten(It.joining("a"))
        let position = OffsetCommit.Position(topic: "t", partition: 0, offset: 5)
        for (member, epoch, error) in [
            ("a", 1, nil), ("a", 0, .staleMemberEpoch), ("a", 2, .staleMemberEpoch), ("b", 1, .unknownMemberId),
            ("", -1, .unknownMemberId),
        ] as [(String, Int32, GroupError?)] {
            let box = it.commit([position], member: member, generation: epoch)
            it.run()
            #expect(box.value == (error.map { .failure($0) } ?? .success([nil])))
        }
        var old = OffsetCommit(
            groupId: "g", member: .init(memberId: "a"), generationId: 1, positions: [position])
        old.knowsMemberEpochs = false
        let box = It.Box<It.CommitResult>()
        it.groups.commit(old, on: it.loop) { box.put($0) }
        it.run()
        #expect(box.value == .failure(.unsupportedVersion))
        try it.groups.checkFetch(groupId: "g", memberId: nil, memberEpoch: -1)
        try it.groups.checkFetch(groupId: "g", memberId: "a", memberEpoch: 1)
        #expect(throws: GroupError.staleMemberEpoch) {
            try it.groups.checkFetch(groupId: "g", memberId: "a", memberEpoch: 0)
        }
        #expect(throws: GroupError.unknownMemberId) {
            try it.groups.checkFetch(groupId: "g", memberId: "x", memberEpoch: 0)
        }
    }

    // MARK: Refusals

    @Test func `Requests that contradict themselves are refused`() {
        let it = It()
        it.topic("t", 1)
        var requests: [ConsumerHeartbeat] = []
        func add(_ change: (inout ConsumerHeartbeat) -> Void) {
            var request = It.joining("a")
            change(&request)
            requests.append(request)
        }
        add { $0.memberId = "" }
        add { $0.groupId = "" }
        add { $0.instanceId = "" }
        add { $0.rackId = "" }
        add { $0.rebalanceTimeoutMs = nil }
        add { $0.owned = nil }
        add { $0.owned = [.init(topicId: TopicId(high: 1, low: 1), partitions: [0])] }
        add { $0.subscribedTopics = nil }
        add { $0.memberEpoch = -2 }
        add { $0.memberEpoch = -3 }
        for request in requests { #expect(refusal(it, request) == .invalidRequest) }
        #expect(it.groups.groupCount == 0)
    }

    @Test func `What is unknown or too much is refused`() throws {
        let it = It { $0.consumerMembersMax = 1 }
        it.topic("t", 1)
        #expect(refusal(it, It.staying("a", epoch: 1)) == .groupIdNotFound)
        #expect(refusal(it, .init(groupId: "g", memberId: "a", memberEpoch: -1)) == .groupIdNotFound)
        var odd = It.joining("a")
        odd.assignor = "sticky"
        #expect(refusal(it, odd) == .unsupportedAssignor)
        #expect(refusal(it, It.joining("a", topics: nil, pattern: "(")) == .invalidRegularExpression)
        #expect(it.groups.groupCount == 0)
        _ = try it.beaten(It.joining("a"))
        #expect(refusal(it, It.joining("b")) == .groupMaxSizeReached)
        #expect(refusal(it, It.staying("b", epoch: 1)) == .groupMaxSizeReached)
    }

    @Test func `A member of an old version gets its id from the broker`() throws {
        let it = It()
        it.topic("t", 1)
        var request = It.joining("")
        request.mayLackId = true
        let joined = try it.beaten(request)
        #expect(joined.memberId.count == 22)
        #expect(try it.beaten(It.staying(joined.memberId, epoch: 1)).memberEpoch == 1)
    }

    // MARK: Static members

    @Test func `A static member that leaves for a while comes back to its partitions`() throws {
        let it = It()
        it.topic("t", 4)
        let first = try it.beaten(It.joining("a", instance: "i"))
        #expect(refusal(it, It.joining("b", instance: "i")) == .unreleasedInstanceId)
        #expect(refusal(it, It.staying("b", epoch: 1, instance: "i")) == .fencedInstanceId)
        #expect(refusal(it, It.staying("b", epoch: 1, instance: "x")) == .unknownMemberId)
        let away = try it.beaten(
            .init(groupId: "g", memberId: "a", memberEpoch: -2, instanceId: "i"))
        #expect(away.memberEpoch == -2)
        let back = try it.beaten(It.joining("b", instance: "i"))
        #expect(back.memberEpoch == 1, "the group did not notice")
        #expect(back.assignment == first.assignment)
        #expect(refusal(it, It.staying("a", epoch: 1, instance: "i")) == .fencedInstanceId)
        #expect(try description(it).members.map(\.memberId) == ["b"])
    }

    @Test func `A static member that does not come back is out after the session timeout`() throws {
        let it = It()
        it.topic("t", 1)
        _ = try it.beaten(It.joining("a", instance: "i"))
        _ = try it.beaten(.init(groupId: "g", memberId: "a", memberEpoch: -2, instanceId: "i"))
        it.pass(ms: 45_001)
        it.run()
        #expect(try description(it).state == "Empty")
    }

    // MARK: Topics

    @Test func `Topics that come, grow and go change the assignment`() throws {
        let it = It()
        #expect(partitions(try it.beaten(It.joining("a", topics: ["t", "u"]))) == [])
        it.topic("t", 1)
        let first = try it.beaten(It.staying("a", epoch: 1))
        #expect(first.memberEpoch == 2)
        #expect(partitions(first) == [0])
        it.topic("t", 2)
        #expect(partitions(try it.beaten(It.staying("a", epoch: 2))) == [0, 1])
        it.topic("other", 5, number: 7)
        #expect(try it.beaten(It.staying("a", epoch: 3)).memberEpoch == 3, "not its concern")
        it.groups.topicChanged(.deleted(name: "t", id: TopicId(high: 9, low: 1)))
        #expect(partitions(try it.beaten(It.staying("a", epoch: 3, owned: [0, 1]))) == [])
        #expect(try it.beaten(It.staying("a", epoch: 3, owned: [])).memberEpoch == 4)
    }

    @Test func `A pattern follows the topics`() throws {
        let it = It()
        it.topic("log-a", 1)
        #expect(partitions(try it.beaten(It.joining("a", topics: nil, pattern: "log-.*"))) == [0])
        it.topic("log-b", 2, number: 2)
        it.topic("blog-c", 2, number: 3)
        #expect(try it.beaten(It.staying("a", epoch: 1)).assignment?.map(\.partitions) == [[0], [0, 1]])
        #expect(try description(it).members[0].subscribedPattern == "log-.*")
    }

    @Test func `A pattern finds only topics that the member may describe`() throws {
        let it = It { $0.patternRefreshMs = 10_000 }
        it.topic("log-a", 1)
        it.topic("log-secret", 1, number: 2)
        var joining = It.joining("a", topics: nil, pattern: "log-.*")
        joining.mayDescribe = { !$0.hasPrefix("log-secret") }
        #expect(partitions(try it.beaten(joining)) == [0])
        // Neither is one that comes later found.
        it.topic("log-secret-too", 1, number: 3)
        var staying = It.staying("a", epoch: 1)
        staying.mayDescribe = { !$0.hasPrefix("log-secret") }
        #expect(try it.beaten(staying).memberEpoch == 1)
        // Rights that are given are seen once what is known of them is old.
        staying.mayDescribe = { $0 != "log-secret-too" }
        #expect(try it.beaten(staying).assignment == nil)
        it.pass(ms: 10_000)
        let answer = try it.beaten(staying)
        #expect(answer.memberEpoch == 2 && answer.assignment?.count == 2)
    }

    @Test func `A deletion of offsets is refused for topics in use only`() throws {
        let it = It()
        it.topic("t", 1)
        it.commit(1, topic: "t")
        it.commit(1, topic: "u")
        _ = try it.beaten(It.joining("a"))
        let box = It.Box<Result<[GroupError?], GroupError>>()
        it.groups.deleteOffsets(
            groupId: "g", topics: [.init(topic: "t", partitions: [0]), .init(topic: "u", partitions: [0])], on: it.loop
        ) { box.put($0) }
        it.run()
        #expect(box.value == .success([.groupSubscribedToTopic, nil]))
        #expect(it.committed("t") == 1)
        #expect(it.committed("u") == nil)
        #expect(try it.groups.describe(["g"])[0].refusal == "Group g is not a classic group.")
        let deletion = it.delete(["g"])
        #expect(deletion.value == [.nonEmptyGroup])
    }
}
