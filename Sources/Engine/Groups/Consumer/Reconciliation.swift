// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the next step of a member from what it has to what it is to have (KIP-848).
//
// A pure function. A member first gives up what it is not to have any more, in its old epoch; then it goes to the new
// epoch and gets what is free; what others still have it gets later, in that epoch.
//
//    stable ── something to give up ──► unrevoked ── given up ──┐
//      ▲ │                                                      ▼
//      │ └──────────── nothing to give up ────────► target epoch, what is free assigned
//      │                                                        │
//      └── all there ◄── unreleased ◄── some of it is others' ──┘

import Bytes

struct Reconciliation {
    let targetEpoch: Int32
    let target: TopicAssignment
    /// What the member says it owns; nil: it did not say.
    let owned: TopicAssignment?
    /// Whether a member, this one included, has the partition or has yet to give it up.
    let isHeld: (TopicId, Int32) -> Bool

    func next(of member: ConsumerGroupMember) -> ConsumerGroupMember {
        switch member.state {
        case .stable:
            return member.epoch == targetEpoch ? member : step(member, epoch: member.epoch)
        case .unrevoked:
            // Given up is what is not among what it says it owns.
            return stillOwns(member.pendingRevocation) ? member : step(member, epoch: member.epoch + 1)
        case .unreleased:
            return step(member, epoch: member.epoch)
        }
    }

    private func stillOwns(_ partitions: TopicAssignment) -> Bool {
        owned?.intersects(partitions) ?? true
    }

    private func step(_ member: ConsumerGroupMember, epoch: Int32) -> ConsumerGroupMember {
        var kept = TopicAssignment()
        var revoked = TopicAssignment()
        member.assigned.forEach { topicId, partition in
            if target.contains(topicId, partition) {
                kept.insert(topicId, partition)
            } else {
                revoked.insert(topicId, partition)
            }
        }
        if !revoked.isEmpty && stillOwns(revoked) {
            return member.moved(to: epoch, .unrevoked, assigned: kept, pendingRevocation: revoked)
        }
        var isWaiting = false
        var assigned = kept
        target.forEach { topicId, partition in
            guard !kept.contains(topicId, partition) else { return }
            if isHeld(topicId, partition) {
                isWaiting = true
            } else {
                assigned.insert(topicId, partition)
            }
        }
        return member.moved(
            to: targetEpoch, isWaiting ? .unreleased : .stable, assigned: assigned,
            pendingRevocation: TopicAssignment())
    }
}
