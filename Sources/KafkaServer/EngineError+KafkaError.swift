// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what the engine refuses, as a Kafka error code. The only place where that is decided.

import Engine
import KafkaWire

extension KafkaErrorCode {
    init(_ error: EngineError) {
        self =
            switch error.code {
            case .unknownTopic, .unknownPartition: .unknownTopicOrPartition
            case .unknownTopicId: .unknownTopicId
            case .topicExists: .topicAlreadyExists
            case .invalidTopicName: .invalidTopicException
            case .invalidPartitionCount: .invalidPartitions
            case .invalidReplicationFactor: .invalidReplicationFactor
            case .invalidConfiguration: .invalidConfig
            case .invalidRequest: .invalidRequest
            case .offsetOutOfRange: .offsetOutOfRange
            case .corruptData: .kafkaStorageError
            case .corruptMessage: .corruptMessage
            case .invalidRecord: .invalidRecord
            case .messageTooLarge: .messageTooLarge
            case .invalidTimestamp: .invalidTimestamp
            case .unsupportedCompression: .unsupportedCompressionType
            case .unsupportedMessageFormat: .unsupportedForMessageFormat
            case .outOfOrderSequence: .outOfOrderSequenceNumber
            case .duplicateSequence: .duplicateSequenceNumber
            case .invalidProducerEpoch: .invalidProducerEpoch
            case .invalidProducerIdMapping: .invalidProducerIdMapping
            case .invalidTransactionState, .partitionNotInTransaction: .invalidTxnState
            // Old producers do not try again after CONCURRENT_TRANSACTIONS; after this they do.
            case .concurrentTransactions: .notEnoughReplicas
            case .noTransactionalId: .transactionalIdAuthorizationFailed
            case .transactionCoordinatorFenced: .transactionCoordinatorFenced
            case .storageFull, .logReadOnly, .storageFailure, .tooManyOpenFiles: .kafkaStorageError
            case .limitReached: .policyViolation
            case .topicAuthorization: .topicAuthorizationFailed
            case .shuttingDown: .brokerNotAvailable
            }
    }

    /// An error out of a future, whose type is lost there; what is not the engine's is a bug.
    init(_ error: any Error) {
        self = (error as? EngineError).map { KafkaErrorCode($0) } ?? .unknownServerError
    }
}
