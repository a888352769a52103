// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what a share group refuses, as a gRPC status. The only place where that is decided.

import Engine
import GRPCWire

extension GRPCStatus {
    init(_ error: ShareError) {
        let code: Code =
            switch error {
            case .invalidRequest, .invalidGroupId: .invalidArgument
            case .groupIdNotFound, .unknownTopicOrPartition, .unknownTopicId: .notFound
            case .invalidRecordState, .unknownMemberId, .fencedMemberEpoch, .nonEmptyGroup, .shareSessionNotFound,
                .invalidShareSessionEpoch:
                .failedPrecondition
            case .groupMaxSizeReached, .shareSessionLimitReached: .resourceExhausted
            case .storageFailure: .internal
            case .coordinatorNotAvailable: .unavailable
            }
        self.init(
            code, error.description, details: StatusDetails(reason: Self.constant(error.rawValue), retryMs: code.retryMs))
    }
}
