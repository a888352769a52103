// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what an entry does for consumer groups: it becomes one, and stops being one.

import NIOCore

extension GroupEntry {
    var listing: GroupListing {
        if let consumer { return consumer.listing }
        return classic?.listing ?? GroupListing(groupId: id, protocolType: "", state: "Dead", type: .classic)
    }

    mutating func validateCommit(_ commit: OffsetCommit, nowMs: Int64) throws(GroupError) {
        if let consumer { return try consumer.validateCommit(commit) }
        let error = withClassic { classic -> GroupError? in
            do throws(GroupError) {
                try classic.validateCommit(commit.member, generationId: commit.generationId, nowMs: nowMs)
                return nil
            } catch {
                return error
            }
        }
        if let error = error.flatMap({ $0 }) { throw error }
    }

    /// A member of the new protocol joins a group that may be classic: with members it becomes a consumer group that has
    /// them, without it just makes room.
    mutating func becomeConsumer(
        topics: GroupTopics, nowMs: Int64, wallMs: Int64, into outcome: inout GroupOutcome
    ) throws(GroupRefusal) {
        guard var old = classic else { return }
        if old.state == .empty {
            become(ConsumerGroup(id: id, configuration: old.configuration))
            return
        }
        guard old.state != .dead, let group = ConsumerGroup(upgrading: old, topics: topics, nowMs: nowMs) else {
            throw GroupRefusal(.groupIdNotFound, "Group \(id) is not a consumer group.")
        }
        let actions = old.dissolve()
        become(group)
        execute(actions, wallMs: wallMs, into: &outcome)
    }

    /// What follows an input of a consumer group: its reports, and its end if only classic members are left.
    mutating func settleConsumer(
        topics: GroupTopics, nowMs: Int64, wallMs: Int64, into outcome: inout GroupOutcome
    ) {
        guard let events = withConsumer({ $0.takeEvents() }) else { return }
        for event in events { note(event, wallMs: wallMs, into: &outcome) }
        guard let old = consumer, old.mustDowngrade else { return }
        var group = ClassicGroup(downgrading: old, topics: topics, nowMs: nowMs)
        let actions = old.mustRebalance ? group.rebalanceAfterDowngrade(nowMs: nowMs) : []
        become(group)
        execute(actions, wallMs: wallMs, into: &outcome)
    }
}
