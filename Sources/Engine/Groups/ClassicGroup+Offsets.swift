// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what a classic group says about its committed offsets, and about itself.
//
// The offsets live in the coordinator; the group decides who may commit, delete and expire them.

import NIOCore

/// What the members of a group consume, as far as the group can tell.
package enum SubscribedTopics: Equatable, Sendable {
    case none
    case these(Set<String>)
    /// Consumers whose metadata cannot be read: any topic may be in use.
    case unknown

    package func contains(_ topic: String) -> Bool {
        switch self {
        case .none: false
        case .these(let topics): topics.contains(topic)
        case .unknown: true
        }
    }
}

extension ClassicGroup {
    /// Whether this commit may be made; a commit of a member counts as a heartbeat.
    package mutating func validateCommit(
        _ member: GroupMemberIdentity, generationId: Int32, nowMs: Int64
    ) throws(GroupError) {
        if state == .dead { throw .coordinatorNotAvailable }
        // An administrator, or a client that does not use group membership.
        if generationId < 0 && state == .empty { return }
        guard generationId >= 0 || !member.memberId.isEmpty || member.groupInstanceId != nil else {
            throw .unknownMemberId
        }
        try validateMember(member.memberId, member.groupInstanceId)
        if generationId != self.generationId { throw .illegalGeneration }
        // It has the new generation but not yet its assignment: what it commits is not its own.
        if state == .completingRebalance { throw .rebalanceInProgress }
        expectHeartbeat(of: member.memberId, nowMs: nowMs)
    }

    package func validateDeletion() throws(GroupError) {
        switch state {
        case .empty: return
        case .dead: throw .groupIdNotFound
        case .preparingRebalance, .completingRebalance, .stable: throw .nonEmptyGroup
        }
    }

    package func validateOffsetDeletion() throws(GroupError) {
        switch state {
        case .empty: return
        case .dead: throw .groupIdNotFound
        case .preparingRebalance, .completingRebalance, .stable:
            // Of consumers one can tell which topics they use, see `SubscribedTopics`.
            guard protocolType == ConsumerSubscription.protocolType else { throw .nonEmptyGroup }
        }
    }

    package var subscribedTopics: SubscribedTopics {
        guard protocolType == ConsumerSubscription.protocolType, !members.isEmpty else { return .none }
        var topics: Set<String> = []
        for member in members.values {
            let metadata = member.metadata(of: protocolName)
            guard let subscribed = ConsumerSubscription.topics(in: metadata) else { return .unknown }
            topics.formUnion(subscribed)
        }
        return .these(topics)
    }

    package var listing: GroupListing {
        GroupListing(groupId: id, protocolType: protocolType ?? "", state: state.rawValue, type: .classic)
    }

    /// As DescribeGroups shows it: what a member supports only means something once a protocol is chosen.
    package var groupDescription: GroupDescription {
        GroupDescription(
            groupId: id, state: state, protocolType: protocolType ?? "",
            protocolName: state == .stable ? protocolName ?? "" : "",
            members: membersByAge.map { member in
                GroupDescription.Member(
                    memberId: member.id, groupInstanceId: member.groupInstanceId, clientId: member.clientId,
                    clientHost: member.clientHost,
                    metadata: state == .stable ? member.metadata(of: protocolName) : ByteBuffer(),
                    assignment: member.assignment)
            })
    }
}
