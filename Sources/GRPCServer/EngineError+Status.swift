// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what the engine refuses, as a gRPC status. The only place where that is decided.

import Engine
import GRPCWire

extension GRPCStatus {
    init(_ error: EngineError) {
        let code: Code =
            switch error.code {
            case .unknownTopic, .unknownTopicId, .unknownPartition: .notFound
            case .topicExists: .alreadyExists
            case .invalidTopicName, .invalidPartitionCount, .invalidReplicationFactor, .invalidConfiguration, .invalidRequest,
                .corruptMessage, .invalidRecord, .invalidTimestamp, .unsupportedCompression, .unsupportedMessageFormat:
                .invalidArgument
            case .offsetOutOfRange: .outOfRange
            case .corruptData: .dataLoss
            // The batch of a retry that is there already, and those that contradict what is there.
            case .duplicateSequence: .alreadyExists
            case .outOfOrderSequence, .invalidProducerEpoch, .transactionCoordinatorFenced: .aborted
            case .invalidTransactionState, .partitionNotInTransaction, .noTransactionalId, .invalidProducerIdMapping:
                .failedPrecondition
            case .concurrentTransactions: .aborted
            case .messageTooLarge, .storageFull, .limitReached: .resourceExhausted
            case .logReadOnly: .failedPrecondition
            case .storageFailure: .internal
            case .topicAuthorization: .permissionDenied
            case .shuttingDown, .tooManyOpenFiles: .unavailable
            }
        self.init(code, error.message, details: StatusDetails(reason: Self.constant("\(error.code)"), retryMs: code.retryMs))
    }

    /// What is refused for one partition.
    init(_ error: EngineError, of partition: Partition?) {
        self.init(error)
        guard let partition else { return }
        self = about("topic", partition.topic).about("partition", "\(partition.index)")
    }

    /// What is refused of records that somebody publishes.
    init(publishing error: EngineError, to partition: Partition) {
        self.init(error, of: partition)
        switch error.code {
        case .invalidRecord, .invalidTimestamp, .messageTooLarge, .corruptMessage: self = at("records")
        default: break
        }
    }

    /// What is refused of a topic that is to be made; the field that has its name is called so.
    init(creating error: any Error, topic: String, nameField: String) {
        self.init(error)
        self = about("topic", topic)
        switch (error as? EngineError)?.code {
        case .invalidTopicName?: self = at(nameField)
        case .invalidPartitionCount?: self = at("partition_count")
        case .invalidConfiguration?: self = at("configs")
        default: break
        }
    }

    /// What a consumer group refuses.
    init(_ error: GroupError) {
        let code: Code =
            switch error {
            case .unknownServerError: .internal
            case .offsetMetadataTooLarge, .invalidGroupId, .inconsistentGroupProtocol, .invalidSessionTimeout,
                .unsupportedAssignor, .invalidRegularExpression, .invalidRequest:
                .invalidArgument
            case .coordinatorLoadInProgress, .coordinatorNotAvailable: .unavailable
            case .notCoordinator: .failedPrecondition
            // Somebody who is no member speaks to a group that has members, or the other way round.
            case .illegalGeneration, .unknownMemberId, .rebalanceInProgress, .nonEmptyGroup, .memberIdRequired,
                .fencedInstanceId, .groupSubscribedToTopic, .fencedMemberEpoch, .unreleasedInstanceId,
                .staleMemberEpoch, .unsupportedVersion:
                .failedPrecondition
            case .invalidCommitOffsetSize, .groupMaxSizeReached: .resourceExhausted
            case .groupIdNotFound: .notFound
            }
        self.init(
            code, error.description, details: StatusDetails(reason: Self.constant(error.rawValue), retryMs: code.retryMs))
    }

    /// `unknownTopic` as UNKNOWN_TOPIC.
    static func constant(_ name: String) -> String {
        var constant = ""
        for character in name.prefix(64) {
            guard character.isLetter || character.isNumber else { break }
            if character.isUppercase { constant += "_" }
            constant += character.uppercased()
        }
        return constant
    }

    /// An error out of a future, whose type is lost there; what is not the engine's is a bug.
    init(_ error: any Error) {
        switch error {
        case let error as EngineError: self.init(error)
        case let error as GRPCStatus: self = error
        default: self.init(.internal, "unexpected failure: \(error)")
        }
    }
}

extension GRPCStatus.Code {
    /// When the same call may do better.
    var retryMs: Int64? { self == .unavailable ? 1000 : nil }
}
