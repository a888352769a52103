// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: groups of both kinds survive a restart, answers wait for the log, and a log that refuses.

import Bytes
import NIOCore
import Synchronization
import Testing

@testable import Engine

@Suite struct GroupDurabilityTests {
    private typealias It = CoordinatorFixture

    /// A coordinator that starts from what the other's log has.
    private func restarted(_ it: CoordinatorFixture) throws -> CoordinatorFixture {
        let after = CoordinatorFixture(store: MemoryOffsetStore(it.store.state.withLock { $0.records }))
        after.topic("t", 4)
        _ = try after.groups.load()
        after.run()
        return after
    }

    @Test func `A classic group is what it was after a restart`() throws {
        let it = It()
        let id = it.stableMember()
        let before = try it.groups.describe(["g"])
        let after = try restarted(it)
        #expect(try after.groups.describe(["g"]) == before)
        #expect(after.heartbeat(id, generation: 1) == nil)
        let synced = after.sync(id, generation: 1)
        after.run()
        #expect(synced.value?.assignment.text == "a")
        // Its session began anew.
        after.pass(ms: 9_999)
        #expect(after.state() == .stable)
        after.pass(ms: 2)
        after.run()
        #expect(after.state() == .empty)
        #expect(try restarted(after).state() == .empty)
    }

    @Test func `A sync is answered when the group is durable, and with an error if it cannot be`() throws {
        let it = It()
        let joined = it.join(it.request(version: 3))
        it.run()
        let id = try #require(joined.value?.memberId)
        it.store.state.withLock { $0.holds = true }
        let synced = it.sync(id, generation: 1, assignments: [id: "a"])
        let again = it.sync(id, generation: 1)
        it.run()
        #expect(synced.value == nil)
        #expect(again.value == nil)
        it.store.state.withLock { $0.failure = .coordinatorNotAvailable }
        while it.store.state.withLock({ !$0.pending.isEmpty }) {
            it.store.complete()
            it.run()
        }
        #expect(synced.value?.error == .coordinatorNotAvailable)
        #expect(again.value?.error == .coordinatorNotAvailable)
        // The next answer is written for.
        it.store.state.withLock {
            $0.failure = nil
            $0.holds = false
        }
        let third = it.sync(id, generation: 1)
        it.run()
        #expect(third.value?.assignment.text == "a")
        #expect(try restarted(it).state() == .stable)
    }

    @Test func `A consumer group is what it was after a restart`() throws {
        let it = It()
        it.topic("t", 4)
        _ = try it.beaten(It.joining("a", instance: "i"))
        _ = try it.beaten(It.joining("b", topics: nil, pattern: "t+"))
        _ = try it.beaten(It.staying("a", epoch: 1, owned: [0, 1, 2, 3], instance: "i"))
        it.commit(7)
        let before = try it.groups.describeConsumerGroups(["g"])
        let after = try restarted(it)
        #expect(try after.groups.describeConsumerGroups(["g"]) == before)
        let target = try #require(before[0]?.members[0].target.first?.partitions)
        let next = try after.beaten(It.staying("a", epoch: 1, owned: target, instance: "i"))
        #expect(next.memberEpoch == 2)
        #expect(try after.beaten(It.staying("b", epoch: 2)).assignment?[0].partitions.count == 2)
        after.pass(ms: 45_001)
        after.run()
        #expect(try after.groups.list()[0].state == "Empty")
    }

    @Test func `A heartbeat that changes something is answered when that is durable`() throws {
        let it = It()
        it.topic("t", 1)
        it.store.state.withLock { $0.holds = true }
        let joined = it.beat(It.joining("a"))
        let retried = it.beat(It.joining("a"))
        it.run()
        #expect(joined.value == nil && retried.value == nil)
        it.store.state.withLock { $0.failure = .coordinatorNotAvailable }
        while it.store.state.withLock({ !$0.pending.isEmpty }) {
            it.store.complete()
            it.run()
        }
        #expect(throws: GroupRefusal.self) { try joined.value?.get() }
        it.store.state.withLock {
            $0.failure = nil
            $0.holds = false
        }
        // What could not be written is written with whatever comes next.
        #expect(try it.beaten(It.joining("a")).memberEpoch == 1)
        #expect(try restarted(it).groups.describeConsumerGroups(["g"])[0]?.members.map(\.memberId) == ["a"])
    }

