// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: EndTxn (key 26).
//
// Versions: 0 to 4.
// Behaviour: commits or aborts the open transaction; asking again for what was done is no error, asking for the
//   opposite is INVALID_TXN_STATE.
// Deviations from Kafka: answered when the markers are written and durable, not when the decision is: whoever then reads
//   committed records sees them (docs/decisions/0009-transactions.md).
// Notes: 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible. 5 belongs to transactions version 2 (KIP-890).

import Engine
import KafkaWire

enum EndTxnHandler: KafkaHandler {
    static func handle(_ request: EndTxnRequest, _ exchange: Exchange) {
        exchange.engine.transactions.end(
            request.transactionalId,
            TransactionalProducer(id: request.producerId, epoch: request.producerEpoch),
            request.committed ? .commit : .abort, on: exchange.loop
        ) { result in
            var response = EndTxnResponse()
            response.errorCode = KafkaErrorCode(result, isFencedKnown: exchange.version >= 2)
            exchange.reply(response)
        }
    }
}
