// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the inputs of a classic group: a member joins.
//
// Illegal input is the peer's fault, and is answered with a `GroupError`.

import NIOCore

extension ClassicGroup {
    /// A member joins, for the first time or again. `newMemberId` is the id it gets if it has none; `token` is
    /// answered at once or when the join phase ends.
    package mutating func join(
        _ request: GroupJoinRequest, newMemberId: String, token: GroupToken, nowMs: Int64
    ) -> [GroupAction] {
        if state == .dead {
            refuse(token, request.memberId, .coordinatorNotAvailable)
        } else if !hasRoom(for: request.memberId) {
            evict(request.memberId, token, nowMs: nowMs)
        } else if !supports(request.protocolType, request.protocols) {
            refuse(token, request.memberId, .inconsistentGroupProtocol)
        } else if request.memberId.isEmpty {
            joinNew(request, newMemberId, token, nowMs)
        } else {
            joinExisting(request, token, nowMs)
        }
        return takeActions()
    }

    private mutating func refuse(_ token: GroupToken, _ memberId: String, _ error: GroupError) {
        actions.append(.answerJoin(token, GroupJoinResponse(error: error, memberId: memberId)))
    }

    // MARK: Size of the group

    /// While members join again, those that wait count: the bound may have been lowered since, and the last
    /// to return is the one to go. Ids handed out count too, or they would have no bound at all.
    private func hasRoom(for memberId: String) -> Bool {
        if memberId.isEmpty && pendingMembers.count >= configuration.membersMax { return false }
        switch state {
        case .empty, .dead:
            return true
        case .preparingRebalance:
            return members[memberId]?.joinToken != nil || parkedJoins < configuration.membersMax
        case .completingRebalance, .stable:
            return members[memberId] != nil || members.count < configuration.membersMax
        }
    }

    private mutating func evict(_ memberId: String, _ token: GroupToken, nowMs: Int64) {
        remove(memberId)
        removePending(memberId)
        refuse(token, "", .groupMaxSizeReached)
        completeJoinIfAllJoined(nowMs)
    }

    // MARK: A member without an id

    private mutating func joinNew(
        _ request: GroupJoinRequest, _ newMemberId: String, _ token: GroupToken, _ nowMs: Int64
    ) {
        if let instance = request.groupInstanceId {
            if let replaced = staticMembers[instance] {
                rejoinStatic(request, replacing: replaced, by: newMemberId, token, nowMs)
            } else {
                add(request, newMemberId, token, nowMs)
            }
        } else if request.requiresKnownMemberId {
            addPending(newMemberId, untilMs: nowMs + Int64(request.sessionTimeoutMs))
            refuse(token, newMemberId, .memberIdRequired)
        } else {
            add(request, newMemberId, token, nowMs)
        }
    }

    private mutating func add(
        _ request: GroupJoinRequest, _ memberId: String, _ token: GroupToken, _ nowMs: Int64
    ) {
        let member = GroupMember(id: memberId, request: request, sequence: nextSequence, token: token)
        nextSequence += 1
        if state == .preparingRebalance && previousState == .empty { newMemberAdded = true }
        if let instance = member.groupInstanceId { staticMembers[instance] = memberId }
        if members.isEmpty { protocolType = request.protocolType }
        if leaderId == nil { leaderId = memberId }
        removePending(memberId)
        members[memberId] = member
        parkedJoins += 1
        retainedBytes += member.retainedBytes
        count(member.protocols, by: 1, in: &supportedProtocols)
        // Not the session timeout: without its id it cannot heartbeat. But a client whose request timed out
        // joins again as yet another member, so a parked join of a new member has an end of its own.
        expectHeartbeat(of: memberId, nowMs: nowMs, within: configuration.newMemberJoinTimeoutMs)
        rebalanceOrCompleteJoin(because: "member \(memberId) joined", request.reason, nowMs)
    }

    // MARK: A static member that lost its id (KIP-345)

    private mutating func rejoinStatic(
        _ request: GroupJoinRequest, replacing oldId: String, by newId: String, _ token: GroupToken,
        _ nowMs: Int64
    ) {
        let oldLeader = leaderId
        replaceStatic(oldId, by: newId)
        update(newId, request, token)
        expectHeartbeat(of: newId, nowMs: nowMs)
        switch state {
        case .stable where selectProtocol() == protocolName:
            // The assignment stays as it is, now under the new id.
            isChanged = true
            answerJoin(of: newId, stableStaticResponse(request, newId, oldLeader: oldLeader))
        case .stable:
            rebalanceOrCompleteJoin(because: "static member \(newId) changed protocols", request.reason, nowMs)
        case .completingRebalance:
            // The leader may be assigning to the old id right now.
            prepareRebalance(because: "static member \(newId) replaced \(oldId)", request.reason, nowMs)
        case .preparingRebalance:
            completeJoinIfAllJoined(nowMs)
        case .empty, .dead:
            preconditionFailure("group \(id): a member in state \(state)")
        }
    }

