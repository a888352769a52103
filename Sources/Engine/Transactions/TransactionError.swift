// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: why the transaction coordinator cannot do what was asked.
//
// One case per Kafka error code that it answers, under Kafka's own name; the edge maps them in one file
// (KafkaServer/TransactionError+KafkaError.swift).

package enum TransactionError: Error, Hashable, Sendable, CaseIterable {
    /// The producer id is not the transactional id's: initialise the producer again.
    case invalidProducerIdMapping
    /// Another producer with the same transactional id has taken over.
    case producerFenced
    /// Another change of the same transactional id is under way; the same request can be sent again.
    case concurrentTransactions
    /// The transaction is not in a state in which this can be done.
    case invalidTxnState
    /// `transaction.timeout.ms` is not positive, or above the broker's `transaction.max.timeout.ms`.
    case invalidTransactionTimeout
    /// The coordinator cannot write now (shutting down, or the disk is full); try again.
    case coordinatorNotAvailable
    /// The log of transactions failed and takes no more writes until the broker restarts.
    case notCoordinator
    /// There is no such transactional id.
    case transactionalIdNotFound
    /// An empty transactional id, or more of something than the coordinator takes.
    case invalidRequest
}

extension TransactionError {
    /// What a request is told when the log of transactions cannot take it.
    init(_ error: EngineError) {
        self = error.code == .logReadOnly ? .notCoordinator : .coordinatorNotAvailable
    }
}

/// Why offsets cannot be committed with a transaction: because of the group, or because of the producer.
package enum OffsetRefusal: Error, Equatable, Sendable {
    case group(GroupError)
    case transaction(TransactionError)
}
