// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: groups are listed, described and deleted.

import NIOCore
import Synchronization
import Testing

@testable import Engine

@Suite struct GroupCoordinatorAdministrationTests {
    @Test(arguments: [
        ([], [], ["empty", "simple", "stable"]),
        (["Stable"], [], ["stable"]),
        ([" eMPTY "], [], ["empty", "simple"]),
        (["Stable", "Dead", "nonsense"], [], ["stable"]),
        (["nonsense"], [], []),
        ([], ["classic"], ["empty", "simple", "stable"]),
        ([], ["Classic"], ["empty", "simple", "stable"]),
        ([], ["consumer"], []),
        (["stable"], ["CLASSIC"], ["stable"]),
    ] as [([String], [String], [String])])
    func `Groups are listed by state and type`(states: [String], types: [String], expected: [String]) throws {
        let it = CoordinatorFixture()
        _ = it.stableMember(group: "stable")
        let id = it.stableMember(group: "empty")
        _ = try it.leave(groupId: "empty", [.init(memberId: id)])
        it.commit(1, group: "simple")
        #expect(try it.groups.list(states: states, types: types).map(\.groupId) == expected)
    }

    @Test func `A listing has type, protocol type and state`() throws {
        let it = CoordinatorFixture()
        _ = it.stableMember(group: "a")
        it.commit(1, group: "b")
        #expect(
            try it.groups.list() == [
                GroupListing(groupId: "a", protocolType: "consumer", state: "Stable", type: .classic),
                GroupListing(groupId: "b", protocolType: "", state: "Empty", type: .classic),
            ])
        #expect(try it.groups.list()[0].type == .classic)
    }

    @Test func `A stable group is described with its members' metadata and assignments`() throws {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        let described = try it.groups.describe(["g", "none"])
        let member = GroupDescription.Member(
            memberId: id, groupInstanceId: nil, clientId: "c", clientHost: "/127.0.0.1",
            metadata: ByteBuffer(string: "m"), assignment: ByteBuffer(string: "a"))
        #expect(
            described[0]
                == GroupDescription(
                    groupId: "g", state: .stable, protocolType: "consumer", protocolName: "range", members: [member]))
        #expect(described[1] == .notFound("none"))
        #expect(described[1].state == .dead)
    }

    @Test func `A rebalancing group shows neither protocol nor metadata`() throws {
        let it = CoordinatorFixture()
        _ = it.stableMember()
        _ = it.join(it.request(version: 3))
        let described = try it.groups.describe(["g"])[0]
        #expect(described.state == .preparingRebalance)
        #expect(described.protocolName == "")
        #expect(described.members.count == 2)
        #expect(described.members.allSatisfy { $0.metadata.readableBytes == 0 })
    }

    @Test func `Empty groups are deleted with their offsets, others are not`() throws {
        let it = CoordinatorFixture()
        _ = it.stableMember(group: "busy")
        it.commit(1, group: "a")
        let id = it.stableMember(group: "b")
        _ = try it.leave(groupId: "b", [.init(memberId: id)])
        let answer = it.delete(["busy", "a", "none", "b"])
        #expect(answer.value == nil)
        it.run()
        #expect(answer.value == [.nonEmptyGroup, nil, .groupIdNotFound, nil])
        #expect(try it.groups.list().map(\.groupId) == ["busy"])
        let after = CoordinatorFixture(store: it.store)
        #expect(try after.groups.load().offsets == 0)
    }

    @Test func `A deletion that the log refuses deletes nothing`() throws {
        let it = CoordinatorFixture()
        it.commit(1)
        it.store.state.withLock { $0.failure = .coordinatorNotAvailable }
        let answer = it.delete(["g", "none"])
        it.run()
        #expect(answer.value == [.coordinatorNotAvailable, .groupIdNotFound])
        #expect(it.committed() == 1)
    }

    @Test func `A commit in flight does not outlive the deletion of its group`() throws {
        let it = CoordinatorFixture()
        it.commit(1)
        it.store.state.withLock { $0.holds = true }
        let commit = it.commit([.init(topic: "late", partition: 0, offset: 2)])
        it.run()
        let deletion = it.delete(["g"])
        it.run()
        it.store.complete()
        it.store.complete()
        it.run()
        #expect(commit.value == .success([nil]))
        #expect(deletion.value == [nil])
        #expect(it.groups.groupCount == 0)
        let after = CoordinatorFixture(store: it.store)
        #expect(try after.groups.load().offsets == 0)
    }

    @Test func `A group that gets a member while it is deleted loses its offsets and lives on`() throws {
        let it = CoordinatorFixture()
        it.commit(1)
        it.store.state.withLock { $0.holds = true }
        _ = it.delete(["g"])
        it.run()
        let joined = it.join(it.request(version: 3))
        it.run()
        it.store.complete()
        it.run()
        let id = try #require(joined.value?.memberId)
        #expect(it.committed() == nil)
        #expect(it.heartbeat(id, generation: 1) == nil)
    }

    @Test func `Groups of which nothing is left are forgotten`() throws {
        let it = CoordinatorFixture()
        it.groups.start()
        let id = it.stableMember()
        _ = try it.leave(groupId: "g", [.init(memberId: id)])
        #expect(it.groups.groupCount == 1)
        it.pass(ms: 600_000)
        #expect(it.groups.groupCount == 0)
    }

    @Test(arguments: GroupError.allCases) func `Every error says what is wrong and what to do`(error: GroupError) {
        #expect(error.description.count > 20)
        #expect(error.description.contains(";") || error.description.contains("join again"))
    }
}
