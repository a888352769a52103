// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the state machine of one consumer group under KIP-848, whose assignments the broker makes.
//
// Owned by the group coordinator and used under its lock. No I/O, no clock, no randomness, no logging: an input is a
// method call with `nowMs` (monotonic milliseconds of any origin); every input is answered at once, whoever called sends
// the answer when the changes are durable. What changed is in `changes`, what is worth a log line in `events`. Timers are
// deadlines kept here, as in `ClassicGroup`.
//
//   subscriptions or topics change ──► group epoch + 1 ──► target assignment of that epoch ──► each member reconciles
//
//   Empty: no members. Assigning: the target is older than the group. Reconciling: a member is not where its target is.
//   Stable: all are.
//
// What must hold: a partition is held (assigned, or to be given up) by one member at a time; the target gives each
// partition of a subscribed topic to one subscriber; member epochs never go back; a member's epoch is the group's only
// if it gave up what it is not to have.
//
// Members may speak the classic protocol (online migration): ConsumerGroup+Classic.swift. Facts follow Apache Kafka 4.0
// (GroupMetadataManager, ConsumerGroup, CurrentAssignmentBuilder). This file has the data and what the inputs share.

import Bytes
import NIOCore

struct ConsumerGroup: Sendable {
    enum State: String, Sendable {
        case empty = "Empty"
        case assigning = "Assigning"
        case reconciling = "Reconciling"
        case stable = "Stable"
    }

    /// When what is expected of a member has to be there; nil: nothing is.
    struct Deadlines: Sendable {
        var sessionMs = Int64.max
        /// To give up partitions, in this epoch.
        var revocationMs: Int64?
        var revocationEpoch: Int32 = 0
        /// Of classic members: to join again, to sync.
        var joinMs: Int64?
        var syncMs: Int64?

        var earliestMs: Int64 {
            min(sessionMs, revocationMs ?? .max, joinMs ?? .max, syncMs ?? .max)
        }
    }

    /// What a pattern matches.
    struct Resolved: Sendable {
        var pattern: TopicPattern
        var topics: Set<String>
        /// Of the topics it was matched against.
        var version: Int64
        /// Wall clock.
        var timestampMs: Int64
        /// What the pattern may reveal to the member for which it was matched; nil: that member was not heard of since
        /// the start. Rights are looked at again after some time (`patternRefreshMs`).
        var mayDescribe: TopicRights?
        var resolvedMs: Int64 = 0

        func covers(_ topic: String) -> Bool { pattern.matches(topic) && mayDescribe?(topic) ?? true }
    }

    let id: String
    let configuration: GroupConfiguration
    var overrides = GroupOverrides()
    var groupEpoch: Int32 = 0
    var assignmentEpoch: Int32 = 0
    private(set) var members: [String: ConsumerGroupMember] = [:]
    private(set) var staticMembers: [String: String] = [:]
    /// What each member is to have.
    var targets: [String: TopicAssignment] = [:]
    /// The subscribed topics as they were when the target was last due for a change.
    var topics: [String: GroupTopic] = [:]
    /// Text → what it matches; exactly the patterns that members have.
    var patterns: [String: Resolved] = [:]
    /// A topic that may concern the group changed.
    var mustRefresh = false
    var deadlines: [String: Deadlines] = [:]
    /// The last member that spoke the new protocol left, and classic ones are still there.
    var mustDowngrade = false
    /// It left for good, rather than come back as a classic member: what it had is to be given to others.
    var mustRebalance = false

    /// What the log does not have yet.
    var changes: Set<GroupRecordKey> = []
    var events: [GroupEvent] = []
    /// No deadline lies before this; `.max` when there is none.
    var nextDeadlineMs = Int64.max
    private(set) var retainedBytes = 0

    private var holders: [TopicId: [Int32: String]] = [:]
    private(set) var classicCount = 0

    init(id: String, configuration: GroupConfiguration) {
        self.id = id
        self.configuration = configuration
    }

    var state: State {
        if members.isEmpty { return .empty }
        if groupEpoch > assignmentEpoch { return .assigning }
        return members.values.allSatisfy { $0.isReconciled(to: assignmentEpoch) } ? .stable : .reconciling
    }

    var sessionTimeoutMs: Int32 { overrides.sessionTimeoutMs ?? configuration.consumerSessionTimeoutMs }
    var heartbeatIntervalMs: Int32 { overrides.heartbeatIntervalMs ?? configuration.consumerHeartbeatIntervalMs }

    func isHeld(_ topicId: TopicId, _ partition: Int32) -> Bool { holders[topicId]?[partition] != nil }

    var membersById: [ConsumerGroupMember] { members.values.sorted { $0.id < $1.id } }

    // MARK: Members

    func member(_ memberId: String) throws(GroupRefusal) -> ConsumerGroupMember {
        guard let member = members[memberId] else {
            throw GroupRefusal(.unknownMemberId, "Member \(memberId) is not a member of group \(id).")
        }
        return member
    }

    /// The member with this instance id; nil: there is none.
    func staticMember(_ instanceId: String) -> ConsumerGroupMember? {
        staticMembers[instanceId].flatMap { members[$0] }
    }

