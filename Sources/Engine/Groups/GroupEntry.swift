// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one group in the coordinator's table: its state machine, who waits on it, its offsets, and what the
// log has of it.
//
// Owned by `GroupTable`, under the coordinator's lock. A group is a classic or a consumer group, and can become the
// other; its offsets stay.

import NIOCore

struct GroupEntry: Sendable {
    let id: String
    /// Exactly one of these two is there. (Not an enumeration, so that they are changed in place.)
    private(set) var classic: ClassicGroup?
    private(set) var consumer: ConsumerGroup?
    var joins: [GroupToken: GroupWaiter<GroupJoinResponse>] = [:]
    var syncs: [GroupToken: GroupWaiter<GroupSyncResponse>] = [:]
    /// Topic → partition → position. Only what is durable.
    var offsets: [String: [Int32: CommittedOffset]] = [:]
    /// Wall clock: when the last member left, or when the group was loaded. Offsets are kept for the retention
    /// time from here at least. nil: neither ever happened.
    var idleSinceMs: Int64?
    var timer: Scheduled<Void>?
    /// When `timer` fires; `.max` without one.
    var timerDeadlineMs = Int64.max
    /// Records that the log has, or is about to have, a value of.
    private(set) var recorded: Set<GroupRecordKey> = []
    /// Records that the log has to be told of.
    private var unwritten: Set<GroupRecordKey> = []

    init(group: ClassicGroup) {
        id = group.id
        classic = group
    }

    init(group: ConsumerGroup) {
        id = group.id
        consumer = group
    }

    var nextDeadlineMs: Int64 { classic?.nextDeadlineMs ?? consumer?.nextDeadlineMs ?? .max }
    var retainedBytes: Int { (classic?.retainedBytes ?? 0) + (consumer?.retainedBytes ?? 0) }
    var isEmpty: Bool { classic.map { $0.state == .empty } ?? (consumer?.members.isEmpty != false) }
    /// Nothing would be lost if the group were forgotten (but for committed offsets and records).
    var isVacant: Bool { classic.map(\.isVacant) ?? isEmpty }

    // MARK: Use

    /// nil: the group is not classic.
    @discardableResult
    mutating func withClassic<Answer>(_ body: (inout ClassicGroup) -> Answer) -> Answer? {
        guard classic != nil else { return nil }
        return body(&classic!)
    }

    /// nil: the group is no consumer group.
    @discardableResult
    mutating func withConsumer<Answer>(_ body: (inout ConsumerGroup) -> Answer) -> Answer? {
        guard consumer != nil else { return nil }
        return body(&consumer!)
    }

    /// Another state machine takes over. What the log has of the old one is replaced.
    mutating func become(_ group: ClassicGroup) {
        unwritten.formUnion(recorded)
        classic = group
        consumer = nil
    }

    mutating func become(_ group: ConsumerGroup) {
        unwritten.formUnion(recorded)
        consumer = group
        classic = nil
    }

    // MARK: Actions

    /// Turns the machine's actions into answers and reports.
    mutating func execute(_ actions: [GroupAction], wallMs: Int64, into outcome: inout GroupOutcome) {
        for action in actions {
            switch action {
            case .answerJoin(let token, let response):
                if let waiter = joins.removeValue(forKey: token) {
                    outcome.deliveries.append(
                        waiter.delivery(of: response) { GroupJoinResponse(error: $0, memberId: response.memberId) })
                }
            case .answerSync(let token, let response):
                if let waiter = syncs.removeValue(forKey: token) {
                    outcome.deliveries.append(
                        waiter.delivery(of: response) { GroupSyncResponse(error: $0) })
                }
            case .report(let event): note(event, wallMs: wallMs, into: &outcome)
            }
        }
    }

    mutating func note(_ event: GroupEvent, wallMs: Int64, into outcome: inout GroupOutcome) {
        if case .becameEmpty = event { idleSinceMs = wallMs }
        outcome.reports.append((id, event))
    }

