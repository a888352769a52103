// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeTransactions (key 65, KIP-664).
//
// Versions: 0.
// Behaviour: state, producer and partitions of each transactional id; TRANSACTIONAL_ID_NOT_FOUND for others.
// Deviations from Kafka: none known.

import Engine
import KafkaWire

enum DescribeTransactionsHandler: KafkaHandler {
    static func handle(_ request: DescribeTransactionsRequest, _ exchange: Exchange) {
        let isTooLong = request.transactionalIds.count > Limits.transactionsPerRequest
        var response = DescribeTransactionsResponse()
        response.transactionStates = request.transactionalIds.map { id in
            var state = DescribeTransactionsResponse.TransactionState()
            state.transactionalId = id
            guard !isTooLong, !id.isEmpty else {
                state.errorCode = .invalidRequest
                return state
            }
            guard let transaction = exchange.engine.transactions.describe(id) else {
                state.errorCode = .transactionalIdNotFound
                return state
            }
            state.transactionState = transaction.state.name
            state.transactionTimeoutMs = transaction.timeoutMs
            state.transactionStartTimeMs = transaction.startMs
            state.producerId = transaction.producer.id
            state.producerEpoch = transaction.producer.epoch
            state.topics = Dictionary(grouping: transaction.partitions, by: \.topic)
                .sorted { $0.key < $1.key }
                .map { name, partitions in
                    var topic = DescribeTransactionsResponse.Topic()
                    topic.topic = name
                    topic.partitions = partitions.map(\.partition).sorted()
                    return topic
                }
            return state
        }
        exchange.reply(response)
    }
}