    /// Adds or replaces a member, and notes what of it changed.
    mutating func put(_ member: ConsumerGroupMember) {
        let old = members[member.id]
        if old == member { return }
        if let old {
            retainedBytes -= old.retainedBytes
            release(old)
            if old.isClassic { classicCount -= 1 }
        }
        if old.map(member.differsInMetadata) ?? true { changes.insert(.member(member.id)) }
        if old.map(member.differsInAssignment) ?? true { changes.insert(.current(member.id)) }
        members[member.id] = member
        if let instance = member.instanceId { staticMembers[instance] = member.id }
        retainedBytes += member.retainedBytes
        if member.isClassic { classicCount += 1 }
        member.assigned.forEach { holders[$0, default: [:]][$1] = member.id }
        member.pendingRevocation.forEach { holders[$0, default: [:]][$1] = member.id }
    }

    private mutating func release(_ member: ConsumerGroupMember) {
        func free(_ topicId: TopicId, _ partition: Int32) {
            if holders[topicId]?[partition] == member.id { holders[topicId]?[partition] = nil }
            if holders[topicId]?.isEmpty == true { holders[topicId] = nil }
        }
        member.assigned.forEach(free)
        member.pendingRevocation.forEach(free)
    }

    /// Takes a member out with all that was planned for it.
    mutating func take(_ memberId: String) {
        guard let old = members.removeValue(forKey: memberId) else { return }
        retainedBytes -= old.retainedBytes
        release(old)
        if old.isClassic { classicCount -= 1 }
        if let instance = old.instanceId, staticMembers[instance] == memberId { staticMembers[instance] = nil }
        setTarget(nil, of: memberId)
        deadlines[memberId] = nil
        changes.formUnion([.member(memberId), .current(memberId), .target(memberId)])
    }

    mutating func setTarget(_ target: TopicAssignment?, of memberId: String) {
        let old = targets[memberId]
        if old == target { return }
        retainedBytes += 16 * ((target?.count ?? 0) - (old?.count ?? 0))
        targets[memberId] = target
        changes.insert(.target(memberId))
    }

    // MARK: Subscriptions

    /// Everything that members subscribe to, by name or by pattern, whether it exists or not.
    var subscribedNames: Set<String> {
        var names: Set<String> = []
        for member in members.values { names.formUnion(member.subscribedTopics) }
        for resolved in patterns.values { names.formUnion(resolved.topics) }
        return names
    }

    private func names(of member: ConsumerGroupMember) -> Set<String> {
        let byPattern = member.pattern.flatMap { patterns[$0]?.topics } ?? []
        return byPattern.union(member.subscribedTopics)
    }

    /// Looks at the subscribed topics as they are now. `hasChanged`: subscriptions did, so that the epoch rises
    /// whatever is found.
    mutating func refresh(_ all: GroupTopics, hasChanged: Bool, nowMs: Int64) {
        mustRefresh = false
        forgetPatterns()
        var current: [String: GroupTopic] = [:]
        for name in subscribedNames { current[name] = all.byName[name] }
        var isDue = hasChanged
        if current != topics {
            topics = current
            changes.insert(.topics)
            isDue = true
        }
        if isDue { bump() }
    }

    mutating func bump() {
        groupEpoch += 1
        changes.insert(.metadata)
        events.append(.epochRaised(groupEpoch, members: members.count))
    }

    private mutating func forgetPatterns() {
        let used = Set(members.values.compactMap(\.pattern))
        for text in patterns.keys where !used.contains(text) {
            patterns[text] = nil
            changes.insert(.pattern(text))
        }
    }

    /// Makes the target assignment of the group's epoch if it has none yet.
    mutating func assignIfDue() {
        guard groupEpoch > assignmentEpoch else { return }
        let ids = Dictionary(uniqueKeysWithValues: topics.values.map { ($0.name, $0.id) })
        let input = AssignorInput(
            members: membersById.map { member in
                AssignorInput.Member(
                    id: member.id, instanceId: member.instanceId,
                    topics: Set(names(of: member).compactMap { ids[$0] }),
                    assigned: targets[member.id] ?? TopicAssignment())
            },
            topics: Dictionary(uniqueKeysWithValues: topics.values.map { ($0.id, $0.partitions) }))
        for (memberId, target) in assignor.assign(input) { setTarget(target, of: memberId) }
        assignmentEpoch = groupEpoch
        changes.insert(.targetEpoch)
    }

    /// The one that most members ask for, the first configured one if none does.
    var assignor: Assignor {
        var votes: [Assignor: Int] = [:]
        for name in members.values.compactMap(\.assignor) {
            if let assignor = Assignor(rawValue: name) { votes[assignor, default: 0] += 1 }
        }
        let known = configuration.consumerAssignors
        guard let most = votes.values.max() else { return known.first ?? .uniform }
        return known.first { votes[$0] == most } ?? known.first ?? .uniform
    }

    /// The member's next step towards its target.
    func reconciled(_ member: ConsumerGroupMember, owned: TopicAssignment?) -> ConsumerGroupMember {
        if member.isReconciled(to: assignmentEpoch) { return member }
        return Reconciliation(
            targetEpoch: assignmentEpoch, target: targets[member.id] ?? TopicAssignment(), owned: owned,
            isHeld: isHeld
        ).next(of: member)
    }

    // MARK: Time

    mutating func noteDeadline(of memberId: String, _ change: (inout Deadlines) -> Void) {
        guard members[memberId] != nil else { return }
        change(&deadlines[memberId, default: Deadlines()])
        nextDeadlineMs = min(nextDeadlineMs, deadlines[memberId]?.earliestMs ?? .max)
    }

    mutating func takeEvents() -> [GroupEvent] {
        defer { events = [] }
        return events
    }
}
