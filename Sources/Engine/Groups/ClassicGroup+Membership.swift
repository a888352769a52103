// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the inputs of a classic group other than joining: sync, heartbeat, leave, time.

import NIOCore

extension ClassicGroup {
    // MARK: Sync

    /// A member asks for its assignment; the leader brings all of them. A token is answered at once, or when
    /// the leader has synced.
    package mutating func sync(_ request: GroupSyncRequest, token: GroupToken, nowMs: Int64) -> [GroupAction] {
        do throws(GroupError) {
            try validateSync(request)
        } catch {
            return [.answerSync(token, GroupSyncResponse(error: error))]
        }
        pendingSyncMembers.remove(request.memberId)
        if pendingSyncMembers.isEmpty { syncDeadlineMs = nil }
        if state == .stable {
            let assignment = members[request.memberId]?.assignment ?? ByteBuffer()
            actions.append(.answerSync(token, syncResponse(assignment)))
        } else {
            // Answers a sync of the same member that is parked already: see `update` in +Join.
            _ = answerSync(of: request.memberId, GroupSyncResponse(error: .rebalanceInProgress))
            members[request.memberId]?.syncToken = token
            if isLeader(request.memberId) { stabilize(request.assignments, nowMs) }
        }
        return takeActions()
    }

    private func validateSync(_ request: GroupSyncRequest) throws(GroupError) {
        if state == .dead { throw .coordinatorNotAvailable }
        try validateMember(request.memberId, request.groupInstanceId)
        if request.generationId != generationId { throw .illegalGeneration }
        // KIP-559: what the member believes, where its version says so, must be what the group has.
        if let type = request.protocolType, let own = protocolType, type != own { throw .inconsistentGroupProtocol }
        if let name = request.protocolName, let own = protocolName, name != own { throw .inconsistentGroupProtocol }
        if state == .preparingRebalance { throw .rebalanceInProgress }
    }

    private func syncResponse(_ assignment: ByteBuffer) -> GroupSyncResponse {
        GroupSyncResponse(protocolType: protocolType, protocolName: protocolName, assignment: assignment)
    }

    /// The leader's assignments are in: members it forgot get nothing, ids it made up are ignored.
    private mutating func stabilize(_ assignments: [GroupSyncRequest.Assignment], _ nowMs: Int64) {
        for memberId in members.keys { assign(ByteBuffer(), to: memberId) }
        for each in assignments { assign(each.assignment, to: each.memberId) }
        for member in membersByAge where answerSync(of: member.id, syncResponse(member.assignment)) {
            // An expiry that came due while the sync was parked was waived, so there is none any more.
            expectHeartbeat(of: member.id, nowMs: nowMs)
        }
        transition(to: .stable)
        isChanged = true
        actions.append(.report(.stabilized(generationId: generationId, members: members.count)))
    }

    // MARK: Heartbeat

    package mutating func heartbeat(
        _ member: GroupMemberIdentity, generationId: Int32, nowMs: Int64
    ) throws(GroupError) {
        if state == .dead { throw .coordinatorNotAvailable }
        try validateMember(member.memberId, member.groupInstanceId)
        if generationId != self.generationId { throw .illegalGeneration }
        expectHeartbeat(of: member.memberId, nowMs: nowMs)
        if state == .preparingRebalance { throw .rebalanceInProgress }
    }

    // MARK: Leave

    /// Members leave, or are removed by an administrator; one result per member, nil for success.
    package mutating func leave(
        _ leaving: [GroupMemberIdentity], nowMs: Int64
    ) -> (results: [GroupError?], actions: [GroupAction]) {
        var left: [String] = []
        var results: [GroupError?] = []
        results.reserveCapacity(leaving.count)
        for member in leaving {
            do throws(GroupError) {
                if let memberId = try leave(member) { left.append(memberId) }
                results.append(nil)
            } catch {
                results.append(error)
            }
        }
        if !left.isEmpty {
            actions.append(.report(.membersRemoved(left, cause: "they left")))
            if state == .stable || state == .completingRebalance {
                prepareRebalance(because: "\(left.count) members left", leaving.first?.reason, nowMs)
            }
        }
        completeJoinIfAllJoined(nowMs)
        return (results, takeActions())
    }

    /// The id of the member that left; nil if it was only about to become one.
    private mutating func leave(_ member: GroupMemberIdentity) throws(GroupError) -> String? {
        if state == .dead { throw .coordinatorNotAvailable }
        var memberId = member.memberId
        if memberId.isEmpty {
            guard let instance = member.groupInstanceId, let current = staticMembers[instance] else {
                throw .unknownMemberId
            }
            memberId = current
        } else if removePending(memberId) {
            return nil
        } else {
            try validateMember(memberId, member.groupInstanceId)
        }
        remove(memberId)
        return memberId
    }