    /// Before v9 a restarted leader is told its old id, so that it does not think itself the leader: its
    /// assignments would not be used. Since v9 it is told not to assign (KIP-814).
    private func stableStaticResponse(
        _ request: GroupJoinRequest, _ memberId: String, oldLeader: String?
    ) -> GroupJoinResponse {
        var response = currentGeneration(for: memberId, withMembers: false)
        if request.supportsSkippingAssignment {
            response.skipAssignment = isLeader(memberId)
            response.members = isLeader(memberId) ? membersForLeader() : []
        } else {
            response.leaderId = oldLeader ?? ""
        }
        return response
    }

    /// The new id takes the old one's place, age and assignment; whoever waits under the old id is fenced.
    private mutating func replaceStatic(_ oldId: String, by newId: String) {
        answerJoin(of: oldId, GroupJoinResponse(error: .fencedInstanceId, memberId: oldId))
        _ = answerSync(of: oldId, GroupSyncResponse(error: .fencedInstanceId))
        guard var member = members.removeValue(forKey: oldId) else {
            preconditionFailure("group \(id): the static member \(oldId) is no member")
        }
        retainedBytes -= member.retainedBytes
        member.id = newId
        member.isNew = false
        members[newId] = member
        retainedBytes += member.retainedBytes
        if let instance = member.groupInstanceId { staticMembers[instance] = newId }
        if isLeader(oldId) { leaderId = newId }
        if pendingSyncMembers.remove(oldId) != nil { pendingSyncMembers.insert(newId) }
    }

    // MARK: A member with an id

    private mutating func joinExisting(_ request: GroupJoinRequest, _ token: GroupToken, _ nowMs: Int64) {
        let memberId = request.memberId
        // A static member never gets a pending id; one that claims to have is validated like any other.
        if pendingMembers[memberId] != nil && request.groupInstanceId == nil {
            return add(request, memberId, token, nowMs)
        }
        do throws(GroupError) {
            try validateMember(memberId, request.groupInstanceId)
        } catch {
            return refuse(token, memberId, error)
        }
        let unchanged = members[memberId]?.protocols == GroupMember.distinct(request.protocols)
        switch state {
        case .completingRebalance where unchanged:
            // It may have missed the answer to its first join.
            actions.append(.answerJoin(token, currentGeneration(for: memberId, withMembers: isLeader(memberId))))
        case .stable where unchanged && !isLeader(memberId):
            actions.append(.answerJoin(token, currentGeneration(for: memberId, withMembers: false)))
        case .preparingRebalance, .completingRebalance, .stable:
            // The leader may rebalance at will: it sees changes that no member's metadata shows.
            update(memberId, request, token)
            rebalanceOrCompleteJoin(because: "member \(memberId) joined again", request.reason, nowMs)
        case .empty, .dead:
            refuse(token, memberId, .unknownMemberId)
        }
    }

    /// Parks a known member's join. A join that it has parked already has lost its reader most likely; if not,
    /// REBALANCE_IN_PROGRESS tells it to go on.
    private mutating func update(_ memberId: String, _ request: GroupJoinRequest, _ token: GroupToken) {
        answerJoin(of: memberId, GroupJoinResponse(error: .rebalanceInProgress, memberId: memberId))
        guard var member = members[memberId] else { return }
        retainedBytes -= member.retainedBytes
        count(member.protocols, by: -1, in: &supportedProtocols)
        member.protocols = GroupMember.distinct(request.protocols)
        member.rebalanceTimeoutMs = Int64(max(request.rebalanceTimeoutMs, 0))
        member.sessionTimeoutMs = Int64(request.sessionTimeoutMs)
        member.joinToken = token
        parkedJoins += 1
        count(member.protocols, by: 1, in: &supportedProtocols)
        retainedBytes += member.retainedBytes
        members[memberId] = member
    }

    // MARK: Answers

    func currentGeneration(for memberId: String, withMembers: Bool) -> GroupJoinResponse {
        var response = GroupJoinResponse(error: nil, memberId: memberId)
        response.generationId = generationId
        response.protocolType = protocolType
        response.protocolName = protocolName
        response.leaderId = leaderId ?? ""
        response.members = withMembers ? membersForLeader() : []
        return response
    }

    private func membersForLeader() -> [GroupJoinResponse.Member] {
        membersByAge.map {
            GroupJoinResponse.Member(
                memberId: $0.id, groupInstanceId: $0.groupInstanceId, metadata: $0.metadata(of: protocolName))
        }
    }
}
