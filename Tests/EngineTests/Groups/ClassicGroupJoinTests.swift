// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: members join a classic group.

import NIOCore
import Testing

@testable import Engine

@Suite struct ClassicGroupJoinTests {
    @Test func `A new dynamic member is given an id and asked to join with it`() {
        let it = GroupFixture()
        let token = it.join()
        #expect(it.joins[token] == GroupJoinResponse(error: .memberIdRequired, memberId: "m1"))
        #expect(it.group.state == .empty)
        #expect(it.group.memberCount == 0)
    }

    @Test(arguments: [0, 3]) func `Before v4 a new member joins at once`(version: Int) {
        let it = GroupFixture()
        let token = it.join(version: version)
        #expect(it.joins[token] == nil)
        it.pass(0)
        #expect(it.joins[token]?.error == nil)
        #expect(it.joins[token]?.memberId == "m1")
        #expect(it.group.state == .completingRebalance)
    }

    @Test func `A static member joins at once, whatever the version`() {
        let it = GroupFixture()
        let token = it.join(instance: "i")
        it.pass(0)
        #expect(it.joins[token]?.memberId == "m1")
        #expect(it.joins[token]?.members.first?.groupInstanceId == "i")
    }

    @Test func `The first member leads generation 1 and sees itself`() throws {
        let it = GroupFixture()
        let id = it.newMemberId(protocols: ["range": "topics"])
        let token = it.join(id, protocols: ["range": "topics"])
        it.pass(0)
        let answer = try #require(it.joins[token])
        #expect(answer.error == nil)
        #expect(answer.generationId == 1)
        #expect(answer.leaderId == id)
        #expect(answer.protocolType == "consumer")
        #expect(answer.protocolName == "range")
        #expect(!answer.skipAssignment)
        #expect(answer.members.map(\.memberId) == [id])
        #expect(answer.members.map(\.metadata.text) == ["topics"])
    }

    @Test func `Of three members only the leader sees all, oldest first`() {
        let it = GroupFixture()
        let ids = (0..<3).map { _ in it.newMemberId() }
        let tokens = ids.map { it.join($0) }
        it.pass(0)
        let answers = tokens.compactMap { it.joins[$0] }
        #expect(answers.map(\.leaderId) == [ids[0], ids[0], ids[0]])
        #expect(answers.map { $0.members.map(\.memberId) } == [ids, [], []])
        #expect(answers.allSatisfy { $0.generationId == 1 })
    }

