// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: sync, heartbeat, leave and expiry in a classic group.

import NIOCore
import Testing

@testable import Engine

@Suite struct ClassicGroupMembershipTests {
    /// Two members that joined and have not synced.
    private func joined(_ it: GroupFixture, _ count: Int = 2) -> [String] {
        let ids = (0..<count).map { _ in it.newMemberId() }
        for id in ids { it.join(id) }
        it.pass(0)
        return ids
    }

    // MARK: Sync

    @Test func `A follower that syncs first waits for the leader`() {
        let it = GroupFixture()
        let ids = joined(it)
        let follower = it.sync(ids[1])
        #expect(it.syncs[follower] == nil)
        let leader = it.sync(ids[0], assignments: [ids[0]: "p0", ids[1]: "p1"])
        #expect(it.syncs[follower]?.assignment.text == "p1")
        #expect(it.syncs[leader]?.assignment.text == "p0")
        #expect(it.syncs[leader]?.protocolType == "consumer")
        #expect(it.syncs[leader]?.protocolName == "range")
        #expect(it.group.state == .stable)
    }

    @Test func `A follower that syncs after the leader is answered at once`() {
        let it = GroupFixture()
        let ids = joined(it)
        it.sync(ids[0], assignments: [ids[0]: "p0", ids[1]: "p1"])
        #expect(it.syncAnswer(it.sync(ids[1]))?.assignment.text == "p1")
    }

    @Test func `A member that the leader forgot gets nothing, and made-up members are ignored`() {
        let it = GroupFixture()
        let ids = joined(it)
        it.sync(ids[0], assignments: [ids[0]: "p0", "ghost": "p9"])
        let answer = it.syncAnswer(it.sync(ids[1]))
        #expect(answer?.error == nil)
        #expect(answer?.assignment.readableBytes == 0)
        #expect(it.group.memberCount == 2)
    }

    @Test func `Only the leader's assignments count`() {
        let it = GroupFixture()
        let ids = joined(it)
        it.sync(ids[1], assignments: [ids[0]: "mine", ids[1]: "mine"])
        #expect(it.group.state == .completingRebalance)
    }

    @Test(arguments: [
        ("who", nil, nil, nil, nil, GroupError.unknownMemberId),
        ("m1", nil, 0, nil, nil, .illegalGeneration),
        ("m1", nil, nil, "connect", nil, .inconsistentGroupProtocol),
        ("m1", nil, nil, "consumer", "sticky", .inconsistentGroupProtocol),
        ("m1", "i", nil, nil, nil, .unknownMemberId),
    ] as [(String, String?, Int32?, String?, String?, GroupError)])
    func `A sync that does not fit is refused`(
        id: String, instance: String?, generation: Int32?, type: String?, name: String?, error: GroupError
    ) {
        let it = GroupFixture()
        it.join(version: 3)
        it.pass(0)
        let token = it.sync(id, instance: instance, generation: generation, type: type, name: name)
        #expect(it.syncs[token]?.error == error)
    }

