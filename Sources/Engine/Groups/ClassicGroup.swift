// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the state machine of one consumer group under Kafka's classic protocol.
//
// Owned by the group coordinator and used under its lock. No I/O, no clock, no randomness, no logging: an input
// is a method call with `nowMs` (monotonic milliseconds of any origin), the output is a list of actions to
// execute in order. Parked requests are tokens. Timers are deadlines kept here: whoever owns the group calls
// `advance(nowMs:)` at or after `nextDeadlineMs`, which only ever lies too early, never too late.
//
//                join of the first member            all joined, or the rebalance timeout
//       Empty ──────────────────────► PreparingRebalance ──────────────► CompletingRebalance
//         ▲                              ▲   │       ▲                        │        │
//         │       nobody joined again    │   │       │  join, leave, expiry   │        │ the leader
//         └──────────────────────────────┼───┘       └────────────────────────┘        │ syncs
//                                        │                                             ▼
//                                        └────── join, leave, expiry ──────────────── Stable
//
// What must hold: every token is answered exactly once; a generation is handed out once; the leader is a
// member; only members that joined the current generation, and static members, are in a CompletingRebalance
// or Stable group; assignments are the leader's, of the current generation.
//
// Facts follow Apache Kafka 4.0 (group-coordinator module, ClassicGroup and GroupMetadataManager). Deliberate
// differences: a request that a later one of the same member supersedes, or whose member is removed, is
// answered (Kafka forgets it); where Kafka's choice depends on the order of a hash map (next leader, ties
// between protocols) the oldest member decides; the departure of a member that only ever got its id does not
// disturb a stable group. This file has the data and what it is asked; the inputs are in the extensions.

import NIOCore

