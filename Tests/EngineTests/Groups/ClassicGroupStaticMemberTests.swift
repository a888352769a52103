// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: static members (KIP-345, KIP-814): they keep their place through a restart.

import NIOCore
import Testing

@testable import Engine

@Suite struct ClassicGroupStaticMemberTests {
    /// A stable group of a leader "m1" and a follower "m2" with instance ids "i0" and "i1".
    private func stable(_ it: GroupFixture, rebalanceMs: Int32 = 60_000) {
        it.join(instance: "i0", rebalanceMs: rebalanceMs)
        it.join(instance: "i1", rebalanceMs: rebalanceMs)
        it.pass(0)
        it.sync("m2", instance: "i1")
        it.sync("m1", instance: "i0", assignments: ["m1": "a0", "m2": "a1"])
    }

    @Test func `A restarted follower gets a new id and its old assignment, without a rebalance`() throws {
        let it = GroupFixture()
        stable(it)
        let answer = try #require(it.joinAnswer(it.join(instance: "i1")))
        #expect(answer.error == nil)
        #expect(answer.generationId == 1)
        #expect(answer.memberId != "m2")
        #expect(answer.leaderId == "m1")
        #expect(!answer.skipAssignment)
        #expect(answer.members.isEmpty)
        #expect(it.group.state == .stable)
        #expect(it.syncAnswer(it.sync(answer.memberId, instance: "i1"))?.assignment.text == "a1")
        #expect(it.heartbeat("m1", instance: "i0") == nil)
    }

    @Test func `Since v9 a restarted leader leads on but does not assign`() throws {
        let it = GroupFixture()
        stable(it)
        let answer = try #require(it.joinAnswer(it.join(version: 9, instance: "i0")))
        #expect(answer.leaderId == answer.memberId)
        #expect(answer.skipAssignment)
        #expect(answer.members.map(\.groupInstanceId) == ["i0", "i1"])
        #expect(answer.members.first?.memberId == answer.memberId)
        #expect(it.syncAnswer(it.sync(answer.memberId, instance: "i0"))?.assignment.text == "a0")
    }

    @Test(arguments: [5, 8]) func `Before v9 a restarted leader is told its old id, so that it does not assign`(
        version: Int
    ) throws {
        let it = GroupFixture()
        stable(it)
        let answer = try #require(it.joinAnswer(it.join(version: version, instance: "i0")))
        #expect(answer.leaderId == "m1")
        #expect(answer.memberId != "m1")
        #expect(answer.members.isEmpty)
        #expect(!answer.skipAssignment)
        #expect(it.group.leaderId == answer.memberId)
    }

    @Test func `The process that had the instance id before is fenced`() {
        let it = GroupFixture()
        stable(it)
        it.join(instance: "i1")
        #expect(it.heartbeat("m2", instance: "i1") == .fencedInstanceId)
        #expect(it.syncAnswer(it.sync("m2", instance: "i1"))?.error == .fencedInstanceId)
        #expect(it.joinAnswer(it.join("m2", instance: "i1"))?.error == .fencedInstanceId)
        #expect(it.commit("m2", instance: "i1", generation: 1) == .fencedInstanceId)
        #expect(it.leave(.init(memberId: "m2", groupInstanceId: "i1")) == [.fencedInstanceId])
        #expect(it.heartbeat("m2") == .unknownMemberId)
    }

    @Test func `A parked join and a parked sync of the old process are fenced`() {
        let it = GroupFixture()
        stable(it)
        let join = it.join("m1", instance: "i0")
        it.join(instance: "i0")
        #expect(it.joins[join]?.error == .fencedInstanceId)
        #expect(it.joins[join]?.memberId == "m1")

        let other = GroupFixture()
        other.join(instance: "i0")
        other.join(instance: "i1")
        other.pass(0)
        let sync = other.sync("m2", instance: "i1")
        other.join(instance: "i1")
        #expect(other.syncs[sync]?.error == .fencedInstanceId)
        #expect(other.group.state == .preparingRebalance)
    }

    @Test func `A restart with changed protocols rebalances if another one would be chosen`() {
        let it = GroupFixture()
        for instance in ["i0", "i1"] {
            it.join(instance: instance, protocols: ["a": "", "b": ""], order: ["a", "b"])
        }
        it.pass(0)
        it.settle(["m1", "m2"])
        let token = it.join(instance: "i1", protocols: ["b": ""])
        #expect(it.joins[token] == nil)
        #expect(it.group.state == .preparingRebalance)
        it.join("m1", instance: "i0", protocols: ["a": "", "b": ""], order: ["a", "b"])
        #expect(it.joins[token]?.protocolName == "b")
    }

    @Test func `A static member with its id rejoins like any other`() {
        let it = GroupFixture()
        stable(it)
        let token = it.join("m2", instance: "i1")
        #expect(it.joins[token]?.generationId == 1)
        #expect(it.group.state == .stable)
    }

    @Test func `A static member that is away keeps its place in a rebalance until its session ends`() {
        let it = GroupFixture()
        stable(it, rebalanceMs: 5_000)
        let token = it.join("m1", instance: "i0", sessionMs: 1_000_000, rebalanceMs: 5_000)
        it.pass(5_000)
        #expect(it.joins[token]?.members.map(\.memberId) == ["m1", "m2"])
        it.sync("m1", instance: "i0", assignments: ["m1": "a0", "m2": "a1"])
        #expect(it.group.state == .stable)
        it.pass(4_999)
        #expect(it.group.memberCount == 2)
        // It neither synced in time nor was heard of.
        it.pass(1)
        #expect(it.group.memberCount == 1)
    }

    @Test func `When only absent static members are left the group waits for one, then empties`() {
        let it = GroupFixture()
        stable(it)
        it.join(instance: "i2", rebalanceMs: 100)
        it.leave(.init(memberId: "", groupInstanceId: "i2"))
        it.pass(9_000)
        #expect(it.group.memberCount == 2)
        #expect(it.group.state == .preparingRebalance)
        it.pass(1_000)
        #expect(it.group.memberCount == 0)
        #expect(it.group.state == .empty)
    }

    @Test func `Absent static members without a rebalance timeout do not keep the group spinning`() {
        let it = GroupFixture()
        it.join(instance: "i0", rebalanceMs: 0)
        it.join(instance: "i1", rebalanceMs: 0)
        it.pass(0)
        it.group.syncDeadlineMs = nil
        it.leave(.init(memberId: "m1"))
        var wakeUps = 0
        while it.group.state != .empty && wakeUps < 1_000 {
            it.nowMs = it.group.nextDeadlineMs
            it.execute(it.group.advance(nowMs: it.nowMs))
            wakeUps += 1
        }
        #expect(it.group.state == .empty)
        #expect(wakeUps <= 101)
    }

    @Test func `An id that was handed out is no static member's`() {
        let it = GroupFixture()
        let pending = it.newMemberId()
        #expect(it.joinAnswer(it.join(pending, instance: "i"))?.error == .unknownMemberId)
    }
}
