// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what the transaction coordinator refuses, as a Kafka error code. The only place where that
// is decided.

import Engine
import KafkaWire

extension KafkaErrorCode {
    /// `isFencedKnown`: whether the request's version knows PRODUCER_FENCED (KIP-588); older ones get
    /// INVALID_PRODUCER_EPOCH.
    init(_ error: TransactionError, isFencedKnown: Bool) {
        self =
            switch error {
            case .invalidProducerIdMapping: .invalidProducerIdMapping
            case .producerFenced: isFencedKnown ? .producerFenced : .invalidProducerEpoch
            case .concurrentTransactions: .concurrentTransactions
            case .invalidTxnState: .invalidTxnState
            case .invalidTransactionTimeout: .invalidTransactionTimeout
            case .coordinatorNotAvailable: .coordinatorNotAvailable
            case .notCoordinator: .notCoordinator
            case .transactionalIdNotFound: .transactionalIdNotFound
            case .invalidRequest: .invalidRequest
            }
    }

    init(_ result: Result<Void, TransactionError>, isFencedKnown: Bool) {
        switch result {
        case .success: self = .none
        case .failure(let error): self.init(error, isFencedKnown: isFencedKnown)
        }
    }
}
