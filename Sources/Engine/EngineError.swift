// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: why a request could not be served.
//
// One error type for everything the engine refuses. Each edge maps the code, exhaustively, in one file:
// to a Kafka error code (KafkaServer/EngineError+KafkaError.swift) and to a gRPC status
// (GRPCServer/EngineError+Status.swift). Equality is by code.

import Records
import Storage

package struct EngineError: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable, CaseIterable {
        case unknownTopic
        case unknownTopicId
        case unknownPartition
        case topicExists
        case invalidTopicName
        case invalidPartitionCount
        case invalidReplicationFactor
        case invalidConfiguration
        /// Not about anything that is kept here, or contradicts itself.
        case invalidRequest
        case offsetOutOfRange
        /// The stored bytes are damaged at this offset: quarantined, never served.
        case corruptData
        /// The producer's batch is damaged (CRC, lengths).
        case corruptMessage
        case invalidRecord
        case messageTooLarge
        case invalidTimestamp
        case unsupportedCompression
        case unsupportedMessageFormat
        case outOfOrderSequence
        case duplicateSequence
        case invalidProducerEpoch
        /// The producer id is not the transactional id's.
        case invalidProducerIdMapping
        /// A plain batch in the middle of the producer's transaction.
        case invalidTransactionState
        /// The transaction is not open, or does not name the partition.
        case partitionNotInTransaction
        /// The transaction is being ended; the same can be sent again.
        case concurrentTransactions
        /// A transactional batch without a transactional id.
        case noTransactionalId
        /// A marker of an older coordinator.
        case transactionCoordinatorFenced
        /// No space is left; it works again when there is.
        case storageFull
        /// A write or sync of this log failed earlier: read-only until restart.
        case logReadOnly
        case storageFailure
        /// No descriptor is left to open a log's file with; nothing was lost, and it can be tried again.
        case tooManyOpenFiles
        /// A configured bound was reached (Limits).
        case limitReached
        case topicAuthorization
        case shuttingDown
    }

    package var code: Code
    /// For a person: what, and what to do next.
    package var message: String

    /// The records at fault, if it is some of a batch's only.
    package var records: [BatchIndexError] = []

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (left: EngineError, right: EngineError) -> Bool { left.code == right.code }
}

extension EngineError {
    /// What the disk's failure means to the one who asked.
    package init(_ error: StorageError) {
        let code: Code =
            switch error.code {
            case .full: .storageFull
            case .readOnly: .logReadOnly
            case .corrupt: .corruptData
            case .offsetOutOfRange: .offsetOutOfRange
            case .closed: .unknownTopic
            case .tooManyOpenFiles: .tooManyOpenFiles
            case .inputOutput, .notFound, .permission, .inUse, .newerFormat: .storageFailure
            }
        self.init(code, error.message)
    }
}

extension EngineError {
    /// Why a batch was refused, or (for a batch from disk) cannot be read. `place` names the partition.
    package init(_ error: RecordError, in place: String) {
        let code: Code =
            switch error.code {
            case .corruptMessage: .corruptMessage
            case .invalidRecord, .decompressedTooLarge: .invalidRecord
            case .messageTooLarge: .messageTooLarge
            case .unsupportedMagic: .unsupportedMessageFormat
            case .unsupportedCompression: .unsupportedCompression
            case .invalidTimestamp: .invalidTimestamp
            }
        self.init(code, "\(place): \(error.message)")
        records = error.records
    }
}
