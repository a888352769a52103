// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what administrators are told about a group.

import NIOCore

/// A line of ListGroups.
package struct GroupListing: Equatable, Sendable {
    package var groupId: String
    /// Empty: a group that only ever committed offsets.
    package var protocolType: String
    /// As Kafka's tools print it.
    package var state: String
    package var type: GroupType
}

/// Which protocol a group speaks, under Kafka's names.
package enum GroupType: String, Sendable {
    case classic
    case consumer
}

/// An entry of DescribeGroups.
package struct GroupDescription: Equatable, Sendable {
    package struct Member: Equatable, Sendable {
        package var memberId: String
        package var groupInstanceId: String?
        package var clientId: String
        package var clientHost: String
        /// Of the chosen protocol, in a stable group.
        package var metadata: ByteBuffer
        package var assignment: ByteBuffer
    }

    package var groupId: String
    /// `.dead`: there is no such group.
    package var state: GroupState
    package var protocolType: String
    /// Of a stable group.
    package var protocolName: String
    /// Oldest first.
    package var members: [Member]
    /// Why it is not described; nil: there is no such group, or it is.
    package var refusal: String?

    package static func notFound(_ groupId: String) -> GroupDescription {
        GroupDescription(
            groupId: groupId, state: .dead, protocolType: "", protocolName: "", members: [],
            refusal: "Group \(groupId) not found.")
    }

    /// What DescribeGroups knows of a group that is not classic.
    static func notClassic(_ groupId: String) -> GroupDescription {
        var description = notFound(groupId)
        description.refusal = "Group \(groupId) is not a classic group."
        return description
    }
}
