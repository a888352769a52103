// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AddPartitionsToTxn (key 24).
//
// Versions: 0 to 5.
// Behaviour: opens the transaction if it is not. If one partition does not exist, none is added: it gets
//   UNKNOWN_TOPIC_OR_PARTITION (TOPIC_AUTHORIZATION_FAILED if it is the broker's own) and the others
//   OPERATION_NOT_ATTEMPTED. `verifyOnly` asks whether partitions are in the transaction, TRANSACTION_ABORTABLE if
//   not.
// Deviations from Kafka: a batch of transactions counts as sent by clients of version 2 that wait, as Kafka's brokers
//   do.
// Notes: 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 and 5 are what brokers send each other (KIP-890): many
//   transactions.

import Engine
import KafkaWire

enum AddPartitionsToTxnHandler: KafkaHandler {
    static func handle(_ request: AddPartitionsToTxnRequest, _ exchange: Exchange) {
        var wanted = request.transactions
        if exchange.version <= 3 {
            var only = AddPartitionsToTxnRequest.Transaction()
            only.transactionalId = request.v3AndBelowTransactionalId
            only.producerId = request.v3AndBelowProducerId
            only.producerEpoch = request.v3AndBelowProducerEpoch
            only.topics = request.v3AndBelowTopics
            wanted = [only]
        }
        guard wanted.count <= Limits.transactionsPerRequest else {
            var response = AddPartitionsToTxnResponse()
            response.errorCode = .invalidRequest
            return exchange.reply(response)
        }
        let answers = Answers(wanted, exchange)
        for (index, transaction) in wanted.enumerated() {
            add(transaction, exchange) { answers.put($0, at: index) }
        }
        answers.allStarted()
    }

    private typealias Results = [AddPartitionsToTxnResponse.TopicResult]

    private static func add(
        _ wanted: AddPartitionsToTxnRequest.Transaction, _ exchange: Exchange,
        completion: @escaping @Sendable (Results) -> Void
    ) {
        let topics = exchange.engine.topics
        func exists(_ topic: String, _ partition: Int32) -> Bool {
            code(topic, partition) == nil
        }
        func code(_ name: String, _ partition: Int32) -> KafkaErrorCode? {
            let topic = topics.topic(named: name)
            let isInternal = topic?.isInternal ?? Engine.isInternal(name)
            if isInternal, exchange.version <= 3 { return .topicAuthorizationFailed }
            return topic?.partition(partition) == nil || isInternal ? .unknownTopicOrPartition : nil
        }
        let allExist = wanted.topics.allSatisfy { topic in
            topic.partitions.allSatisfy { exists(topic.name, $0) }
        }
        guard allExist else {
            return completion(
                results(wanted) { code($0, $1) ?? .operationNotAttempted })
        }
        let partitions = wanted.topics.flatMap { topic in
            topic.partitions.map { TopicPartition(topic: topic.name, partition: $0) }
        }
        let producer = TransactionalProducer(id: wanted.producerId, epoch: wanted.producerEpoch)
        if wanted.verifyOnly {
            return completion(verify(wanted, producer, exchange))
        }
        exchange.engine.transactions.addPartitions(
            wanted.transactionalId, producer, partitions, by: exchange.version >= 4 ? .two : .one, on: exchange.loop
        ) { result in
            let code = KafkaErrorCode(result, isFencedKnown: exchange.version >= 2)
            completion(results(wanted) { _, _ in code })
        }
    }

    private static func verify(
        _ wanted: AddPartitionsToTxnRequest.Transaction, _ producer: TransactionalProducer, _ exchange: Exchange
    ) -> Results {
        results(wanted) { topic, partition in
            do throws(TransactionError) {
                try exchange.engine.transactions.verify(
                    wanted.transactionalId, producer,
                    writesTo: TopicPartition(topic: topic, partition: partition))
                return .none
            } catch {
                return error == .invalidTxnState ? .transactionAbortable : KafkaErrorCode(error, isFencedKnown: true)
            }
        }
    }

    private static func results(
        _ wanted: AddPartitionsToTxnRequest.Transaction, code: (String, Int32) -> KafkaErrorCode
    ) -> Results {
        wanted.topics.map { topic in
            var result = AddPartitionsToTxnResponse.TopicResult()
            result.name = topic.name
            result.resultsByPartition = topic.partitions.map { partition in
                var each = AddPartitionsToTxnResponse.PartitionResult()
                each.partitionIndex = partition
                each.partitionErrorCode = code(topic.name, partition)
                return each
            }
            return result
        }
    }

    /// Collects the transactions' results; confined to the connection's event loop.
    private final class Answers: @unchecked Sendable {
        // Unchecked: the coordinator completes on the exchange's loop.
        private var results: [AddPartitionsToTxnResponse.TransactionResult]
        private var missing: Int
        private let exchange: Exchange

        init(_ wanted: [AddPartitionsToTxnRequest.Transaction], _ exchange: Exchange) {
            results = wanted.map { transaction in
                var result = AddPartitionsToTxnResponse.TransactionResult()
                result.transactionalId = transaction.transactionalId
                return result
            }
            missing = wanted.count + 1
            self.exchange = exchange
        }

        func put(_ topics: Results, at index: Int) {
            results[index].topicResults = topics
            allStarted()
        }

        func allStarted() {
            missing -= 1
            guard missing == 0 else { return }
            var response = AddPartitionsToTxnResponse()
            if exchange.version <= 3 {
                response.resultsByTopicV3AndBelow = results[0].topicResults
            } else {
                response.resultsByTransaction = results
            }
            exchange.reply(response)
        }
    }
}