    @Test func `A sync during a rebalance sends the member back to join`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        it.join(ids[0])
        #expect(it.syncAnswer(it.sync(ids[1]))?.error == .rebalanceInProgress)
    }

    @Test func `A second sync of the same member takes the place of the first`() {
        let it = GroupFixture()
        let ids = joined(it)
        let first = it.sync(ids[1])
        let second = it.sync(ids[1])
        #expect(it.syncs[first]?.error == .rebalanceInProgress)
        it.sync(ids[0], assignments: [ids[1]: "p1"])
        #expect(it.syncs[second]?.assignment.text == "p1")
    }

    @Test func `Members that do not sync within the rebalance timeout are removed`() {
        let it = GroupFixture()
        let ids = joined(it, 3)
        it.sync(ids[0], assignments: [:])
        it.sync(ids[1])
        for _ in 0..<60 {
            for id in ids { _ = it.heartbeat(id) }
            it.pass(1_000)
        }
        #expect(it.group.state == .preparingRebalance)
        #expect(it.group.memberCount == 2)
        #expect(it.heartbeat(ids[2]) == .unknownMemberId)
        #expect(it.heartbeat(ids[1]) == .rebalanceInProgress)
    }

    @Test func `A leader that never syncs is removed and the followers go on without it`() {
        let it = GroupFixture()
        let ids = joined(it)
        let parked = it.sync(ids[1])
        for _ in 0..<60 {
            _ = it.heartbeat(ids[0])
            it.pass(1_000)
        }
        #expect(it.syncs[parked]?.error == .rebalanceInProgress)
        let token = it.join(ids[1])
        #expect(it.joins[token]?.leaderId == ids[1])
        #expect(it.joins[token]?.generationId == 2)
    }

    // MARK: Heartbeat

    @Test func `Heartbeats keep a member, and their absence costs it its place`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        for _ in 0..<5 {
            it.pass(9_000)
            #expect(it.heartbeat(ids[0]) == (it.group.memberCount == 2 ? nil : .rebalanceInProgress))
        }
        #expect(it.group.memberCount == 1)
        #expect(it.heartbeat(ids[1]) == .unknownMemberId)
    }

    @Test func `Nobody expires for a time in which the broker stood still`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        // The sessions end after 10 s; it is 39 s when somebody looks.
        it.nowMs += 39_000
        it.group.excuse(pauseMs: 29_000, nowMs: it.nowMs)
        it.execute(it.group.advance(nowMs: it.nowMs))
        #expect(it.group.state == .stable)
        it.pass(9_999)
        #expect(ids.allSatisfy { it.heartbeat($0) == nil })
        it.pass(9_999)
        #expect(it.group.memberCount == 2)
        it.pass(1)
        #expect(it.group.memberCount == 0)
    }

    @Test func `A member expires exactly when its session ends`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        it.pass(9_999)
        #expect(it.group.state == .stable)
        it.pass(1)
        #expect(it.group.state == .empty)
        #expect(it.heartbeat(ids[0]) == .unknownMemberId)
        #expect(it.events.contains(.becameEmpty(generationId: 2)))
    }

    @Test func `A heartbeat of another generation is refused and does not count`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        it.pass(9_000)
        #expect(it.heartbeat(ids[0], generation: 0) == .illegalGeneration)
        #expect(it.heartbeat(ids[0], generation: 2) == .illegalGeneration)
        it.pass(1_000)
        #expect(it.group.state == .empty)
    }

    @Test func `Heartbeats count before the first sync`() {
        let it = GroupFixture()
        let ids = joined(it)
        for _ in 0..<6 {
            it.pass(5_000)
            #expect(ids.map { it.heartbeat($0) } == [nil, nil])
        }
    }

    @Test func `A member whose request is parked owes no heartbeat, and does again once answered`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let parked = it.join(ids[0])
        for _ in 0..<5 {
            it.pass(9_000)
            _ = it.heartbeat(ids[1])
        }
        #expect(it.group.memberCount == 2)
        it.join(ids[1])
        #expect(it.joins[parked]?.generationId == 2)
        it.pass(10_000)
        #expect(it.group.memberCount == 0)
    }

    // MARK: Leave

    @Test func `A member that leaves makes the rest join again`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        #expect(it.leave(.init(memberId: ids[1])) == [nil])
        #expect(it.heartbeat(ids[0]) == .rebalanceInProgress)
        #expect(it.joinAnswer(it.join(ids[0]))?.generationId == 2)
    }

    @Test func `The last member to leave empties the group, which then starts afresh`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        it.leave(.init(memberId: ids[0]))
        #expect(it.group.state == .empty)
        #expect(it.group.generationId == 2)
        #expect(it.group.nextDeadlineMs == .max || it.group.isVacant)
        let again = it.newMemberId()
        let token = it.join(again)
        it.pass(0)
        #expect(it.joins[token]?.generationId == 3)
    }

    @Test func `Several members leave with one rebalance and one result each`() {
        let it = GroupFixture()
        let ids = it.stabilize(3)
        let results = it.leave(.init(memberId: ids[1]), .init(memberId: "who"), .init(memberId: ids[2]))
        #expect(results == [nil, .unknownMemberId, nil])
        #expect(it.group.memberCount == 1)
        #expect(it.joinAnswer(it.join(ids[0]))?.generationId == 2)
    }

    @Test func `A static member is removed by its instance id alone`() {
        let it = GroupFixture()
        it.join(instance: "i")
        it.pass(0)
        #expect(it.leave(.init(memberId: "", groupInstanceId: "j")) == [.unknownMemberId])
        #expect(it.leave(.init(memberId: "other", groupInstanceId: "i")) == [.fencedInstanceId])
        #expect(it.leave(.init(memberId: "", groupInstanceId: "i")) == [nil])
        #expect(it.group.state == .empty)
    }

    @Test func `A member that only has its id can leave without disturbing the group`() {
        let it = GroupFixture()
        _ = it.stabilize(1)
        let pending = it.newMemberId()
        #expect(it.leave(.init(memberId: pending)) == [nil])
        #expect(it.group.state == .stable)
        #expect(it.joinAnswer(it.join(pending))?.error == .unknownMemberId)
    }

    @Test func `A member that leaves while its requests are parked is answered`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let join = it.join(ids[0])
        it.leave(.init(memberId: ids[0]))
        #expect(it.joins[join]?.error == .unknownMemberId)
        let next = it.join(ids[1])
        #expect(it.joins[next]?.generationId == 2)

        let other = GroupFixture()
        let others = joined(other)
        let sync = other.sync(others[1])
        other.leave(.init(memberId: others[1]))
        #expect(other.syncs[sync]?.error == .unknownMemberId)
    }

    @Test func `The last missing member completes the rebalance by leaving`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let parked = it.join(ids[0])
        it.leave(.init(memberId: ids[1]))
        #expect(it.joins[parked]?.generationId == 2)
    }

    @Test func `When all leave during the initial delay the group is empty again`() {
        let it = GroupFixture { $0.initialRebalanceDelayMs = 3_000 }
        it.join(version: 3)
        it.leave(.init(memberId: "m1"))
        it.pass(3_000)
        #expect(it.group.state == .empty)
        #expect(it.group.isVacant)
    }

    // MARK: Offsets

    @Test(arguments: [
        ("", nil, -1, GroupError.unknownMemberId),
        ("m1", nil, 1, nil),
        ("m1", nil, 0, .illegalGeneration),
        ("m1", nil, -1, .illegalGeneration),
        ("who", nil, 1, .unknownMemberId),
        ("m1", "i", 1, .unknownMemberId),
    ] as [(String, String?, Int32, GroupError?)])
    func `Who may commit to a stable group`(id: String, instance: String?, generation: Int32, error: GroupError?) {
        let it = GroupFixture()
        it.join(version: 3)
        it.pass(0)
        it.settle(["m1"])
        #expect(it.commit(id, instance: instance, generation: generation) == error)
    }

    @Test(arguments: [
        ("", -1, nil), ("old", -1, nil), ("old", 3, .unknownMemberId), ("", 0, .unknownMemberId),
    ] as [(String, Int32, GroupError?)])
    func `Who may commit to an empty group`(id: String, generation: Int32, error: GroupError?) {
        let it = GroupFixture()
        #expect(it.commit(id, generation: generation) == error)
    }

    @Test func `A commit waits between join and sync; one of the old generation counts while joining`() {
        let it = GroupFixture()
        let ids = joined(it)
        #expect(it.commit(ids[0], generation: 1) == .rebalanceInProgress)
        it.settle(ids)
        it.join(ids[0])
        #expect(it.commit(ids[1], generation: 1) == nil)
    }

    @Test func `A commit counts as a heartbeat`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        for _ in 0..<5 {
            it.pass(9_000)
            #expect(it.commit(ids[0], generation: 1) == nil)
        }
        #expect(it.group.state == .stable)
    }

    @Test func `The topics of a group of consumers are read from its members' metadata`() throws {
        func subscription(_ topics: [String]) -> String {
            var bytes = ByteBuffer()
            bytes.writeInteger(Int16(3))
            bytes.writeInteger(Int32(topics.count))
            for topic in topics {
                bytes.writeInteger(Int16(topic.utf8.count))
                bytes.writeString(topic)
            }
            bytes.writeString("what later versions add")
            return String(buffer: bytes)
        }
        let it = GroupFixture()
        #expect(it.group.subscribedTopics == .none)
        it.join(version: 3, protocols: ["range": subscription(["a", "b"])])
        it.join(version: 3, protocols: ["range": subscription(["b", "c"])])
        it.pass(0)
        #expect(it.group.subscribedTopics == .these(["a", "b", "c"]))
        #expect(!it.group.subscribedTopics.contains("d"))

        let other = GroupFixture()
        other.join(version: 3, protocols: ["range": "nonsense"])
        other.pass(0)
        #expect(other.group.subscribedTopics == .unknown)
        #expect(other.group.subscribedTopics.contains("any"))

        let connect = GroupFixture()
        connect.join(version: 3, type: "connect", protocols: ["range": "nonsense"])
        connect.pass(0)
        #expect(connect.group.subscribedTopics == .none)
    }

    @Test(arguments: [
        [], [0], [0, 0], [0, 0, 0, 0, 0, 5], [0, 0, 0xff, 0xff, 0xff, 0xff], [0x80, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 9, 65], [0, 0, 0, 0, 0, 1, 0xff, 0xff], [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0],
    ] as [[UInt8]])
    func `Metadata that is no subscription is recognised`(bytes: [UInt8]) {
        #expect(ConsumerSubscription.topics(in: ByteBuffer(bytes: bytes)) == nil)
    }
}
