// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a member says when it joins a group, and what it is told.
//
// Free of wire formats and versions: what depends on a version of JoinGroup is a flag here.

import NIOCore

/// A protocol (Kafka: assignor) that a member supports, with what the leader needs to know of the member.
package struct GroupProtocol: Equatable, Sendable {
    package var name: String
    package var metadata: ByteBuffer

    package init(name: String, metadata: ByteBuffer) {
        self.name = name
        self.metadata = metadata
    }
}

package struct GroupJoinRequest: Sendable {
    package var groupId: String
    /// Empty: a member that has no id yet.
    package var memberId: String
    /// `group.instance.id` of a static member (KIP-345).
    package var groupInstanceId: String?
    package var clientId: String
    /// As Kafka shows it: "/127.0.0.1".
    package var clientHost: String
    package var sessionTimeoutMs: Int32
    /// How long the member needs to join again; the session timeout where the request has none (v0).
    package var rebalanceTimeoutMs: Int32
    package var protocolType: String
    package var protocols: [GroupProtocol]
    /// v4 and later: a new dynamic member gets MEMBER_ID_REQUIRED and joins again with its id (KIP-394).
    package var requiresKnownMemberId: Bool
    /// v9 and later: a static leader can be told not to assign (KIP-814).
    package var supportsSkippingAssignment: Bool
    package var reason: String?

    package init(
        groupId: String, memberId: String, groupInstanceId: String? = nil, clientId: String, clientHost: String,
        sessionTimeoutMs: Int32, rebalanceTimeoutMs: Int32, protocolType: String, protocols: [GroupProtocol],
        requiresKnownMemberId: Bool, supportsSkippingAssignment: Bool, reason: String? = nil
    ) {
        self.groupId = groupId
        self.memberId = memberId
        self.groupInstanceId = groupInstanceId
        self.clientId = clientId
        self.clientHost = clientHost
        self.sessionTimeoutMs = sessionTimeoutMs
        self.rebalanceTimeoutMs = rebalanceTimeoutMs
        self.protocolType = protocolType
        self.protocols = protocols
        self.requiresKnownMemberId = requiresKnownMemberId
        self.supportsSkippingAssignment = supportsSkippingAssignment
        self.reason = reason
    }

    /// What keeping this member costs, roughly: its bytes and a flat charge per protocol.
    var retainedBytes: Int {
        var bytes = 256 + memberId.utf8.count + clientId.utf8.count + clientHost.utf8.count
        bytes += (groupInstanceId?.utf8.count ?? 0) + protocolType.utf8.count
        for each in protocols { bytes += 64 + each.name.utf8.count + each.metadata.readableBytes }
        return bytes
    }
}

package struct GroupJoinResponse: Equatable, Sendable {
    /// A member as the leader sees it.
    package struct Member: Equatable, Sendable {
        package var memberId: String
        package var groupInstanceId: String?
        package var metadata: ByteBuffer
    }

    package var error: GroupError?
    package var generationId: Int32 = -1
    package var protocolType: String?
    package var protocolName: String?
    /// Empty when there is an error.
    package var leaderId = ""
    package var skipAssignment = false
    package var memberId: String
    /// All members for the leader, none for a follower.
    package var members: [Member] = []

    package init(error: GroupError?, memberId: String) {
        self.error = error
        self.memberId = memberId
    }
}
