// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: why a request to a consumer group cannot be served.
//
// One case per Kafka error code that the group coordinator answers, under Kafka's own name, because both
// edges speak about the same conditions. The engine knows no numbers: each edge maps every case in one
// exhaustive file of its own.

/// The answer of a group that cannot do what was asked. Equality is by case.
package enum GroupError: String, Error, Hashable, Sendable, CaseIterable {
    /// The broker failed in a way that has no better name (an assignment beyond the limits, say).
    case unknownServerError
    /// A commit's metadata string is longer than `GroupConfiguration.offsetMetadataMax`.
    case offsetMetadataTooLarge
    /// The coordinator is busy with what is already in flight; the same request can be sent again.
    case coordinatorLoadInProgress
    /// The coordinator is shutting down, or its disk is full; look it up and try again.
    case coordinatorNotAvailable
    /// The log of committed offsets failed and takes no more writes until the broker restarts.
    case notCoordinator
    /// The generation is not the group's current one: join again.
    case illegalGeneration
    /// The member's protocol type or protocols do not go with those of the group.
    case inconsistentGroupProtocol
    /// The group id is empty or too long.
    case invalidGroupId
    /// The group does not know this member id: join again without one.
    case unknownMemberId
    /// The session timeout is outside the configured bounds.
    case invalidSessionTimeout
    /// The group is rebalancing: join again.
    case rebalanceInProgress
    /// The commit is larger than the coordinator can store.
    case invalidCommitOffsetSize
    /// The group still has members.
    case nonEmptyGroup
    /// There is no such group.
    case groupIdNotFound
    /// Join again with the member id of this answer (KIP-394).
    case memberIdRequired
    /// The group, or the coordinator, has as many members as it may have.
    case groupMaxSizeReached
    /// Another process uses the same `group.instance.id` (KIP-345).
    case fencedInstanceId
    /// A member of the group is subscribed to the topic, so its offsets stay.
    case groupSubscribedToTopic
    /// The member epoch is not the one the group knows: give up all partitions and join again (KIP-848).
    case fencedMemberEpoch
    /// The `group.instance.id` belongs to a member that is still there (KIP-848).
    case unreleasedInstanceId
    /// A commit or a read with a member epoch that is over (KIP-848).
    case staleMemberEpoch
    /// The broker has no such assignor.
    case unsupportedAssignor
    /// The pattern of a subscription is none.
    case invalidRegularExpression
    /// The request contradicts itself.
    case invalidRequest
    /// A member of a consumer group commits in a version that knows no member epochs.
    case unsupportedVersion
}

extension GroupError: CustomStringConvertible {
    /// The cause and the next step, for a person.
    package var description: String {
        switch self {
        case .unknownServerError:
            "the group's state is larger than the coordinator may keep; use fewer or smaller members"
        case .offsetMetadataTooLarge:
            "the metadata of a committed offset is too long; shorten it"
        case .coordinatorLoadInProgress:
            "too many commits are in flight; send the request again"
        case .coordinatorNotAvailable:
            "the group coordinator cannot write now (shutting down, or the disk is full); try again"
        case .notCoordinator:
            "the log of committed offsets failed and is read-only; restart the broker"
        case .illegalGeneration:
            "the generation is not the group's current one; join the group again"
        case .inconsistentGroupProtocol:
            "the member has no protocol in common with the group; use one assignor in all members"
        case .invalidGroupId:
            "the group id is empty or too long; set another group.id"
        case .unknownMemberId:
            "the group does not know this member; join the group again"
        case .invalidSessionTimeout:
            "session.timeout.ms is outside the broker's bounds; change it or the bounds"
        case .rebalanceInProgress:
            "the group is rebalancing; join the group again"
        case .invalidCommitOffsetSize:
            "the commit is larger than the coordinator may store; commit fewer partitions at a time"
        case .nonEmptyGroup:
            "the group has members; stop them first"
        case .groupIdNotFound:
            "there is no such group; check the group id"
        case .memberIdRequired:
            "join again with the member id of this answer"
        case .groupMaxSizeReached:
            "the group cannot take another member; stop one, or raise group.max.size"
        case .fencedInstanceId:
            "another consumer uses this group.instance.id; give each consumer its own"
        case .groupSubscribedToTopic:
            "the group is subscribed to the topic; unsubscribe or stop its members first"
        case .fencedMemberEpoch:
            "the member epoch is not the group's; give up all partitions and join the group again"
        case .unreleasedInstanceId:
            "another member that is still there uses this group.instance.id; stop it first"
        case .staleMemberEpoch:
            "the member epoch is over; send the request with the one of the last heartbeat"
        case .unsupportedAssignor:
            "the broker has no such assignor; use one of group.consumer.assignors"
        case .invalidRegularExpression:
            "the pattern of the subscription is not valid in RE2's syntax; correct it"
        case .invalidRequest:
            "the request contradicts itself; correct it"
        case .unsupportedVersion:
            "members of a consumer group commit with OffsetCommit version 9 or later; update the client"
        }
    }
}
