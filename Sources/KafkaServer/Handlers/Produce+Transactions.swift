// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the transactional batches of a Produce request.
//
// One request carries batches of one transaction at most. From version 12 on it adds their partitions to the
// transaction (KIP-890); before, the producer has done that. Errors are told in the terms that each version knows.

import Engine
import KafkaWire
import NIOCore
import Records

/// The transaction that a Produce request writes in.
struct ProduceTransaction: Sendable {
    let id: String
    let producer: TransactionalProducer
    /// Those whose batch is transactional.
    let partitions: Set<TopicPartition>

    /// nil: no batch is transactional. Throws what the whole request is told.
    static func find(in request: ProduceRequest) throws(ProduceRefusal) -> ProduceTransaction? {
        var producer: TransactionalProducer?
        var partitions: Set<TopicPartition> = []
        for topic in request.topics {
            for partition in topic.partitions {
                guard let records = partition.records, BatchHeader.isTransactional(records),
                    let header = BatchHeader(records), header.producerId >= 0
                else { continue }
                let found = TransactionalProducer(id: header.producerId, epoch: header.producerEpoch)
                guard producer == nil || producer == found else {
                    throw ProduceRefusal(
                        code: .invalidProducerIdMapping, message: "transactional batches of more than one producer")
                }
                producer = found
                partitions.insert(TopicPartition(topic: topic.name, partition: partition.index))
            }
        }
        guard let producer else { return nil }
        guard let id = request.transactionalId else {
            throw ProduceRefusal(
                code: .transactionalIdAuthorizationFailed,
                message: "a transactional batch came without a transactional id")
        }
        guard !id.isEmpty else { throw ProduceRefusal(code: .invalidRequest, message: "the transactional id is empty") }
        return ProduceTransaction(id: id, producer: producer, partitions: partitions)
    }

    /// Adds the partitions that exist; `completion` is told why they cannot be added, nil if they are.
    func addPartitions(_ exchange: Exchange, completion: @escaping @Sendable (ProduceRefusal?) -> Void) {
        let topics = exchange.engine.topics
        let existing = partitions.filter { place in
            guard let topic = topics.topic(named: place.topic), !topic.isInternal else { return false }
            return topic.partition(place.partition) != nil
        }
        guard !existing.isEmpty else { return completion(nil) }
        exchange.engine.transactions.addPartitions(
            id, producer, existing.sorted(), by: .two, on: exchange.loop
        ) { result in
            if case .failure(let error) = result { completion(ProduceRefusal(error)) } else { completion(nil) }
        }
    }
}

/// Why a batch was not appended.
struct ProduceRefusal: Error, Sendable {
    var code: KafkaErrorCode
    var message: String
    /// The records at fault, since version 8 (KIP-467).
    var records: [ProduceResponse.RecordError] = []

    init(code: KafkaErrorCode, message: String) {
        self.code = code
        self.message = message
    }

    /// What the engine refuses, to a request of this version.
    init(_ error: EngineError, version: Int16) {
        code =
            switch error.code {
            case .partitionNotInTransaction where version >= 11: .transactionAbortable
            case .concurrentTransactions where version >= 12: .concurrentTransactions
            default: KafkaErrorCode(error)
            }
        message = error.message
        records = error.records.map { record in
            var answer = ProduceResponse.RecordError()
            answer.batchIndex = record.index
            answer.batchIndexErrorMessage = record.message
            return answer
        }
    }

    /// Why partitions cannot be added to a transaction. Producers expect INVALID_PRODUCER_EPOCH when they are fenced,
    /// and try again after NOT_ENOUGH_REPLICAS.
    init(_ error: TransactionError) {
        code =
            switch error {
            case .coordinatorNotAvailable, .notCoordinator: .notEnoughReplicas
            default: KafkaErrorCode(error, isFencedKnown: false)
            }
        message = "the partition cannot be added to the transaction: \(error)"
    }
}
