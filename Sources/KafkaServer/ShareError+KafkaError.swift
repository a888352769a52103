// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what a share group refuses, as a Kafka error code. The only place where that is decided.

import Engine
import KafkaWire

extension KafkaErrorCode {
    init(_ error: ShareError) {
        self =
            switch error {
            case .invalidRequest: .invalidRequest
            case .invalidRecordState: .invalidRecordState
            case .groupIdNotFound: .groupIdNotFound
            case .invalidGroupId: .invalidGroupId
            case .unknownMemberId: .unknownMemberId
            case .fencedMemberEpoch: .fencedMemberEpoch
            case .groupMaxSizeReached: .groupMaxSizeReached
            case .nonEmptyGroup: .nonEmptyGroup
            case .shareSessionNotFound: .shareSessionNotFound
            case .invalidShareSessionEpoch: .invalidShareSessionEpoch
            case .shareSessionLimitReached: .shareSessionLimitReached
            case .unknownTopicOrPartition: .unknownTopicOrPartition
            case .unknownTopicId: .unknownTopicId
            case .storageFailure: .kafkaStorageError
            case .coordinatorNotAvailable: .coordinatorNotAvailable
            }
    }

    /// No error is an error code too.
    init(_ error: ShareError?) {
        self = error.map { KafkaErrorCode($0) } ?? .none
    }
}
