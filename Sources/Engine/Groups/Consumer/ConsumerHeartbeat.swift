// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a member of a consumer group (KIP-848) says with its heartbeat, and what it is told.
//
// Free of wire formats: gRPC subscribers join groups with the same values.

import Bytes

/// Whether somebody may know of a topic.
package typealias TopicRights = @Sendable (_ topic: String) -> Bool

package struct ConsumerHeartbeat: Sendable {
    /// Member epochs with a meaning of their own.
    package static let joining: Int32 = 0
    package static let leaving: Int32 = -1
    /// A static member leaves, and will be back.
    package static let leavingForAWhile: Int32 = -2

    package var groupId: String
    /// Made by the member (by the coordinator if empty, where `mayLackId` allows).
    package var memberId: String
    package var memberEpoch: Int32
    package var instanceId: String?
    package var rackId: String?
    /// nil: as before.
    package var rebalanceTimeoutMs: Int32?
    package var clientId: String
    package var clientHost: String
    /// nil: as before.
    package var subscribedTopics: [String]?
    /// In RE2's syntax; nil: as before, empty: none.
    package var subscribedPattern: String?
    /// Which topics the pattern may reveal to the member; nil: all.
    package var mayDescribe: TopicRights?
    /// nil: as before.
    package var assignor: String?
    /// What the member owns; nil: as it was told last.
    package var owned: [TopicIdPartitions]?
    /// Version 0 of the heartbeat lets the coordinator make the id.
    package var mayLackId: Bool

    package init(
        groupId: String, memberId: String, memberEpoch: Int32, instanceId: String? = nil, rackId: String? = nil,
        rebalanceTimeoutMs: Int32? = nil, clientId: String = "", clientHost: String = "",
        subscribedTopics: [String]? = nil, subscribedPattern: String? = nil, assignor: String? = nil,
        owned: [TopicIdPartitions]? = nil, mayLackId: Bool = false
    ) {
        self.groupId = groupId
        self.memberId = memberId
        self.memberEpoch = memberEpoch
        self.instanceId = instanceId
        self.rackId = rackId
        self.rebalanceTimeoutMs = rebalanceTimeoutMs
        self.clientId = clientId
        self.clientHost = clientHost
        self.subscribedTopics = subscribedTopics
        self.subscribedPattern = subscribedPattern
        self.assignor = assignor
        self.owned = owned
        self.mayLackId = mayLackId
    }

    var isLeaving: Bool { memberEpoch == Self.leaving || memberEpoch == Self.leavingForAWhile }

    /// Everything is said anew: the member joins, or lost track of what it was told.
    var isFull: Bool {
        memberEpoch == Self.joining
            || (rebalanceTimeoutMs != nil && (subscribedTopics != nil || subscribedPattern != nil) && owned != nil)
    }

    /// What keeping the member costs, roughly.
    var retainedBytes: Int {
        var bytes = 256 + memberId.utf8.count + clientId.utf8.count + clientHost.utf8.count
        bytes += (instanceId?.utf8.count ?? 0) + (rackId?.utf8.count ?? 0) + (subscribedPattern?.utf8.count ?? 0)
        for topic in subscribedTopics ?? [] { bytes += 32 + topic.utf8.count }
        return bytes
    }
}

package struct ConsumerHeartbeatAnswer: Equatable, Sendable {
    package var memberId: String
    package var memberEpoch: Int32
    package var heartbeatIntervalMs: Int32
    /// What the member may have now; nil: as it was told last.
    package var assignment: [TopicIdPartitions]?
}

/// An error and what is to be said about it.
package struct GroupRefusal: Error, Equatable, Sendable {
    package var error: GroupError
    package var message: String

    package init(_ error: GroupError, _ message: String) {
        self.error = error
        self.message = message
    }

    package init(_ error: GroupError) {
        self.init(error, error.description)
    }
}

/// What is configured for one group alone; nil: as for all.
package struct GroupOverrides: Equatable, Sendable {
    package var sessionTimeoutMs: Int32?
    package var heartbeatIntervalMs: Int32?

    package init(sessionTimeoutMs: Int32? = nil, heartbeatIntervalMs: Int32? = nil) {
        self.sessionTimeoutMs = sessionTimeoutMs
        self.heartbeatIntervalMs = heartbeatIntervalMs
    }

    /// What a group's configuration says, by key; nil if nothing.
    init?(_ configuration: [String: String]) {
        if configuration.isEmpty { return nil }
        sessionTimeoutMs = configuration[GroupConfigurationKeys.sessionTimeout].flatMap { Int32($0) }
        heartbeatIntervalMs = configuration[GroupConfigurationKeys.heartbeatInterval].flatMap { Int32($0) }
    }
}