    @Test func `A heartbeat that changes nothing writes nothing`() throws {
        let it = It()
        it.topic("t", 1)
        _ = try it.beaten(It.joining("a"))
        let batches = it.store.state.withLock { $0.batches.count }
        let answer = it.beat(It.staying("a", epoch: 1))
        #expect(answer.value != nil, "nothing to wait for")
        #expect(it.store.state.withLock { $0.batches.count } == batches)
    }

    @Test func `Groups that are deleted or forgotten leave nothing in the log`() throws {
        let it = It()
        it.topic("t", 1)
        _ = try it.beaten(It.joining("a"))
        _ = try it.beaten(.init(groupId: "g", memberId: "a", memberEpoch: -1))
        _ = it.delete(["g"])
        let id = it.stableMember(group: "h")
        _ = try it.leave(groupId: "h", [.init(memberId: id)])
        it.groups.cleanUp()
        it.run()
        #expect(it.groups.groupCount == 0)
        var live: [[UInt8]: [UInt8]] = [:]
        for (key, value) in it.store.state.withLock({ $0.records }) { live[key] = value }
        #expect(live.isEmpty)
    }

    @Test func `The whole state restores the groups`() throws {
        let it = It()
        it.topic("t", 4)
        _ = try it.beaten(It.joining("a", topics: nil, pattern: "t"))
        _ = try it.beaten(It.joining("b"))
        _ = it.stableMember(group: "h")
        let after = CoordinatorFixture(store: MemoryOffsetStore(it.groups.durableState()))
        after.topic("t", 4)
        #expect(try after.groups.load().malformed == 0)
        #expect(try after.groups.describeConsumerGroups(["g"]) == it.groups.describeConsumerGroups(["g"]))
        #expect(try after.groups.describe(["h"]) == it.groups.describe(["h"]))
    }

    @Test(arguments: 0..<40 as Range<UInt64>) func `Damaged records are left out, and what is left is a sound group`(
        seed: UInt64
    ) throws {
        let it = It()
        it.topic("t", 4)
        _ = try it.beaten(It.joining("a", topics: nil, pattern: "t"))
        _ = try it.beaten(It.joining("b", instance: "i"))
        _ = try it.beaten(It.staying("a", epoch: 1, owned: [0, 1]))
        _ = it.stableMember(group: "h")
        var generator = SeededGenerator(state: seed)
        var records = it.store.state.withLock { $0.records }
        for _ in 0..<3 {
            let index = Int.random(in: 0..<records.count, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: records.remove(at: index)
            case 1: records[index].value = records[index].value.map { Array($0.prefix($0.count / 2)) }
            default:
                guard var value = records[index].value, !value.isEmpty else { continue }
                value[Int.random(in: 0..<value.count, using: &generator)] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                records[index].value = value
            }
        }
        let after = CoordinatorFixture(store: MemoryOffsetStore(records))
        after.topic("t", 4)
        _ = try after.groups.load()
        after.run()
        _ = try? after.beaten(It.joining("z"))
        _ = try? after.beaten(It.staying("a", epoch: 1, owned: []))
        after.pass(ms: 50_000)
        after.run()
        for group in try after.groups.describeConsumerGroups(["g"]) {
            let held = (group?.members ?? []).flatMap(\.assigned).flatMap { topic in topic.partitions.map { "\(topic.topic)\($0)" } }
            #expect(Set(held).count == held.count)
        }
    }
}
