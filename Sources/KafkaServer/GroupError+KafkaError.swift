// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what the group coordinator refuses, as a Kafka error code. The only place where that is
// decided.

import Engine
import KafkaWire

extension KafkaErrorCode {
    init(_ error: GroupError) {
        self =
            switch error {
            case .unknownServerError: .unknownServerError
            case .offsetMetadataTooLarge: .offsetMetadataTooLarge
            case .coordinatorLoadInProgress: .coordinatorLoadInProgress
            case .coordinatorNotAvailable: .coordinatorNotAvailable
            case .notCoordinator: .notCoordinator
            case .illegalGeneration: .illegalGeneration
            case .inconsistentGroupProtocol: .inconsistentGroupProtocol
            case .invalidGroupId: .invalidGroupId
            case .unknownMemberId: .unknownMemberId
            case .invalidSessionTimeout: .invalidSessionTimeout
            case .rebalanceInProgress: .rebalanceInProgress
            case .invalidCommitOffsetSize: .invalidCommitOffsetSize
            case .nonEmptyGroup: .nonEmptyGroup
            case .groupIdNotFound: .groupIdNotFound
            case .memberIdRequired: .memberIdRequired
            case .groupMaxSizeReached: .groupMaxSizeReached
            case .fencedInstanceId: .fencedInstanceId
            case .groupSubscribedToTopic: .groupSubscribedToTopic
            case .fencedMemberEpoch: .fencedMemberEpoch
            case .unreleasedInstanceId: .unreleasedInstanceId
            case .staleMemberEpoch: .staleMemberEpoch
            case .unsupportedAssignor: .unsupportedAssignor
            case .invalidRegularExpression: .invalidRegularExpression
            case .invalidRequest: .invalidRequest
            case .unsupportedVersion: .unsupportedVersion
            }
    }

    /// No error is an error code too.
    init(_ error: GroupError?) {
        self = error.map { KafkaErrorCode($0) } ?? .none
    }
}