    // MARK: Time

    /// The broker stood still for `pauseMs` and could hear nobody: sessions begin anew, other deadlines move by that much.
    package mutating func excuse(pauseMs: Int64, nowMs: Int64) {
        for (memberId, member) in members {
            guard let deadlineMs = member.deadlineMs else { continue }
            members[memberId]?.deadlineMs = max(deadlineMs, nowMs + member.sessionTimeoutMs)
        }
        for (memberId, deadlineMs) in pendingMembers { pendingMembers[memberId] = deadlineMs + pauseMs }
        if let deadlineMs = syncDeadlineMs { syncDeadlineMs = deadlineMs + pauseMs }
        if case .rebalance(let deadlineMs) = joinTimer { joinTimer = .rebalance(deadlineMs: deadlineMs + pauseMs) }
    }

    private enum Due {
        case join(JoinTimer)
        case sync
        case pending(String)
        case member(String)
    }

    /// Does what is due at `nowMs`, in order of the deadlines.
    package mutating func advance(nowMs: Int64) -> [GroupAction] {
        while let due = earliest(before: nowMs) {
            switch due {
            case .join(let timer): joinTimerFired(timer, nowMs)
            case .sync: expireSyncs(nowMs)
            case .pending(let memberId):
                removePending(memberId)
                completeJoinIfAllJoined(nowMs)
            case .member(let memberId): expire(memberId, nowMs)
            }
        }
        return takeActions()
    }

    /// What is due first, if it is due; else sets `nextDeadlineMs` to when something will be.
    private mutating func earliest(before nowMs: Int64) -> Due? {
        var deadlineMs = Int64.max
        var due: Due?
        func consider(_ candidateMs: Int64, _ candidate: @autoclosure () -> Due) {
            guard candidateMs < deadlineMs else { return }
            deadlineMs = candidateMs
            due = candidate()
        }
        if let joinTimer { consider(joinTimer.deadlineMs, .join(joinTimer)) }
        if let syncDeadlineMs { consider(syncDeadlineMs, .sync) }
        for (memberId, pendingMs) in pendingMembers { consider(pendingMs, .pending(memberId)) }
        for member in members.values {
            if let memberMs = member.deadlineMs { consider(memberMs, .member(member.id)) }
        }
        if deadlineMs <= nowMs { return due }
        nextDeadlineMs = deadlineMs
        return nil
    }

    private mutating func expire(_ memberId: String, _ nowMs: Int64) {
        guard let member = members[memberId] else { return }
        if member.owesNoHeartbeat {
            // Its request is with us. The deadline comes back when that is answered.
            members[memberId]?.deadlineMs = nil
            return
        }
        remove(memberId)
        actions.append(.report(.membersRemoved([memberId], cause: "no heartbeat within the session timeout")))
        if state == .stable || state == .completingRebalance {
            prepareRebalance(because: "member \(memberId) expired", nil, nowMs)
        } else {
            completeJoinIfAllJoined(nowMs)
        }
    }

    /// Members that took their place in the generation but never asked for an assignment are gone.
    private mutating func expireSyncs(_ nowMs: Int64) {
        syncDeadlineMs = nil
        guard !pendingSyncMembers.isEmpty, state == .completingRebalance || state == .stable else { return }
        let missing = pendingSyncMembers.sorted()
        for memberId in missing { remove(memberId) }
        actions.append(.report(.membersRemoved(missing, cause: "they did not sync in time")))
        prepareRebalance(because: "\(missing.count) members did not sync in time", nil, nowMs)
    }

    // MARK: End

    /// The coordinator stops: whatever is parked is answered, and the group is dead.
    package mutating func close() -> [GroupAction] {
        for member in membersByAge {
            answerJoin(of: member.id, GroupJoinResponse(error: .coordinatorNotAvailable, memberId: member.id))
            _ = answerSync(of: member.id, GroupSyncResponse(error: .coordinatorNotAvailable))
        }
        if state != .dead { transition(to: .dead) }
        joinTimer = nil
        syncDeadlineMs = nil
        for memberId in pendingMembers.keys { removePending(memberId) }
        for memberId in members.keys { members[memberId]?.deadlineMs = nil }
        nextDeadlineMs = .max
        return takeActions()
    }
}
