// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: members of share groups, and share sessions.

import Bytes
import Testing

@testable import Engine

@Suite("Members of a share group")
struct ShareGroupTests {
    private final class Anchor {}

    private func beat(
        _ group: inout ShareGroup, _ member: String, _ epoch: Int32, _ topics: [String]? = nil, partitions: Int = 4,
        nowMs: Int64 = 0
    ) throws(ShareError) -> ShareGroup.Answer {
        try group.heartbeat(
            ShareGroup.Heartbeat(
                member: ShareMemberId(member), epoch: epoch, rackId: nil, topics: topics, clientId: "", clientHost: ""),
            nowMs: nowMs, sessionMs: 45_000, membersMax: 3, partitionCount: { _ in partitions })
    }

    @Test func membersShareThePartitionsAndLearnOfChangesWithTheirNextHeartbeat() throws {
        var group = ShareGroup(id: "g")
        #expect(group.state == .empty)
        let first = try beat(&group, "a", 0, ["t"])
        #expect(first.memberEpoch == 1 && first.assignment == ["t": [0, 1, 2, 3]])
        let second = try beat(&group, "b", 0, ["t"])
        #expect(second.memberEpoch == 2 && second.assignment == ["t": [1, 3]])
        let told = try beat(&group, "a", 1)
        #expect(told.memberEpoch == 2 && told.assignment == ["t": [0, 2]])
        // The answer was lost: the epoch before is good as well.
        #expect(try beat(&group, "a", 1).memberEpoch == 2)
        #expect(try beat(&group, "a", 2).assignment == nil)
        #expect(throws: ShareError.fencedMemberEpoch) { try beat(&group, "a", 7) }
        #expect(throws: ShareError.unknownMemberId) { try beat(&group, "c", 3) }
    }

    @Test func moreMembersThanPartitionsHaveTheSameOnes() throws {
        var group = ShareGroup(id: "g")
        for member in ["a", "b", "c"] { _ = try beat(&group, member, 0, ["t"], partitions: 2) }
        let assigned = group.members.values.flatMap { $0.assignment["t"] ?? [] }.sorted()
        #expect(assigned == [0, 0, 1])
        #expect(throws: ShareError.groupMaxSizeReached) { try beat(&group, "d", 0, ["t"]) }
    }

    @Test func newPartitionsAndTopicsRaiseTheEpoch() throws {
        var group = ShareGroup(id: "g")
        _ = try beat(&group, "a", 0, ["t"], partitions: 0)
        let answer = try beat(&group, "a", 1, partitions: 1)
        #expect(answer.memberEpoch == 2 && answer.assignment == ["t": [0]])
    }

    @Test func aMemberWhoseSessionEndsIsGoneAndAWorkersNeverDoes() throws {
        var group = ShareGroup(id: "g")
        _ = try beat(&group, "a", 0, ["t"])
        try group.join(
            worker: ShareGroup.Member(id: ShareMemberId("w"), clientId: "", clientHost: "", topics: ["t"]), membersMax: 3,
            partitionCount: { _ in 4 })
        #expect(group.members[ShareMemberId("w")]?.assignment == ["t": [0, 1, 2, 3]])
        // A worker takes nothing away from the others.
        #expect(try beat(&group, "a", 1, nowMs: 10_000).assignment == ["t": [0, 1, 2, 3]])
        #expect(group.nextSessionEndMs == 55_000)
        #expect(group.expired(nowMs: 54_999).isEmpty)
        #expect(group.expired(nowMs: 55_000) == [ShareMemberId("a")])
    }

    @Test func sessionsCountTheirRequests() throws {
        var sessions = ShareSessions()
        let (one, other) = (Anchor(), Anchor())
        let key = ShareSessionKey(groupId: "g", member: ShareMemberId("m"))
        let places = (0..<3).map { SharePlace(topicId: .zero, partition: $0) }
        #expect(throws: ShareError.shareSessionNotFound) {
            try sessions.update(key, epoch: 1, add: [], forget: [], placesMax: 9)
        }
        #expect(
            try sessions.open(key, places, connection: ObjectIdentifier(one), sessionsMax: 1, placesMax: 9) == places)
        #expect(throws: ShareError.invalidShareSessionEpoch) {
            try sessions.update(key, epoch: 2, add: [], forget: [], placesMax: 9)
        }
        let second = try sessions.update(key, epoch: 1, add: [], forget: [places[0]], placesMax: 9)
        #expect(Set(second) == [places[1], places[2]])
        // Everybody's turn comes.
        let third = try sessions.update(key, epoch: 2, add: [], forget: [], placesMax: 9)
        #expect(third.first != second.first)
        let another = ShareSessionKey(groupId: "g", member: ShareMemberId("n"))
        #expect(throws: ShareError.shareSessionLimitReached) {
            try sessions.open(another, [], connection: ObjectIdentifier(one), sessionsMax: 1, placesMax: 9)
        }
        #expect(throws: ShareError.invalidRequest) {
            try sessions.open(key, places, connection: ObjectIdentifier(one), sessionsMax: 1, placesMax: 2)
        }
        _ = try sessions.open(key, places, connection: ObjectIdentifier(other), sessionsMax: 1, placesMax: 9)
        #expect(sessions.remove(connection: ObjectIdentifier(one)).isEmpty)
        #expect(sessions.remove(connection: ObjectIdentifier(other)).map(\.1) == [places])
        #expect(throws: ShareError.shareSessionNotFound) { try sessions.close(key) }
    }
}