    @Test func `A member that joins a stable group makes the others join again`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let newcomer = it.newMemberId()
        #expect(it.group.state == .stable)
        let parked = it.join(newcomer)
        #expect(it.group.state == .preparingRebalance)
        #expect(it.heartbeat(ids[0]) == .rebalanceInProgress)
        let tokens = ids.map { it.join($0) }
        #expect(it.joins[parked]?.generationId == 2)
        #expect(tokens.map { it.joins[$0]?.generationId } == [2, 2])
        #expect(it.joins[tokens[0]]?.members.count == 3)
    }

    @Test func `The initial delay is extended while members join, up to the rebalance timeout`() {
        let it = GroupFixture { $0.initialRebalanceDelayMs = 3_000 }
        var tokens = [it.join(it.newMemberId(), rebalanceMs: 7_000)]
        for _ in 0..<2 {
            it.pass(2_900)
            tokens.append(it.join(it.newMemberId(), rebalanceMs: 7_000))
        }
        // Three times 3,000 would be 9,000: the last extension is cut to what 7,000 leaves.
        it.pass(6_999 - it.nowMs)
        #expect(tokens.allSatisfy { it.joins[$0] == nil })
        it.pass(1)
        #expect(it.group.state == .completingRebalance)
        #expect(tokens.allSatisfy { it.joins[$0]?.generationId == 1 })
    }

    @Test func `The initial delay ends on time when nobody else joins`() {
        let it = GroupFixture { $0.initialRebalanceDelayMs = 3_000 }
        let token = it.join(it.newMemberId())
        it.pass(2_999)
        #expect(it.joins[token] == nil)
        it.pass(1)
        #expect(it.joins[token]?.generationId == 1)
    }

    @Test func `The protocol that all support and most prefer is chosen`() {
        let it = GroupFixture()
        let preferences = [["range", "sticky"], ["sticky", "range", "mine"], ["sticky", "range"]]
        var token = GroupToken(0)
        for order in preferences {
            let protocols = Dictionary(uniqueKeysWithValues: order.map { ($0, $0) })
            token = it.join(it.newMemberId(protocols: protocols), protocols: protocols, order: order)
        }
        it.pass(0)
        #expect(it.joins[token]?.protocolName == "sticky")
    }

    @Test func `Between equally preferred protocols the oldest member decides`() {
        let it = GroupFixture()
        let first = it.join(version: 3, protocols: ["a": "", "b": ""], order: ["b", "a"])
        it.join(version: 3, protocols: ["a": "", "b": ""], order: ["a", "b"])
        it.pass(0)
        #expect(it.joins[first]?.protocolName == "b")
    }

    @Test(arguments: [
        ("consumer", [] as [String]), ("", ["range"]),
    ]) func `An empty group wants a type and a protocol`(type: String, names: [String]) {
        let it = GroupFixture()
        let token = it.join(type: type, protocols: Dictionary(uniqueKeysWithValues: names.map { ($0, "") }))
        #expect(it.joins[token]?.error == .inconsistentGroupProtocol)
    }

    @Test(arguments: [
        ("consumer", "sticky"), ("connect", "range"),
    ]) func `A member without a protocol in common is refused and disturbs nobody`(type: String, name: String) {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        let token = it.join(type: type, protocols: [name: ""])
        #expect(it.joins[token]?.error == .inconsistentGroupProtocol)
        #expect(it.group.state == .stable)
        #expect(it.heartbeat(ids[0]) == nil)
    }

    @Test func `An unknown member id is refused`() {
        let it = GroupFixture()
        _ = it.stabilize(1)
        #expect(it.joinAnswer(it.join("who")) == GroupJoinResponse(error: .unknownMemberId, memberId: "who"))
    }

    @Test func `A follower that joins a stable group unchanged gets the current generation`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let token = it.join(ids[1])
        #expect(it.joins[token]?.generationId == 1)
        #expect(it.joins[token]?.leaderId == ids[0])
        #expect(it.joins[token]?.members.isEmpty == true)
        #expect(it.group.state == .stable)
        #expect(it.syncAnswer(it.sync(ids[1]))?.assignment.text == "a1")
    }

    @Test func `A follower that changed its metadata starts a rebalance`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let token = it.join(ids[1], protocols: ["range": "other topics"])
        #expect(it.joins[token] == nil)
        #expect(it.group.state == .preparingRebalance)
    }

    @Test func `The leader starts a rebalance by joining, even unchanged`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        let token = it.join(ids[0])
        #expect(it.joins[token]?.generationId == 2)
        #expect(it.joins[token]?.members.count == 1)
    }

    @Test func `A member that missed its answer gets it again before the sync`() {
        let it = GroupFixture()
        let ids = (0..<2).map { _ in it.newMemberId() }
        for id in ids { it.join(id) }
        it.pass(0)
        let again = ids.map { it.join($0) }
        #expect(again.map { it.joins[$0]?.generationId } == [1, 1])
        #expect(it.joins[again[0]]?.members.count == 2)
        #expect(it.joins[again[1]]?.members.isEmpty == true)
        #expect(it.group.state == .completingRebalance)
    }

    @Test func `Changed metadata before the sync sends waiting members back to join`() {
        let it = GroupFixture()
        let ids = (0..<3).map { _ in it.newMemberId() }
        for id in ids { it.join(id) }
        it.pass(0)
        let parked = it.sync(ids[1])
        it.join(ids[2], protocols: ["range": "changed"])
        #expect(it.syncs[parked]?.error == .rebalanceInProgress)
        #expect(it.group.state == .preparingRebalance)
    }

    @Test func `A second join of the same member takes the place of the first, which is told to go on`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let first = it.join(ids[0])
        let second = it.join(ids[0])
        #expect(it.joins[first]?.error == .rebalanceInProgress)
        #expect(it.joins[second] == nil)
        it.join(ids[1])
        #expect(it.joins[second]?.generationId == 2)
    }

    @Test func `A member that does not join again in time is left behind`() {
        let it = GroupFixture()
        let ids = it.stabilize(3)
        let token = it.join(ids[0], rebalanceMs: 60_000)
        let follower = it.join(ids[1])
        for _ in 0..<59 {
            it.pass(1_000)
            #expect(it.heartbeat(ids[2]) == .rebalanceInProgress)
        }
        #expect(it.joins[token] == nil)
        it.pass(1_000)
        #expect(it.joins[token]?.members.map(\.memberId) == [ids[0], ids[1]])
        #expect(it.joins[follower]?.generationId == 2)
        #expect(it.heartbeat(ids[2]) == .unknownMemberId)
    }

    @Test func `The longest rebalance timeout of all members counts`() {
        let it = GroupFixture()
        let slow = it.join(version: 3, rebalanceMs: 5_000)
        it.join(version: 3, rebalanceMs: 1_000)
        it.pass(0)
        it.settle(["m1", "m2"])
        it.join("m2", protocols: ["range": "changed"], rebalanceMs: 1_000)
        it.pass(4_999)
        #expect(it.group.state == .preparingRebalance)
        it.pass(1)
        #expect(it.group.memberCount == 1)
        #expect(it.joins[slow]?.generationId == 1)
    }

    @Test func `A leader that does not return is replaced by the oldest member that did`() {
        let it = GroupFixture()
        let ids = it.stabilize(3)
        let tokens = [it.join(ids[2], protocols: ["range": "x"]), it.join(ids[1])]
        it.pass(60_000)
        #expect(tokens.map { it.joins[$0]?.leaderId } == [ids[1], ids[1]])
        #expect(it.joins[tokens[1]]?.members.map(\.memberId) == [ids[1], ids[2]])
    }

    @Test func `An id that is not used within the session timeout is forgotten`() {
        let it = GroupFixture()
        let id = it.newMemberId()
        it.pass(9_999)
        #expect(!it.group.isVacant)
        it.pass(1)
        #expect(it.group.isVacant)
        #expect(it.joinAnswer(it.join(id))?.error == .unknownMemberId)
    }

    @Test func `A rebalance waits for a member that has only its id, until that is forgotten`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        _ = it.newMemberId()
        let token = it.join(ids[0])
        #expect(it.joins[token] == nil)
        it.pass(10_000)
        #expect(it.joins[token]?.generationId == 2)
    }

    @Test func `A new member whose join waits for minutes is given up`() {
        let it = GroupFixture()
        let ids = it.stabilize(1)
        let token = it.join(it.newMemberId(), rebalanceMs: 1_800_000)
        for _ in 0..<60 {
            it.pass(5_000)
            _ = it.heartbeat(ids[0])
        }
        #expect(it.joins[token] == GroupJoinResponse(error: .unknownMemberId, memberId: ""))
    }

    @Test func `A full group refuses a newcomer and keeps its members`() {
        let it = GroupFixture { $0.membersMax = 2 }
        let ids = it.stabilize(2)
        let token = it.join()
        #expect(it.joins[token] == GroupJoinResponse(error: .groupMaxSizeReached, memberId: ""))
        #expect(it.group.state == .stable)
        #expect(it.joinAnswer(it.join(ids[1]))?.error == nil)
    }

    @Test func `When a full group joins again the last to come is the one to go`() {
        let it = GroupFixture { $0.membersMax = 2 }
        let ids = (0..<3).map { _ in it.newMemberIdOverBound() }
        it.join(ids[0])
        it.join(ids[1])
        #expect(it.joinAnswer(it.join(ids[2]))?.error == .groupMaxSizeReached)
        it.pass(0)
        #expect(it.group.memberCount == 2)
    }

    @Test func `Ids are handed out to as many as may be members`() {
        let it = GroupFixture { $0.membersMax = 2 }
        _ = (it.newMemberId(), it.newMemberId())
        #expect(it.joinAnswer(it.join())?.error == .groupMaxSizeReached)
    }

    @Test func `A protocol named twice counts once`() {
        let it = GroupFixture()
        let token = it.join(version: 3, protocols: ["range": "x"], order: ["range", "range"])
        it.pass(0)
        #expect(it.joins[token]?.protocolName == "range")
        #expect(it.group.selectProtocol() == "range")
    }

    @Test func `A closed group answers what is parked and takes nothing more`() {
        let it = GroupFixture()
        let ids = it.stabilize(2)
        let parked = it.join(ids[0])
        it.execute(it.group.close())
        #expect(it.joins[parked]?.error == .coordinatorNotAvailable)
        #expect(it.joinAnswer(it.join())?.error == .coordinatorNotAvailable)
        #expect(it.syncAnswer(it.sync(ids[1]))?.error == .coordinatorNotAvailable)
        #expect(it.heartbeat(ids[1]) == .coordinatorNotAvailable)
        #expect(it.group.nextDeadlineMs == .max)
    }
}

extension GroupFixture {
    /// An id obtained while there was still room for it (the bound may be lowered at any time).
    fileprivate func newMemberIdOverBound() -> String {
        let id = "late\(group.pendingMembers.count)"
        group.addPending(id, untilMs: nowMs + 10_000)
        return id
    }
}