package struct ClassicGroup: Sendable {
    /// What the end of the join phase waits for.
    enum JoinTimer: Equatable {
        /// First rebalance of an empty group: more members are likely to follow (KIP-134).
        case initial(deadlineMs: Int64, delayMs: Int64, remainingMs: Int64)
        /// Members have until then to join again.
        case rebalance(deadlineMs: Int64)

        var deadlineMs: Int64 {
            switch self {
            case .initial(let deadlineMs, _, _), .rebalance(let deadlineMs): deadlineMs
            }
        }
    }

    package let id: String
    let configuration: GroupConfiguration
    package internal(set) var state = GroupState.empty
    var previousState = GroupState.dead
    package internal(set) var generationId: Int32 = 0
    /// "consumer", "connect"; nil: a group that only ever committed offsets.
    package internal(set) var protocolType: String?
    package internal(set) var protocolName: String?
    package internal(set) var leaderId: String?

    var members: [String: GroupMember] = [:]
    /// `group.instance.id` → member id.
    var staticMembers: [String: String] = [:]
    /// Ids that were handed out with MEMBER_ID_REQUIRED → when they are forgotten.
    var pendingMembers: [String: Int64] = [:]
    /// Members that have not asked for this generation's assignment.
    var pendingSyncMembers: Set<String> = []
    /// Protocol name → how many members support it.
    var supportedProtocols: [String: Int] = [:]
    var parkedJoins = 0
    /// A member joined since the initial delay was last extended.
    var newMemberAdded = false
    var joinTimer: JoinTimer?
    var syncDeadlineMs: Int64?
    var nextSequence: UInt64 = 0
    var actions: [GroupAction] = []
    /// The log does not have the group as it is.
    var isChanged = false

    /// No deadline lies before this; `.max` when there is none.
    package internal(set) var nextDeadlineMs = Int64.max
    /// Bytes of members and assignments, for the coordinator's bound.
    package internal(set) var retainedBytes = 0

    package init(id: String, configuration: GroupConfiguration) {
        self.id = id
        self.configuration = configuration
    }

    package var memberCount: Int { members.count }

    /// Nothing would be lost if the group were forgotten (but for committed offsets, which live elsewhere).
    package var isVacant: Bool { state == .empty && pendingMembers.isEmpty }

    func isLeader(_ memberId: String) -> Bool { leaderId == memberId }

    var membersByAge: [GroupMember] { members.values.sorted { $0.sequence < $1.sequence } }

    var hasAllMembersJoined: Bool { members.count == parkedJoins && pendingMembers.isEmpty }

    /// The longest that any member needs to join again.
    var rebalanceTimeoutMs: Int64 {
        members.values.reduce(0) { max($0, $1.rebalanceTimeoutMs) }
    }

    /// Nobody is a member under this id, or another process took over its instance id.
    func validateMember(_ memberId: String, _ groupInstanceId: String?) throws(GroupError) {
        if let groupInstanceId {
            guard let current = staticMembers[groupInstanceId] else { throw .unknownMemberId }
            guard current == memberId else { throw .fencedInstanceId }
        }
        guard members[memberId] != nil else { throw .unknownMemberId }
    }

    // MARK: Protocols

    /// Whether a member with these protocols could be in the group: one of them is supported by all.
    func supports(_ type: String, _ protocols: [GroupProtocol]) -> Bool {
        if state == .empty { return !type.isEmpty && !protocols.isEmpty }
        return type == protocolType
            && protocols.contains { supportedProtocols[$0.name, default: 0] == members.count }
    }

    func count(_ protocols: [GroupProtocol], by step: Int, in counts: inout [String: Int]) {
        for each in protocols {
            let count = counts[each.name, default: 0] + step
            counts[each.name] = count == 0 ? nil : count
        }
    }

    /// Each member votes for the first of its protocols that all support; the most votes win, and
    /// between equals the older voter.
    func selectProtocol() -> String? {
        var votes: [(name: String, count: Int)] = []
        for member in membersByAge {
            guard let vote = member.protocols.first(where: { supportedProtocols[$0.name] == members.count })
            else { continue }
            if let index = votes.firstIndex(where: { $0.name == vote.name }) {
                votes[index].count += 1
            } else {
                votes.append((vote.name, 1))
            }
        }
        guard let most = votes.map(\.count).max() else { return nil }
        return votes.first { $0.count == most }?.name
    }

    // MARK: Bookkeeping shared by the inputs

    mutating func transition(to next: GroupState) {
        precondition(state.allows(next), "group \(id): no way from \(state) to \(next)")
        previousState = state
        state = next
    }

    /// The state of a group that has been before.
    mutating func begin(_ state: GroupState) {
        self.state = state
        previousState = state == .stable ? .completingRebalance : .preparingRebalance
    }

    /// A member that was one before: nothing of it is parked.
    mutating func restore(_ member: GroupMember) {
        members[member.id] = member
        nextSequence = max(nextSequence, member.sequence + 1)
        if let instance = member.groupInstanceId { staticMembers[instance] = member.id }
        retainedBytes += member.retainedBytes
        count(member.protocols, by: 1, in: &supportedProtocols)
    }

    mutating func selectProtocolAnew() { protocolName = selectProtocol() }

    mutating func noteDeadline(_ deadlineMs: Int64) {
        nextDeadlineMs = min(nextDeadlineMs, deadlineMs)
    }

    /// The member was heard of (or is to be heard of): it has `timeoutMs`, or its session timeout, from now.
    mutating func expectHeartbeat(of memberId: String, nowMs: Int64, within timeoutMs: Int64? = nil) {
        guard let session = members[memberId]?.sessionTimeoutMs else { return }
        let deadlineMs = nowMs + (timeoutMs ?? session)
        members[memberId]?.deadlineMs = deadlineMs
        noteDeadline(deadlineMs)
    }

    mutating func answerJoin(of memberId: String, _ response: GroupJoinResponse) {
        guard let token = members[memberId]?.joinToken else { return }
        members[memberId]?.joinToken = nil
        parkedJoins -= 1
        actions.append(.answerJoin(token, response))
    }

    mutating func answerSync(of memberId: String, _ response: GroupSyncResponse) -> Bool {
        guard let token = members[memberId]?.syncToken else { return false }
        members[memberId]?.syncToken = nil
        actions.append(.answerSync(token, response))
        return true
    }

    mutating func takeActions() -> [GroupAction] {
        if actions.isEmpty { return [] }
        defer { actions = [] }
        return actions
    }

    /// An id was handed out with MEMBER_ID_REQUIRED.
    mutating func addPending(_ memberId: String, untilMs deadlineMs: Int64) {
        if pendingMembers.updateValue(deadlineMs, forKey: memberId) == nil {
            retainedBytes += Self.pendingCost(memberId)
        }
        noteDeadline(deadlineMs)
    }

    /// Whether the id was pending.
    @discardableResult
    mutating func removePending(_ memberId: String) -> Bool {
        guard pendingMembers.removeValue(forKey: memberId) != nil else { return false }
        retainedBytes -= Self.pendingCost(memberId)
        return true
    }

    private static func pendingCost(_ memberId: String) -> Int { 96 + memberId.utf8.count }

    /// Takes a member out. What it has parked is answered with UNKNOWN_MEMBER_ID, so that a client that is
    /// still there joins again.
    mutating func remove(_ memberId: String) {
        answerJoin(of: memberId, GroupJoinResponse(error: .unknownMemberId, memberId: ""))
        _ = answerSync(of: memberId, GroupSyncResponse(error: .unknownMemberId))
        guard let member = members.removeValue(forKey: memberId) else { return }
        retainedBytes -= member.retainedBytes
        count(member.protocols, by: -1, in: &supportedProtocols)
        if let instance = member.groupInstanceId { staticMembers[instance] = nil }
        pendingSyncMembers.remove(memberId)
        if isLeader(memberId) { leaderId = members.values.min { $0.sequence < $1.sequence }?.id }
    }
}
