// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one member of a consumer group (KIP-848), as its group's state machine keeps it.
//
// A value, owned by its `ConsumerGroup`. A member may speak the classic protocol inside a consumer group; `classic`
// then has what it said when it joined.

import Bytes
import NIOCore

struct ConsumerGroupMember: Equatable, Sendable {
    /// How far the member is on its way to its target. The numbers are those of its record.
    enum State: Int8, Sendable {
        /// It has what its epoch says.
        case stable = 0
        /// It has to give partitions up before it goes on.
        case unrevoked = 1
        /// It waits for partitions that others have not given up.
        case unreleased = 2
    }

    /// What a member brought that joined with JoinGroup.
    struct Classic: Equatable, Sendable {
        var sessionTimeoutMs: Int32
        /// In order of preference; metadata is a ConsumerProtocolSubscription.
        var protocols: [GroupProtocol]
    }

    var id: String
    var epoch: Int32 = 0
    /// Accepted too, from a member that missed the answer with the new one.
    var previousEpoch: Int32 = 0
    var state = State.stable
    var instanceId: String?
    var rackId: String?
    var clientId = ""
    var clientHost = ""
    var rebalanceTimeoutMs: Int32 = -1
    /// Sorted, distinct.
    var subscribedTopics: [String] = []
    /// nil: none.
    var pattern: String?
    var assignor: String?
    var assigned = TopicAssignment()
    var pendingRevocation = TopicAssignment()
    var classic: Classic?

    init(id: String) {
        self.id = id
    }

    var isClassic: Bool { classic != nil }

    func isReconciled(to epoch: Int32) -> Bool { state == .stable && self.epoch == epoch }

    /// Goes on to `epoch` (or stays) in `state`.
    func moved(to epoch: Int32, _ state: State, assigned: TopicAssignment, pendingRevocation: TopicAssignment)
        -> ConsumerGroupMember
    {
        var next = self
        next.previousEpoch = self.epoch
        next.epoch = epoch
        next.state = state
        next.assigned = assigned
        next.pendingRevocation = pendingRevocation
        return next
    }

    /// Whether what its record of metadata says differs.
    func differsInMetadata(from other: ConsumerGroupMember) -> Bool {
        instanceId != other.instanceId || rackId != other.rackId || clientId != other.clientId
            || clientHost != other.clientHost || rebalanceTimeoutMs != other.rebalanceTimeoutMs
            || subscribedTopics != other.subscribedTopics || pattern != other.pattern
            || assignor != other.assignor || classic != other.classic
    }

    /// Whether what its record of the current assignment says differs.
    func differsInAssignment(from other: ConsumerGroupMember) -> Bool {
        epoch != other.epoch || previousEpoch != other.previousEpoch || state != other.state
            || assigned != other.assigned || pendingRevocation != other.pendingRevocation
    }

    var retainedBytes: Int {
        var bytes = 512 + id.utf8.count + clientId.utf8.count + clientHost.utf8.count
        bytes += (instanceId?.utf8.count ?? 0) + (rackId?.utf8.count ?? 0) + (pattern?.utf8.count ?? 0)
        for topic in subscribedTopics { bytes += 32 + topic.utf8.count }
        for each in classic?.protocols ?? [] { bytes += 64 + each.name.utf8.count + each.metadata.readableBytes }
        return bytes + 16 * (assigned.count + pendingRevocation.count)
    }
}