    // MARK: Records

    /// What the log has to be told since it was last asked for, in a fixed order, and the keys of that.
    mutating func takeRecords(wallMs: Int64) -> (keys: Set<GroupRecordKey>, records: [KeyedRecord]) {
        if classic?.isChanged == true {
            classic?.isChanged = false
            unwritten.insert(.classic)
        }
        if let changes = consumer?.changes, !changes.isEmpty {
            unwritten.formUnion(changes)
            consumer?.changes = []
        }
        if unwritten.isEmpty { return ([], []) }
        defer { unwritten = [] }
        var records: [KeyedRecord] = []
        for key in unwritten.sorted(by: { $0.isBefore($1) }) {
            let value = record(key, wallMs: wallMs)
            if value != nil {
                recorded.insert(key)
            } else if recorded.remove(key) == nil {
                continue
            }
            records.append((key.encode(groupId: id), value))
        }
        return (unwritten, records)
    }

    private func record(_ key: GroupRecordKey, wallMs: Int64) -> [UInt8]? {
        if let consumer { return consumer.record(key) }
        return key == .classic ? classic?.record(wallMs: wallMs) : nil
    }

    /// The write of these records failed: the log may have the old ones, the new ones or none.
    mutating func notWritten(_ keys: Set<GroupRecordKey>) {
        unwritten.formUnion(keys)
        recorded.formUnion(keys)
    }

    /// The log has these.
    mutating func loaded(_ keys: Set<GroupRecordKey>) {
        recorded = keys
        // What of them is not the group's is deleted with the next write.
        let own = consumer.map(\.recordKeys) ?? [.classic]
        unwritten.formUnion(keys.subtracting(own))
    }

    /// Deletions of everything that the log has of the group, which is about to be forgotten.
    mutating func takeTombstones() -> (keys: Set<GroupRecordKey>, records: [KeyedRecord]) {
        defer {
            recorded = []
            unwritten = []
        }
        return (recorded, recorded.sorted { $0.isBefore($1) }.map { ($0.encode(groupId: id), nil) })
    }

    /// All records that would restore the group.
    func state(wallMs: Int64) -> [KeyedRecord] {
        recorded.sorted { $0.isBefore($1) }.compactMap { key in
            record(key, wallMs: wallMs).map { (key.encode(groupId: id), $0) }
        }
    }

    // MARK: Offsets

    /// What the members consume, as far as the group can tell.
    var subscribedTopics: SubscribedTopics {
        if let classic { return classic.subscribedTopics }
        guard let consumer, !consumer.members.isEmpty else { return .none }
        return .these(consumer.subscribedNames)
    }

    /// The positions that retention no longer keeps (KIP-211): of a group without members, and of topics that
    /// a stable group of consumers does not consume any more. Kafka counts from when the group became empty
    /// even if an offset was committed later; here the later of both counts.
    func expiredOffsets(nowMs: Int64, retentionMs: Int64) -> [OffsetKey] {
        if let classic, classic.state != .empty {
            let isConsumers = classic.protocolType == ConsumerSubscription.protocolType
            guard isConsumers && classic.state == .stable else { return [] }
        }
        let inUse = subscribedTopics
        var expired: [OffsetKey] = []
        for (topic, partitions) in offsets where !inUse.contains(topic) {
            for (partition, offset) in partitions {
                let keptUntilMs =
                    offset.expireTimestampMs
                    ?? max(offset.commitTimestampMs, idleSinceMs ?? .min).addingWithoutOverflow(retentionMs)
                guard nowMs >= keptUntilMs else { continue }
                expired.append(OffsetKey(groupId: id, topic: topic, partition: partition))
            }
        }
        return expired
    }
}

/// What is to be done once the lock is released, in this order.
struct GroupOutcome: Sendable {
    var reports: [(groupId: String, event: GroupEvent)] = []
    var deliveries: [GroupDelivery] = []
    /// Somebody has to schedule a flush of the queue of writes.
    var mustFlush = false
}
