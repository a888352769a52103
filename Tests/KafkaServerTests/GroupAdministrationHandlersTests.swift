// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: ListGroups, DescribeGroups and DeleteGroups through frames, in every version.

import Engine
import KafkaWire
import NIOCore
import Testing

@testable import KafkaServer

@Suite struct GroupAdministrationHandlersTests {
    // MARK: ListGroups

    @Test(arguments: 0...5 as ClosedRange<Int16>) func `Groups are listed in every version`(version: Int16) throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try broker.stableMember(client, group: "stable")
        _ = try client.call(GroupRequests.commit(group: "offsets"), version: 9)
        let all = try client.call(ListGroupsRequest(), version: version)
        #expect(all.errorCode == .none)
        #expect(all.groups.map(\.groupId) == ["offsets", "stable"])
        #expect(all.groups.map(\.protocolType) == ["", "consumer"])
        #expect(all.groups.map(\.groupState) == (version >= 4 ? ["Empty", "Stable"] : ["", ""]))
        #expect(all.groups.map(\.groupType) == (version >= 5 ? ["classic", "classic"] : ["", ""]))
        guard version >= 4 else { return }
        var filtered = ListGroupsRequest()
        filtered.statesFilter = ["stable"]
        #expect(try client.call(filtered, version: version).groups.map(\.groupId) == ["stable"])
        filtered.statesFilter = []
        filtered.typesFilter = ["consumer"]
        #expect(try client.call(filtered, version: version).groups.count == (version >= 5 ? 0 : 2))
    }

    // MARK: DescribeGroups

    @Test(arguments: 0...6 as ClosedRange<Int16>) func `Groups are described in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect(clientId: "c")
        let joined = try client.call(GroupRequests.join(instance: "i"), version: 9)
        var request = DescribeGroupsRequest()
        request.groups = ["g", "none", "g"]
        request.includeAuthorizedOperations = true
        let early = try client.call(request, version: version)
        #expect(early.groups.map(\.groupId) == ["g", "none"])
        #expect(early.groups[0].groupState == "CompletingRebalance")
        #expect(early.groups[0].protocolData == "")
        #expect(early.groups[0].members.map(\.memberMetadata) == [ByteBuffer()])
        var sync = GroupRequests.sync(joined.memberId, assignments: [joined.memberId: "a"])
        sync.groupInstanceId = "i"
        _ = try client.call(sync, version: 5)
        let groups = try client.call(request, version: version).groups
        #expect(groups[0].errorCode == .none)
        #expect(groups[0].groupState == "Stable")
        #expect(groups[0].protocolType == "consumer")
        #expect(groups[0].protocolData == "range")
        // KIP-430: read, delete, describe.
        #expect(groups[0].authorizedOperations == (version >= 3 ? 0b1101_0100_1000 : .min))
        let member = try #require(groups[0].members.first)
        #expect(member.memberId == joined.memberId)
        #expect(member.groupInstanceId == (version >= 4 ? "i" : nil))
        #expect(member.clientId == "c")
        #expect(member.clientHost == "/127.0.0.1")
        #expect(member.memberMetadata == ByteBuffer(string: "m"))
        #expect(member.memberAssignment == ByteBuffer(string: "a"))
    }

    @Test(arguments: 0...6 as ClosedRange<Int16>) func `A group that is not there is dead, and an error since version 6`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        var request = DescribeGroupsRequest()
        request.groups = ["none"]
        request.includeAuthorizedOperations = true
        let group = try #require(try broker.connect().call(request, version: version).groups.first)
        #expect(group.groupState == "Dead")
        #expect(group.members.isEmpty)
        #expect(group.errorCode == (version >= 6 ? .groupIdNotFound : .none))
        #expect(group.errorMessage == (version >= 6 ? "Group none not found." : nil))
    }

    @Test func `Too many groups are refused`() throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let ids = (0...Limits.groupsPerRequest).map { "g\($0)" }
        var describe = DescribeGroupsRequest()
        describe.groups = ids
        let described = try client.call(describe, version: 6)
        #expect(described.groups.count == ids.count)
        #expect(described.groups.allSatisfy { $0.errorCode == .invalidRequest })
        var delete = DeleteGroupsRequest()
        delete.groupsNames = ids
        let deleted = try client.call(delete, version: 2)
        #expect(deleted.results.count == ids.count)
        #expect(deleted.results.allSatisfy { $0.errorCode == .invalidRequest })
    }

    // MARK: DeleteGroups

    @Test(arguments: 0...2 as ClosedRange<Int16>) func `Groups without members are deleted in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        try broker.createTopic("t")
        let client = try broker.connect()
        _ = try broker.stableMember(client, group: "busy")
        _ = try client.call(GroupRequests.commit(group: "idle"), version: 9)
        var request = DeleteGroupsRequest()
        request.groupsNames = ["busy", "idle", "none", "idle"]
        let answer = try client.call(request, version: version)
        #expect(answer.results.map(\.groupId) == ["busy", "idle", "none"])
        #expect(answer.results.map(\.errorCode) == [.nonEmptyGroup, .none, .groupIdNotFound])
        #expect(try client.call(ListGroupsRequest(), version: 5).groups.map(\.groupId) == ["busy"])
    }

    @Test func `Nothing to delete is answered with nothing`() throws {
        let broker = try GroupHandlersFixture()
        #expect(try broker.connect().call(DeleteGroupsRequest(), version: 2).results.isEmpty)
    }
}
