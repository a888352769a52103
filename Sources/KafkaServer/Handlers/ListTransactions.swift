// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ListTransactions (key 66, KIP-664).
//
// Versions: 0 to 1.
// Behaviour: transactional ids by state, producer id and (version 1, KIP-994) by how long a transaction is open.
//   States that do not exist are named in the answer. The duration counts from the start of the last transaction, also
//   of one that is over, as in Kafka.
// Deviations from Kafka: none known.

import Bytes
import Engine
import KafkaWire

enum ListTransactionsHandler: KafkaHandler {
    static func handle(_ request: ListTransactionsRequest, _ exchange: Exchange) {
        // Kafka's names; the two that no transaction here is ever in are known all the same.
        let known = Set(TransactionState.allCases.map(\.name) + ["Dead", "PrepareEpochFence"])
        var response = ListTransactionsResponse()
        response.unknownStateFilters = request.stateFilters.filter { !known.contains($0) }
        let states = Set(request.stateFilters)
        let producers = Set(request.producerIdFilters)
        let now = exchange.engine.clock.nowMs()
        for (id, transaction) in exchange.engine.transactions.list() {
            guard states.isEmpty || states.contains(transaction.state.name),
                producers.isEmpty || producers.contains(transaction.producer.id),
                request.durationFilter < 0 || now - transaction.startMs > request.durationFilter
            else { continue }
            var state = ListTransactionsResponse.TransactionState()
            state.transactionalId = id
            state.producerId = transaction.producer.id
            state.transactionState = transaction.state.name
            response.transactionStates.append(state)
        }
        exchange.reply(response)
    }
}
