// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a group as its records in the log tell, collected at start, before it is made.
//
// A log can be damaged or come from elsewhere: records that contradict each other are settled here, so that what must
// hold of a group holds of every group that is loaded.

import Bytes
import NIOCore

struct GroupImage {
    private var classic: ClassicGroupRecord?
    private var epoch: Int32?
    private var targetEpoch: Int32 = 0
    private var topics: [GroupTopic] = []
    private var members: [String: ConsumerGroupMember] = [:]
    private var targets: [String: TopicAssignment] = [:]
    private var currents: [String: ConsumerGroupMember] = [:]
    private var patterns: [String: ConsumerGroup.Resolved] = [:]
    /// What the log has a value of.
    private(set) var recorded: Set<GroupRecordKey> = []

    /// Takes a record in; false: it is malformed, and the one before it counts.
    mutating func apply(_ key: GroupRecordKey, _ value: ByteBuffer?) -> Bool {
        guard let value else {
            recorded.remove(key)
            remove(key)
            return true
        }
        recorded.insert(key)
        switch key {
        case .classic: return Self.set(ClassicGroupRecord(value), &classic)
        case .metadata: return Self.set(ConsumerGroupRecord.epoch(value), &epoch)
        case .targetEpoch: return Self.replace(&targetEpoch, by: ConsumerGroupRecord.epoch(value))
        case .topics: return Self.replace(&topics, by: ConsumerGroupRecord.topics(value))
        case .member(let id): return Self.set(ConsumerGroupRecord.member(id, value), &members[id])
        case .target(let id): return Self.set(ConsumerGroupRecord.assignment(value), &targets[id])
        case .current(let id): return Self.set(ConsumerGroupRecord.current(id, value), &currents[id])
        case .pattern(let text): return Self.set(ConsumerGroupRecord.pattern(text, value), &patterns[text])
        }
    }

    private static func set<Value>(_ read: Value?, _ place: inout Value?) -> Bool {
        guard let read else { return false }
        place = read
        return true
    }

    private static func replace<Value>(_ place: inout Value, by read: Value?) -> Bool {
        guard let read else { return false }
        place = read
        return true
    }

    private mutating func remove(_ key: GroupRecordKey) {
        switch key {
        case .classic: classic = nil
        case .metadata: epoch = nil
        case .targetEpoch: targetEpoch = 0
        case .topics: topics = []
        case .member(let id): members[id] = nil
        case .target(let id): targets[id] = nil
        case .current(let id): currents[id] = nil
        case .pattern(let text): patterns[text] = nil
        }
    }

    // MARK: Make

    /// The consumer group, if it is one. What was put right is among its changes.
    func consumerGroup(id: String, configuration: GroupConfiguration, nowMs: Int64) -> ConsumerGroup? {
        guard let epoch else { return nil }
        var group = ConsumerGroup(id: id, configuration: configuration)
        group.groupEpoch = max(epoch, 0)
        group.assignmentEpoch = min(max(targetEpoch, 0), group.groupEpoch)
        for topic in topics { group.topics[topic.name] = topic }
        var isMended = false
        // Who has the higher epoch has a partition that two are said to have.
        let ordered = members.values.sorted {
            (currents[$0.id]?.epoch ?? 0, $1.id) > (currents[$1.id]?.epoch ?? 0, $0.id)
        }
        for said in ordered {
            var member = said
            if let current = currents[said.id] {
                member.epoch = min(current.epoch, group.groupEpoch)
                member.previousEpoch = current.previousEpoch
                member.state = current.state
                member.assigned = current.assigned
                member.pendingRevocation = current.pendingRevocation
            }
            let isTaken =
                (member.assigned.list + member.pendingRevocation.list).contains { topic in
                    topic.partitions.contains { group.isHeld(topic.topicId, $0) }
                } || member.assigned.intersects(member.pendingRevocation)
                || member.instanceId.flatMap { group.staticMember($0) } != nil
            if isTaken {
                isMended = true
                continue
            }
            group.put(member)
            group.setTarget(targets[member.id] ?? TopicAssignment(), of: member.id)
        }
        for text in Set(members.values.compactMap(\.pattern)) { group.patterns[text] = patterns[text] }
        let keys = group.recordKeys
        group.changes = isMended ? keys : []
        // Topics may have come and gone since.
        group.mustRefresh = true
        group.expectEverybody(nowMs: nowMs)
        return group
    }

    /// The classic group, if it is one, and when it became what it is.
    func classicGroup(
        id: String, configuration: GroupConfiguration, nowMs: Int64
    ) -> (group: ClassicGroup, stateSinceMs: Int64?)? {
        guard let classic else { return nil }
        var group = ClassicGroup(
            id: id, configuration: configuration, generationId: classic.generationId,
            protocolType: classic.protocolType, protocolName: classic.protocolName, leaderId: classic.leaderId,
            members: classic.members, nowMs: nowMs)
        group.isChanged = false
        return (group, classic.stateSinceMs)
    }
}
