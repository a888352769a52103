// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how members of a consumer group go: they leave, are silent for too long, or do not keep up.

import Bytes

extension ConsumerGroup {
    /// A member that speaks the new protocol leaves, for good (-1) or, if static, for a while (-2).
    mutating func leave(
        _ request: ConsumerHeartbeat, topics all: GroupTopics, nowMs: Int64
    ) throws(GroupRefusal) -> ConsumerHeartbeatAnswer {
        var answer = ConsumerHeartbeatAnswer(
            memberId: request.memberId, memberEpoch: request.memberEpoch, heartbeatIntervalMs: 0)
        guard let instanceId = request.instanceId else {
            let member = try member(request.memberId)
            remove([member.id], cause: "it left", topics: all, nowMs: nowMs)
            return answer
        }
        let member = try staticMember(instanceId, claimedBy: request.memberId)
        answer.memberId = member.id
        if request.memberEpoch == ConsumerHeartbeat.leavingForAWhile {
            var away = member
            away.epoch = ConsumerHeartbeat.leavingForAWhile
            away.pendingRevocation = TopicAssignment()
            put(away)
            noteDeadline(of: member.id) { $0.revocationMs = nil }
        } else {
            remove([member.id], cause: "it left", topics: all, nowMs: nowMs)
        }
        return answer
    }

    /// Members are out: the epoch rises, and what they had is given to others with the next heartbeat. If nobody
    /// is left who speaks the new protocol, the group is to become a classic one instead.
    mutating func remove(_ memberIds: [String], cause: String, topics all: GroupTopics, nowMs: Int64) {
        let spokeNewProtocol = memberIds.contains { members[$0]?.isClassic == false }
        for memberId in memberIds { take(memberId) }
        events.append(.membersRemoved(memberIds, cause: cause))
        if spokeNewProtocol && canDowngrade {
            mustDowngrade = true
            mustRebalance = true
        } else {
            refresh(all, hasChanged: true, nowMs: nowMs)
        }
        if members.isEmpty { events.append(.becameEmpty(generationId: groupEpoch)) }
    }

    /// Whether only classic members are left, and a classic group may be made of them.
    var canDowngrade: Bool {
        !members.isEmpty && classicCount == members.count && configuration.consumerMigration.allowsDowngrade
            && members.count <= configuration.membersMax
    }

    // MARK: Time

    /// The broker stood still for `pauseMs` and could hear nobody: sessions begin anew, other deadlines move.
    mutating func excuse(pauseMs: Int64, nowMs: Int64) {
        for (memberId, member) in members {
            let sessionMs = nowMs + Int64(member.classic?.sessionTimeoutMs ?? sessionTimeoutMs)
            noteDeadline(of: memberId) {
                $0.sessionMs = max($0.sessionMs, sessionMs)
                if let deadlineMs = $0.revocationMs { $0.revocationMs = deadlineMs + pauseMs }
                if let deadlineMs = $0.joinMs { $0.joinMs = deadlineMs + pauseMs }
                if let deadlineMs = $0.syncMs { $0.syncMs = deadlineMs + pauseMs }
            }
        }
    }

    /// Sessions begin: the group was loaded.
    mutating func expectEverybody(nowMs: Int64) {
        for member in membersById {
            let sessionMs = nowMs + Int64(member.classic?.sessionTimeoutMs ?? sessionTimeoutMs)
            let revokes = member.state == .unrevoked && !member.isClassic
            noteDeadline(of: member.id) {
                $0.sessionMs = sessionMs
                $0.revocationMs = revokes ? nowMs + Int64(max(member.rebalanceTimeoutMs, 0)) : nil
                $0.revocationEpoch = member.epoch
            }
        }
    }

    /// Removes whoever did not do in time what it had to.
    mutating func advance(topics all: GroupTopics, nowMs: Int64) {
        var late: [(memberId: String, cause: String)] = []
        for (memberId, due) in deadlines where due.earliestMs <= nowMs {
            if due.sessionMs <= nowMs {
                late.append((memberId, "no heartbeat within the session timeout"))
            } else if (due.joinMs ?? .max) <= nowMs {
                late.append((memberId, "it did not join again in time"))
            } else if (due.syncMs ?? .max) <= nowMs {
                late.append((memberId, "it did not sync in time"))
            } else if members[memberId]?.epoch == due.revocationEpoch {
                late.append((memberId, "it did not give up its partitions in time"))
            } else {
                deadlines[memberId]?.revocationMs = nil
            }
        }
        if !late.isEmpty {
            late.sort { $0.memberId < $1.memberId }
            remove(late.map(\.memberId), cause: late[0].cause, topics: all, nowMs: nowMs)
        }
        nextDeadlineMs = deadlines.values.map(\.earliestMs).min() ?? .max
    }
}
