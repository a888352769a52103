// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: JoinGroup, SyncGroup, Heartbeat, LeaveGroup and FindCoordinator through frames, in every
// version.

import Engine
import KafkaWire
import NIOCore
import Testing

@testable import KafkaServer

@Suite struct GroupMembershipHandlersTests {
    // MARK: JoinGroup

    @Test(arguments: 0...9 as ClosedRange<Int16>) func `A member joins in every version`(version: Int16) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect(clientId: "c")
        var memberId = ""
        if version >= 4 {
            let first = try client.call(GroupRequests.join(), version: version)
            #expect(first.errorCode == .memberIdRequired)
            #expect(first.generationId == -1)
            #expect(first.members.isEmpty)
            #expect(first.protocolName == (version >= 7 ? nil : ""))
            memberId = first.memberId
            #expect(memberId.hasPrefix("c-"))
        }
        let joined = try client.call(GroupRequests.join(memberId), version: version)
        #expect(joined.errorCode == .none)
        #expect(joined.generationId == 1)
        #expect(joined.leader == joined.memberId)
        #expect(joined.protocolName == "range")
        #expect(joined.protocolType == (version >= 7 ? "consumer" : nil))
        #expect(joined.members.map(\.memberId) == [joined.memberId])
        #expect(joined.members.map(\.metadata) == [ByteBuffer(string: "m")])
        #expect(!joined.skipAssignment)
    }

    @Test(arguments: 5...9 as ClosedRange<Int16>) func `A static leader that restarts keeps its place in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let first = try client.call(GroupRequests.join(instance: "i"), version: version)
        #expect(first.members.map(\.groupInstanceId) == ["i"])
        var sync = GroupRequests.sync(first.memberId, assignments: [first.memberId: "a"])
        sync.groupInstanceId = "i"
        #expect(try client.call(sync, version: 5).errorCode == .none)
        let again = try client.call(GroupRequests.join(instance: "i"), version: version)
        #expect(again.errorCode == .none)
        #expect(again.generationId == 1)
        #expect(again.memberId != first.memberId)
        #expect(again.leader == (version >= 9 ? again.memberId : first.memberId))
        #expect(again.skipAssignment == (version >= 9))
        #expect(again.members.count == (version >= 9 ? 1 : 0))
        let old = GroupRequests.join(first.memberId, instance: "i")
        #expect(try client.call(old, version: version).errorCode == .fencedInstanceId)
    }

    @Test func `Version 0 takes the session timeout for the rebalance timeout`() throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let other = try broker.connect()
        let first = try client.call(GroupRequests.join(sessionMs: 6_000), version: 0)
        _ = try client.call(
            GroupRequests.sync(first.memberId, assignments: [first.memberId: "a"]), version: 0)
        let parked = try other.send(GroupRequests.join(sessionMs: 6_000), version: 0)
        broker.pass(ms: 5_999)
        #expect(try other.answer(to: parked) == nil)
        broker.pass(ms: 1)
        #expect(try other.answer(to: parked)?.generationId == 2)
    }

    private static let joinErrors: [(String, KafkaErrorCode, @Sendable (inout JoinGroupRequest) -> Void)] = [
        ("empty group id", .invalidGroupId, { $0.groupId = "" }),
        ("short session", .invalidSessionTimeout, { $0.sessionTimeoutMs = 5_999 }),
        ("long session", .invalidSessionTimeout, { $0.sessionTimeoutMs = 1_800_001 }),
        ("unknown member", .unknownMemberId, { $0.memberId = "who" }),
        ("unknown member of no group", .unknownMemberId, { ($0.memberId, $0.groupId) = ("who", "none") }),
        ("no protocol", .inconsistentGroupProtocol, { $0.protocols = [] }),
        ("other type", .inconsistentGroupProtocol, { $0.protocolType = "connect" }),
        ("other protocol", .inconsistentGroupProtocol, { $0.protocols[0].name = "sticky" }),
        (
            "too large", .groupMaxSizeReached,
            { $0.protocols[0].metadata = ByteBuffer(repeating: 0, count: 1 << 20) }
        ),
    ]

    @Test(arguments: 0...9 as ClosedRange<Int16>) func `A join that cannot be is refused in every version`(
        version: Int16
    ) throws {
        for (name, code, change) in Self.joinErrors {
            let broker = try GroupHandlersFixture()
            let client = try broker.connect()
            _ = try broker.stableMember(client)
            var request = GroupRequests.join()
            change(&request)
            let answer = try client.call(request, version: version)
            #expect(answer.errorCode == code, "\(name)")
            #expect(answer.memberId == request.memberId)
            #expect(answer.generationId == -1)
            #expect(answer.leader == "")
            #expect(answer.members.isEmpty)
        }
    }

    @Test func `A full group refuses, without a member id`() throws {
        let broker = try GroupHandlersFixture { $0.membersMax = 1 }
        let client = try broker.connect()
        _ = try broker.stableMember(client)
        let answer = try client.call(GroupRequests.join(), version: 9)
        #expect(answer.errorCode == .groupMaxSizeReached)
        #expect(answer.memberId == "")
    }

    @Test func `Requests behind a parked join are answered after it`() throws {
        let broker = try GroupHandlersFixture()
        let first = try broker.connect()
        let memberId = try broker.stableMember(first)
        let second = try broker.connect()
        let parked = try second.send(GroupRequests.join(), version: 3)
        let behind = try second.send(GroupRequests.heartbeat("who"), version: 3)
        #expect(try second.answer(to: parked) == nil)
        #expect(try first.call(GroupRequests.heartbeat(memberId), version: 3).errorCode == .rebalanceInProgress)
        #expect(try first.call(GroupRequests.join(memberId), version: 3).members.count == 2)
        #expect(try second.answer(to: parked)?.generationId == 2)
        #expect(try second.answer(to: behind)?.errorCode == .unknownMemberId)
    }

    // MARK: SyncGroup

    @Test(arguments: 0...5 as ClosedRange<Int16>) func `Leader and follower sync in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture { $0.initialRebalanceDelayMs = 10 }
        let clients = [try broker.connect(), try broker.connect()]
        let joins = try clients.map { try $0.send(GroupRequests.join(), version: 3) }
        broker.pass(ms: 20)
        let ids = try zip(clients, joins).map { try #require(try $0.answer(to: $1)).memberId }
        let parked = try clients[1].send(GroupRequests.sync(ids[1]), version: version)
        #expect(try clients[1].answer(to: parked) == nil)
        let assignments = [ids[0]: "leader's", ids[1]: "follower's"]
        let leader = try clients[0].call(GroupRequests.sync(ids[0], assignments: assignments), version: version)
        #expect(leader.errorCode == .none)
        #expect(leader.assignment == ByteBuffer(string: "leader's"))
        let follower = try #require(try clients[1].answer(to: parked))
        #expect(follower.assignment == ByteBuffer(string: "follower's"))
        #expect(follower.protocolType == (version >= 5 ? "consumer" : nil))
        #expect(follower.protocolName == (version >= 5 ? "range" : nil))
    }

    private static let syncErrors: [(String, KafkaErrorCode, @Sendable (inout SyncGroupRequest) -> Void)] = [
        ("empty group id", .invalidGroupId, { $0.groupId = "" }),
        ("no group", .unknownMemberId, { $0.groupId = "none" }),
        ("unknown member", .unknownMemberId, { $0.memberId = "who" }),
        ("old generation", .illegalGeneration, { $0.generationId = 0 }),
        ("too large", .unknownServerError, { $0.assignments[0].assignment = ByteBuffer(repeating: 0, count: 9 << 20) }),
    ]

    @Test(arguments: 0...5 as ClosedRange<Int16>) func `A sync that cannot be is refused in every version`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let memberId = try broker.stableMember(client)
        for (name, code, change) in Self.syncErrors {
            var request = GroupRequests.sync(memberId, assignments: [memberId: "a"])
            change(&request)
            let answer = try client.call(request, version: version)
            #expect(answer.errorCode == code, "\(name)")
            #expect(answer.assignment.readableBytes == 0)
        }
    }

    @Test(arguments: [
        (nil, "range"), ("consumer", nil), ("connect", "range"), ("consumer", "sticky"),
    ] as [(String?, String?)]) func `Version 5 wants the group's protocol`(type: String?, name: String?) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        var request = GroupRequests.sync(try broker.stableMember(client))
        request.protocolType = type
        request.protocolName = name
        #expect(try client.call(request, version: 5).errorCode == .inconsistentGroupProtocol)
        #expect(try client.call(request, version: 4).errorCode == .none)
    }

    @Test(arguments: 3...5 as ClosedRange<Int16>) func `A sync with another's instance id is fenced`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        _ = try client.call(GroupRequests.join(instance: "i"), version: 9)
        var request = GroupRequests.sync("other")
        request.groupInstanceId = "i"
        #expect(try client.call(request, version: version).errorCode == .fencedInstanceId)
    }

    // MARK: Heartbeat

    @Test(arguments: 0...4 as ClosedRange<Int16>) func `Heartbeats in every version`(version: Int16) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let memberId = try broker.stableMember(client)
        func beat(_ request: HeartbeatRequest) throws -> KafkaErrorCode {
            try client.call(request, version: version).errorCode
        }
        #expect(try beat(GroupRequests.heartbeat(memberId)) == .none)
        #expect(try beat(GroupRequests.heartbeat("who")) == .unknownMemberId)
        #expect(try beat(GroupRequests.heartbeat(memberId, group: "none")) == .unknownMemberId)
        #expect(try beat(GroupRequests.heartbeat(memberId, group: "")) == .invalidGroupId)
        #expect(try beat(GroupRequests.heartbeat(memberId, generation: 2)) == .illegalGeneration)
        if version >= 3 {
            _ = try client.call(GroupRequests.join(group: "static", instance: "i"), version: 9)
            var fenced = GroupRequests.heartbeat("other", group: "static")
            fenced.groupInstanceId = "i"
            #expect(try beat(fenced) == .fencedInstanceId)
        }
        let other = try broker.connect()
        _ = try other.send(GroupRequests.join(), version: 3)
        #expect(try beat(GroupRequests.heartbeat(memberId)) == .rebalanceInProgress)
    }

    @Test func `A heartbeat's bytes are Kafka's`() throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        // Version 0: header 1 (key 12, version 0, correlation 7, client id "c"), group "g", generation 1, member "m".
        let oldest: [UInt8] = [0, 12, 0, 0, 0, 0, 0, 7, 0, 1, 0x63, 0, 1, 0x67, 0, 0, 0, 1, 0, 1, 0x6d]
        #expect(try client.exchange(oldest) == [0, 0, 0, 7, 0, 25])
        // Version 4: header 2 with no tags, compact strings, null instance id, no tags.
        let newest: [UInt8] = [
            0, 12, 0, 4, 0, 0, 0, 8, 0, 1, 0x63, 0, 2, 0x67, 0, 0, 0, 1, 2, 0x6d, 0, 0,
        ]
        #expect(try client.exchange(newest) == [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 25, 0])
    }

    // MARK: LeaveGroup

    @Test(arguments: 0...2 as ClosedRange<Int16>) func `One member leaves in early versions`(version: Int16) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        var request = LeaveGroupRequest()
        request.groupId = "g"
        request.memberId = try broker.stableMember(client)
        #expect(try client.call(request, version: version).errorCode == .none)
        #expect(try client.call(request, version: version).errorCode == .unknownMemberId)
        request.groupId = "none"
        #expect(try client.call(request, version: version).errorCode == .unknownMemberId)
        request.groupId = ""
        #expect(try client.call(request, version: version).errorCode == .invalidGroupId)
    }

    @Test(arguments: 3...5 as ClosedRange<Int16>) func `Several members leave in later versions`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        let joined = try client.call(GroupRequests.join(instance: "i"), version: 9)
        func member(_ id: String, _ instance: String?) -> LeaveGroupRequest.Member {
            var member = LeaveGroupRequest.Member()
            member.memberId = id
            member.groupInstanceId = instance
            member.reason = "done"
            return member
        }
        var request = LeaveGroupRequest()
        request.groupId = "g"
        request.members = [
            member("who", nil), member("other", "i"), member("", "j"), member("", "i"), member(joined.memberId, "i"),
        ]
        let answer = try client.call(request, version: version)
        #expect(answer.errorCode == .none)
        #expect(
            answer.members.map(\.errorCode)
                == [.unknownMemberId, .fencedInstanceId, .unknownMemberId, .none, .unknownMemberId])
        #expect(answer.members.map(\.groupInstanceId) == [nil, "i", "j", "i", "i"])
        #expect(answer.members.map(\.memberId) == ["who", "other", "", "", joined.memberId])
        request.groupId = "none"
        #expect(try client.call(request, version: version).members.map(\.errorCode)
            == Array(repeating: .unknownMemberId, count: 5))
        request.groupId = ""
        #expect(try client.call(request, version: version).errorCode == .invalidGroupId)
    }

    // MARK: FindCoordinator

    @Test(arguments: 0...6 as ClosedRange<Int16>) func `This broker coordinates every group and transaction`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        for type: Int8 in version >= 1 ? [0, 1] : [0] {
            var request = FindCoordinatorRequest()
            request.key = "g"
            request.coordinatorKeys = ["a", "b"]
            request.keyType = type
            let answer = try client.call(request, version: version)
            if version <= 3 {
                #expect(answer.errorCode == .none)
                #expect(answer.nodeId == 1)
                #expect(answer.host == "broker.test")
                #expect(answer.port == 9092)
            } else {
                #expect(answer.coordinators.map(\.key) == ["a", "b"])
                #expect(answer.coordinators.allSatisfy { $0.nodeId == 1 && $0.errorCode == .none })
                #expect(answer.coordinators.allSatisfy { $0.host == "broker.test" && $0.port == 9092 })
            }
        }
    }

    @Test(arguments: 1...6 as ClosedRange<Int16>) func `There are no coordinators of other types`(
        version: Int16
    ) throws {
        let broker = try GroupHandlersFixture()
        let client = try broker.connect()
        for type: Int8 in [2, 3, -1] {
            var request = FindCoordinatorRequest()
            request.coordinatorKeys = ["a"]
            request.keyType = type
            let answer = try client.call(request, version: version)
            #expect((version <= 3 ? answer.errorCode : answer.coordinators[0].errorCode) == .invalidRequest)
            #expect((version <= 3 ? answer.nodeId : answer.coordinators[0].nodeId) == -1)
        }
    }

    @Test func `Too many keys are refused`() throws {
        let broker = try GroupHandlersFixture()
        var request = FindCoordinatorRequest()
        request.coordinatorKeys = (0...Limits.groupsPerRequest).map { "g\($0)" }
        let answer = try broker.connect().call(request, version: 6)
        #expect(answer.coordinators.count == request.coordinatorKeys.count)
        #expect(answer.coordinators.allSatisfy { $0.errorCode == .invalidRequest })
    }

    // MARK: Life

    @Test func `A broker that stops answers parked joins, and everything later, with COORDINATOR_NOT_AVAILABLE`() throws {
        let broker = try GroupHandlersFixture()
        let first = try broker.connect()
        let memberId = try broker.stableMember(first)
        let second = try broker.connect()
        let parked = try second.send(GroupRequests.join(), version: 3)
        broker.engine.groups.close()
        broker.run()
        #expect(try second.answer(to: parked)?.errorCode == .coordinatorNotAvailable)
        let code = KafkaErrorCode.coordinatorNotAvailable
        #expect(try first.call(GroupRequests.join(), version: 9).errorCode == code)
        #expect(try first.call(GroupRequests.sync(memberId), version: 5).errorCode == code)
        #expect(try first.call(GroupRequests.heartbeat(memberId), version: 4).errorCode == code)
        var leave = LeaveGroupRequest()
        leave.groupId = "g"
        #expect(try first.call(leave, version: 5).errorCode == code)
        #expect(try first.call(ListGroupsRequest(), version: 5).errorCode == code)
        var describe = DescribeGroupsRequest()
        describe.groups = ["g"]
        #expect(try first.call(describe, version: 6).groups.map(\.errorCode) == [code])
        var fetch = OffsetFetchRequest()
        fetch.groupId = "g"
        #expect(try first.call(fetch, version: 7).errorCode == code)
    }

    /// Numbers from Kafka's Errors.
    private static let codes: [(GroupError, Int16)] = [
        (.unknownServerError, -1), (.offsetMetadataTooLarge, 12), (.coordinatorLoadInProgress, 14),
        (.coordinatorNotAvailable, 15), (.notCoordinator, 16), (.illegalGeneration, 22),
        (.inconsistentGroupProtocol, 23), (.invalidGroupId, 24), (.unknownMemberId, 25),
        (.invalidSessionTimeout, 26), (.rebalanceInProgress, 27), (.invalidCommitOffsetSize, 28),
        (.nonEmptyGroup, 68), (.groupIdNotFound, 69), (.memberIdRequired, 79), (.groupMaxSizeReached, 81),
        (.fencedInstanceId, 82), (.groupSubscribedToTopic, 86),
        (.fencedMemberEpoch, 110), (.unreleasedInstanceId, 111), (.unsupportedAssignor, 112),
        (.staleMemberEpoch, 113), (.invalidRegularExpression, 128), (.invalidRequest, 42), (.unsupportedVersion, 35),
    ]

    @Test func `Every error of a group has its Kafka code`() {
        #expect(Set(Self.codes.map(\.0)) == Set(GroupError.allCases))
        for (error, code) in Self.codes { #expect(KafkaErrorCode(error).rawValue == code) }
        #expect(KafkaErrorCode(nil as GroupError?) == .none)
    }
}
