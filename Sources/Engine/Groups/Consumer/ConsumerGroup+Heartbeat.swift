// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the heartbeat of a member that speaks the new protocol: how it joins, stays and reconciles.
//
// A heartbeat that is refused changes nothing.

import Bytes

extension ConsumerGroup {
    /// Joins, or keeps, a member. `pattern` is the heartbeat's, matched against `all`.
    mutating func heartbeat(
        _ request: ConsumerHeartbeat, memberId: String, pattern: Resolved?, topics all: GroupTopics, nowMs: Int64
    ) throws(GroupRefusal) -> ConsumerHeartbeatAnswer {
        try checkRoom(for: memberId)
        let (known, replaced) = try subscriber(request, memberId)
        var updated = known
        apply(request, to: &updated)
        if let replaced { replace(replaced, by: known) }
        let isNew = members[memberId] == nil
        let hasChanged = updated.subscribedTopics != known.subscribedTopics || updated.pattern != known.pattern
        put(updated)
        if var pattern, patterns[pattern.pattern.text] == nil {
            pattern.resolvedMs = nowMs
            patterns[pattern.pattern.text] = pattern
            changes.insert(.pattern(pattern.pattern.text))
        } else if let text = updated.pattern, let rights = request.mayDescribe {
            lookAgain(at: text, rights, all, nowMs: nowMs)
        }
        if isNew { setTarget(TopicAssignment(), of: memberId) }
        if hasChanged || isNew || mustRefresh { refresh(all, hasChanged: hasChanged || isNew, nowMs: nowMs) }
        assignIfDue()
        let next = reconciled(updated, owned: request.owned.map { TopicAssignment($0) })
        put(next)
        expectRevocation(of: next, before: updated, nowMs)
        let sessionMs = nowMs + Int64(sessionTimeoutMs)
        noteDeadline(of: memberId) {
            $0.sessionMs = sessionMs
            $0.joinMs = nil
            $0.syncMs = nil
        }
        let mustTell = request.isFull || next.assigned != known.assigned
        return ConsumerHeartbeatAnswer(
            memberId: memberId, memberEpoch: next.epoch, heartbeatIntervalMs: heartbeatIntervalMs,
            assignment: mustTell ? next.assigned.list : nil)
    }

    func checkRoom(for memberId: String) throws(GroupRefusal) {
        guard members.count >= configuration.consumerMembersMax, members[memberId] == nil else { return }
        throw GroupRefusal(
            .groupMaxSizeReached,
            "The consumer group has reached its maximum capacity of \(configuration.consumerMembersMax) members.")
    }

    private func apply(_ request: ConsumerHeartbeat, to member: inout ConsumerGroupMember) {
        if let instanceId = request.instanceId { member.instanceId = instanceId }
        if let rackId = request.rackId { member.rackId = rackId }
        if let timeoutMs = request.rebalanceTimeoutMs { member.rebalanceTimeoutMs = timeoutMs }
        if let assignor = request.assignor { member.assignor = assignor }
        if let names = request.subscribedTopics { member.subscribedTopics = Set(names).sorted() }
        if let pattern = request.subscribedPattern { member.pattern = pattern.isEmpty ? nil : pattern }
        member.clientId = request.clientId
        member.clientHost = request.clientHost
        member.classic = nil
    }

    // MARK: Who it is

    /// The member that sends this, new or known; and the static member whose place it takes.
    private func subscriber(
        _ request: ConsumerHeartbeat, _ memberId: String
    ) throws(GroupRefusal) -> (ConsumerGroupMember, replaced: ConsumerGroupMember?) {
        let isJoining = request.memberEpoch == ConsumerHeartbeat.joining
        guard let instanceId = request.instanceId else {
            let member = isJoining ? members[memberId] ?? ConsumerGroupMember(id: memberId) : try member(memberId)
            try checkEpoch(request, member)
            return (member, nil)
        }
        let holder = staticMember(instanceId)
        guard isJoining else {
            let member = try staticMember(instanceId, claimedBy: memberId)
            try checkEpoch(request, member)
            return (member, nil)
        }
        guard let holder else { return (members[memberId] ?? ConsumerGroupMember(id: memberId), nil) }
        if !holder.isClassic && holder.epoch != ConsumerHeartbeat.leavingForAWhile {
            throw GroupRefusal(
                .unreleasedInstanceId,
                "Static member \(memberId) with instance id \(instanceId) cannot join the group because the instance id "
                    + "is owned by \(holder.id) member.")
        }
        return (successor(of: holder, memberId), holder)
    }

    /// The member that takes the place of a static member: its assignment, not its epoch.
    func successor(of holder: ConsumerGroupMember, _ memberId: String) -> ConsumerGroupMember {
        var successor = holder
        successor.id = memberId
        successor.epoch = 0
        successor.previousEpoch = 0
        return successor
    }

    mutating func replace(_ old: ConsumerGroupMember, by new: ConsumerGroupMember) {
        let target = targets[old.id]
        take(old.id)
        put(new)
        setTarget(target, of: new.id)
    }

    /// The static member, if this is the process that is it.
    func staticMember(_ instanceId: String, claimedBy memberId: String) throws(GroupRefusal) -> ConsumerGroupMember {
        guard let holder = staticMember(instanceId) else {
            throw GroupRefusal(.unknownMemberId, "Instance id \(instanceId) is unknown.")
        }
        guard holder.id == memberId else {
            throw GroupRefusal(
                .fencedInstanceId,
                "Static member \(memberId) with instance id \(instanceId) was fenced by member \(holder.id).")
        }
        return holder
    }

    private func checkEpoch(_ request: ConsumerHeartbeat, _ member: ConsumerGroupMember) throws(GroupRefusal) {
        let received = request.memberEpoch
        if received == member.epoch { return }
        // The answer that raised the epoch may have been lost.
        let owned = request.owned.map { TopicAssignment($0) }
        if received < member.epoch, received == member.previousEpoch, owned?.isSubset(of: member.assigned) == true {
            return
        }
        let how = received > member.epoch ? "greater" : "smaller"
        throw GroupRefusal(
            .fencedMemberEpoch,
            "The consumer group member has a \(how) member epoch (\(received)) than the one known by the group "
                + "coordinator (\(member.epoch)). The member must abandon all its partitions and rejoin.")
    }

    /// A member that has to give partitions up has its rebalance timeout for it; classic ones have timers of their own.
    private mutating func expectRevocation(
        of member: ConsumerGroupMember, before: ConsumerGroupMember, _ nowMs: Int64
    ) {
        guard member != before else { return }
        let timeoutMs = Int64(max(member.rebalanceTimeoutMs, 0))
        noteDeadline(of: member.id) {
            $0.revocationMs = member.state == .unrevoked ? nowMs + timeoutMs : nil
            $0.revocationEpoch = member.epoch
        }
    }
}
