// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how a classic group gets from one generation to the next.
//
// No inputs here: the steps that joins, leaves and expiries share.

import NIOCore

extension ClassicGroup {
    /// When no member at all has joined again, the phase is repeated no sooner than this, whatever the
    /// members' own timeout says (0, from some clients).
    private static var repeatedJoinFloorMs: Int64 { 100 }

    mutating func rebalanceOrCompleteJoin(because reason: String, _ clientReason: String?, _ nowMs: Int64) {
        if state.allows(.preparingRebalance) {
            prepareRebalance(because: reason, clientReason, nowMs)
        } else {
            completeJoinIfAllJoined(nowMs)
        }
    }

    mutating func prepareRebalance(because reason: String, _ clientReason: String?, _ nowMs: Int64) {
        if state == .completingRebalance { abandonAssignments(nowMs) }
        pendingSyncMembers = []
        syncDeadlineMs = nil
        let isInitial = state == .empty
        transition(to: .preparingRebalance)
        let said = clientReason.map { "; client's reason: \($0.prefix(255))" } ?? ""
        actions.append(.report(.rebalanceStarted(generationId: generationId, reason: reason + said)))
        if isInitial {
            newMemberAdded = false
            waitForMore(
                delayMs: configuration.initialRebalanceDelayMs,
                remainingMs: max(rebalanceTimeoutMs - configuration.initialRebalanceDelayMs, 0), nowMs)
        } else if hasAllMembersJoined {
            completeJoin(nowMs)
        } else {
            waitForMembers(timeoutMs: rebalanceTimeoutMs, nowMs)
        }
    }

    /// Members that wait for an assignment of the generation that just ended join again.
    private mutating func abandonAssignments(_ nowMs: Int64) {
        for memberId in members.keys {
            assign(ByteBuffer(), to: memberId)
            if answerSync(of: memberId, GroupSyncResponse(error: .rebalanceInProgress)) {
                expectHeartbeat(of: memberId, nowMs: nowMs)
            }
        }
    }

    private mutating func waitForMore(delayMs: Int64, remainingMs: Int64, _ nowMs: Int64) {
        let timer = JoinTimer.initial(
            deadlineMs: nowMs + delayMs, delayMs: delayMs, remainingMs: remainingMs)
        joinTimer = timer
        noteDeadline(timer.deadlineMs)
    }

    private mutating func waitForMembers(timeoutMs: Int64, _ nowMs: Int64) {
        joinTimer = .rebalance(deadlineMs: nowMs + timeoutMs)
        noteDeadline(nowMs + timeoutMs)
    }

    mutating func joinTimerFired(_ timer: JoinTimer, _ nowMs: Int64) {
        if case .initial(_, let delayMs, let remainingMs) = timer, newMemberAdded, remainingMs > 0 {
            newMemberAdded = false
            waitForMore(
                delayMs: min(configuration.initialRebalanceDelayMs, remainingMs),
                remainingMs: max(remainingMs - delayMs, 0), nowMs)
        } else {
            completeJoin(nowMs)
        }
    }

    /// The first rebalance always takes its delay; later ones end when the last member is there.
    mutating func completeJoinIfAllJoined(_ nowMs: Int64) {
        guard state == .preparingRebalance, previousState != .empty, hasAllMembersJoined else { return }
        completeJoin(nowMs)
    }

    /// The join phase ends: dynamic members that did not join again are out, the others are the next generation.
    mutating func completeJoin(_ nowMs: Int64) {
        joinTimer = nil
        removeAbsentMembers()
        guard electLeader() || members.isEmpty else {
            // Only static members, none of them back: wait until one is, or their sessions end.
            waitForMembers(timeoutMs: max(rebalanceTimeoutMs, Self.repeatedJoinFloorMs), nowMs)
            return
        }
        generationId = generationId == .max ? 1 : generationId + 1
        pendingSyncMembers = []
        if members.isEmpty {
            protocolName = nil
            transition(to: .empty)
            isChanged = true
            actions.append(.report(.becameEmpty(generationId: generationId)))
        } else {
            protocolName = selectProtocol()
            transition(to: .completingRebalance)
            startGeneration(nowMs)
        }
    }

    private mutating func removeAbsentMembers() {
        let absent = members.values.filter { $0.joinToken == nil && !$0.isStatic }.map(\.id)
        guard !absent.isEmpty else { return }
        for memberId in absent { remove(memberId) }
        actions.append(.report(.membersRemoved(absent, cause: "they did not join again in time")))
    }

    /// Whether there is a leader that takes part: the old one, or the oldest member that joined.
    private mutating func electLeader() -> Bool {
        guard let leaderId else { return false }
        if members[leaderId]?.joinToken != nil { return true }
        guard let next = members.values.filter({ $0.joinToken != nil }).min(by: { $0.sequence < $1.sequence })
        else { return false }
        self.leaderId = next.id
        return true
    }

    private mutating func startGeneration(_ nowMs: Int64) {
        actions.append(
            .report(
                .joinCompleted(
                    generationId: generationId, members: members.count, leaderId: leaderId ?? "",
                    protocolName: protocolName ?? "")))
        for member in membersByAge {
            answerJoin(of: member.id, currentGeneration(for: member.id, withMembers: isLeader(member.id)))
            members[member.id]?.isNew = false
            expectHeartbeat(of: member.id, nowMs: nowMs)
            pendingSyncMembers.insert(member.id)
        }
        let deadlineMs = nowMs + rebalanceTimeoutMs
        syncDeadlineMs = deadlineMs
        noteDeadline(deadlineMs)
    }

    mutating func assign(_ assignment: ByteBuffer, to memberId: String) {
        guard let old = members[memberId]?.assignment.readableBytes else { return }
        members[memberId]?.assignment = assignment
        retainedBytes += assignment.readableBytes - old
    }
}
