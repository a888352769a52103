// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: members of a consumer group that speak the classic protocol (online migration, KIP-848).
//
// They join, sync and heartbeat; their generation is their member epoch, and the broker makes their assignment too.
// REBALANCE_IN_PROGRESS asks them to join again whenever there is a next step for them.

import Bytes
import NIOCore

extension ConsumerGroup {
    /// A classic member joins, for the first time or again. Answered at once: nobody waits for others here.
    mutating func join(
        _ request: GroupJoinRequest, newMemberId: String, topics all: GroupTopics, nowMs: Int64
    ) -> GroupJoinResponse {
        let memberId = request.memberId.isEmpty ? newMemberId : request.memberId
        do throws(GroupRefusal) {
            return try admit(request, memberId, topics: all, nowMs)
        } catch {
            let isNew = request.memberId.isEmpty && error.error != .memberIdRequired
            return GroupJoinResponse(error: error.error, memberId: isNew ? "" : memberId)
        }
    }

    private mutating func admit(
        _ request: GroupJoinRequest, _ memberId: String, topics all: GroupTopics, _ nowMs: Int64
    ) throws(GroupRefusal) -> GroupJoinResponse {
        try checkRoom(for: memberId)
        let protocols = GroupMember.distinct(request.protocols)
        guard request.protocolType == ConsumerSubscription.protocolType, supports(protocols, besides: memberId),
            let first = protocols.first, let subscription = ConsumerSubscription(first.metadata)
        else { throw GroupRefusal(.inconsistentGroupProtocol) }
        if request.memberId.isEmpty && request.requiresKnownMemberId && request.groupInstanceId == nil {
            throw GroupRefusal(.memberIdRequired)
        }
        let (known, replaced) = try joiner(request, memberId)
        var updated = known
        updated.instanceId = request.groupInstanceId ?? known.instanceId
        updated.rackId = subscription.rackId ?? known.rackId
        updated.rebalanceTimeoutMs = request.rebalanceTimeoutMs
        updated.subscribedTopics = Set(subscription.topics).sorted()
        updated.pattern = nil
        updated.assignor = nil
        updated.clientId = request.clientId
        updated.clientHost = request.clientHost
        updated.classic = ConsumerGroupMember.Classic(
            sessionTimeoutMs: request.sessionTimeoutMs, protocols: protocols)
        if let replaced { replace(replaced, by: known) }
        let isNew = members[memberId] == nil
        let hasChanged = updated.subscribedTopics != known.subscribedTopics || updated.pattern != known.pattern
        put(updated)
        if isNew { setTarget(TopicAssignment(), of: memberId) }
        if hasChanged || isNew || mustRefresh { refresh(all, hasChanged: hasChanged || isNew, nowMs: nowMs) }
        assignIfDue()
        let owned = TopicAssignment(
            subscription.owned.compactMap { owned in
                all.byName[owned.topic].map { TopicIdPartitions(topicId: $0.id, partitions: owned.partitions) }
            })
        let next = reconciled(updated, owned: owned)
        put(next)
        let timeoutMs = Int64(max(request.rebalanceTimeoutMs, 0))
        noteDeadline(of: memberId) {
            $0.sessionMs = nowMs + Int64(request.sessionTimeoutMs)
            $0.revocationMs = nil
            $0.joinMs = nil
            $0.syncMs = nowMs + timeoutMs
        }
        // The last member of the new protocol may have come back as a classic one.
        if let replaced, !replaced.isClassic, canDowngrade { mustDowngrade = true }
        var response = GroupJoinResponse(error: nil, memberId: memberId)
        response.generationId = next.epoch
        response.protocolType = ConsumerSubscription.protocolType
        response.protocolName = first.name
        return response
    }

    /// Whether all classic members could use one of these protocols.
    private func supports(_ protocols: [GroupProtocol], besides memberId: String) -> Bool {
        let others = members.values.filter { $0.id != memberId }.compactMap(\.classic)
        return protocols.contains { each in
            others.allSatisfy { $0.protocols.contains { $0.name == each.name } }
        }
    }

    private func joiner(
        _ request: GroupJoinRequest, _ memberId: String
    ) throws(GroupRefusal) -> (ConsumerGroupMember, replaced: ConsumerGroupMember?) {
        guard let instanceId = request.groupInstanceId else {
            return (members[memberId] ?? ConsumerGroupMember(id: memberId), nil)
        }
        guard request.memberId.isEmpty else { return (try staticMember(instanceId, claimedBy: memberId), nil) }
        guard let holder = staticMember(instanceId) else { return (ConsumerGroupMember(id: memberId), nil) }
        return (successor(of: holder, memberId), holder)
    }

    // MARK: Sync, heartbeat

