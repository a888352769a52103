// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one group in the coordinator's table: its state machine, who waits on it, its offsets.
//
// Owned by `GroupTable`, under the coordinator's lock.

import NIOCore

struct GroupEntry: Sendable {
    var group: ClassicGroup
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

    init(group: ClassicGroup) {
        self.group = group
    }

    /// Turns the machine's actions into answers and reports.
    mutating func execute(_ actions: [GroupAction], wallMs: Int64, into outcome: inout GroupOutcome) {
        for action in actions {
            switch action {
            case .answerJoin(let token, let response):
                if let waiter = joins.removeValue(forKey: token) {
                    outcome.deliveries.append(waiter.delivery(of: response))
                }
            case .answerSync(let token, let response):
                if let waiter = syncs.removeValue(forKey: token) {
                    outcome.deliveries.append(waiter.delivery(of: response))
                }
            case .report(let event):
                if case .becameEmpty = event { idleSinceMs = wallMs }
                outcome.reports.append((group.id, event))
            }
        }
    }

    /// The positions that retention no longer keeps (KIP-211): of a group without members, and of topics that
    /// a stable group of consumers does not consume any more. Kafka counts from when the group became empty
    /// even if an offset was committed later; here the later of both counts.
    func expiredOffsets(nowMs: Int64, retentionMs: Int64) -> [OffsetKey] {
        let isIdle = group.state == .empty
        let isConsumers = group.protocolType == ConsumerSubscription.protocolType
        guard isIdle || (isConsumers && group.state == .stable) else { return [] }
        let inUse = group.subscribedTopics
        var expired: [OffsetKey] = []
        for (topic, partitions) in offsets where !inUse.contains(topic) {
            for (partition, offset) in partitions {
                let keptUntilMs =
                    offset.expireTimestampMs
                    ?? max(offset.commitTimestampMs, idleSinceMs ?? .min).addingWithoutOverflow(retentionMs)
                guard nowMs >= keptUntilMs else { continue }
                expired.append(OffsetKey(groupId: group.id, topic: topic, partition: partition))
            }
        }
        return expired
    }
}

/// What is to be done once the lock is released, in this order.
struct GroupOutcome: Sendable {
    var reports: [(groupId: String, event: GroupEvent)] = []
    var deliveries: [GroupDelivery] = []
}