    /// A classic member asks for its assignment; what a leader brings is not used.
    mutating func sync(_ request: GroupSyncRequest, topics all: GroupTopics, nowMs: Int64) -> GroupSyncResponse {
        do throws(GroupRefusal) {
            let (member, classic) = try classicMember(request.memberId, request.groupInstanceId, request.generationId)
            let name = classic.protocols.first?.name
            if let type = request.protocolType, type != ConsumerSubscription.protocolType {
                throw GroupRefusal(.inconsistentGroupProtocol)
            }
            if let wanted = request.protocolName, wanted != name { throw GroupRefusal(.inconsistentGroupProtocol) }
            if groupEpoch > member.epoch && member.state != .unrevoked {
                expectJoin(of: member, nowMs)
                throw GroupRefusal(.rebalanceInProgress)
            }
            noteDeadline(of: member.id) {
                $0.sessionMs = nowMs + Int64(classic.sessionTimeoutMs)
                $0.syncMs = nil
            }
            return GroupSyncResponse(
                protocolType: request.protocolType, protocolName: request.protocolName,
                assignment: encode(member.assigned, for: classic, topics: all))
        } catch {
            return GroupSyncResponse(error: error.error)
        }
    }

    /// As a ConsumerProtocolAssignment of the version that the member speaks.
    func encode(
        _ assignment: TopicAssignment, for classic: ConsumerGroupMember.Classic, topics all: GroupTopics
    ) -> ByteBuffer {
        let version = classic.protocols.first.flatMap { ConsumerSubscription($0.metadata)?.version } ?? 0
        let named = assignment.list.compactMap { each in
            all.name(of: each.topicId).map { TopicPartitions(topic: $0, partitions: each.partitions) }
        }
        return ConsumerSubscription.encode(named, version: version)
    }

    /// A classic member's heartbeat; REBALANCE_IN_PROGRESS: it is to join again.
    mutating func heartbeat(
        _ identity: GroupMemberIdentity, generationId: Int32, nowMs: Int64
    ) throws(GroupRefusal) {
        let (member, classic) = try classicMember(identity.memberId, identity.groupInstanceId, generationId)
        noteDeadline(of: member.id) { $0.sessionMs = nowMs + Int64(classic.sessionTimeoutMs) }
        let mustJoin =
            member.epoch < groupEpoch || member.state == .unrevoked
            || (member.state == .unreleased && !isWaiting(member))
        guard mustJoin else { return }
        expectJoin(of: member, nowMs)
        throw GroupRefusal(.rebalanceInProgress)
    }

    /// Whether what the member lacks is still others'.
    private func isWaiting(_ member: ConsumerGroupMember) -> Bool {
        (targets[member.id] ?? TopicAssignment()).list.contains { topic in
            topic.partitions.contains {
                !member.assigned.contains(topic.topicId, $0) && isHeld(topic.topicId, $0)
            }
        }
    }

    private mutating func expectJoin(of member: ConsumerGroupMember, _ nowMs: Int64) {
        noteDeadline(of: member.id) {
            if $0.joinMs == nil { $0.joinMs = nowMs + Int64(max(member.rebalanceTimeoutMs, 0)) }
        }
    }

    private func classicMember(
        _ memberId: String, _ instanceId: String?, _ generationId: Int32
    ) throws(GroupRefusal) -> (ConsumerGroupMember, ConsumerGroupMember.Classic) {
        let member: ConsumerGroupMember
        if let instanceId {
            member = try staticMember(instanceId, claimedBy: memberId)
        } else {
            member = try self.member(memberId)
        }
        guard let classic = member.classic else {
            throw GroupRefusal(.unknownMemberId, "Member \(member.id) does not use the classic protocol.")
        }
        guard member.epoch == generationId else { throw GroupRefusal(.illegalGeneration) }
        return (member, classic)
    }

    // MARK: Leave

    /// Classic members leave, or are removed by an administrator; one result per member, nil for success.
    mutating func leave(
        _ leaving: [GroupMemberIdentity], topics all: GroupTopics, nowMs: Int64
    ) -> [GroupError?] {
        var left: [String] = []
        let results = leaving.map { identity -> GroupError? in
            do throws(GroupRefusal) {
                let member = try leaver(identity)
                guard member.isClassic, !left.contains(member.id) else { throw GroupRefusal(.unknownMemberId) }
                left.append(member.id)
                return nil
            } catch {
                return error.error
            }
        }
        if !left.isEmpty { remove(left, cause: "they left", topics: all, nowMs: nowMs) }
        return results
    }

    private func leaver(_ identity: GroupMemberIdentity) throws(GroupRefusal) -> ConsumerGroupMember {
        guard let instanceId = identity.groupInstanceId else { return try member(identity.memberId) }
        if identity.memberId.isEmpty {
            guard let holder = staticMember(instanceId) else { throw GroupRefusal(.unknownMemberId) }
            return holder
        }
        return try staticMember(instanceId, claimedBy: identity.memberId)
    }
}
