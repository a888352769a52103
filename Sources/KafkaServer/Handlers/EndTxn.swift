// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: EndTxn (key 26).
//
// Versions: 0 to 5.
// Behaviour: commits or aborts the open transaction; asking again for what was done is no error, asking for the
//   opposite is INVALID_TXN_STATE. In version 5 every end raises the producer's epoch, the answer names the producer
//   of the next transaction, a repeated request with the epoch before is recognised, and a transaction in which
//   nothing was done can be aborted.
// Deviations from Kafka: answered when the markers are written and durable, not when the decision is: whoever then
//   reads committed records sees them (docs/decisions/0009-transactions.md).
// Notes: 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 knows TRANSACTION_ABORTABLE, 5 is transactions version 2
//   (KIP-890).

import Engine
import KafkaWire
import Records

enum EndTxnHandler: KafkaHandler {
    static func handle(_ request: EndTxnRequest, _ exchange: Exchange) {
        exchange.engine.transactions.end(
            request.transactionalId,
            TransactionalProducer(id: request.producerId, epoch: request.producerEpoch),
            request.committed ? .commit : .abort, by: exchange.version >= 5 ? .two : .one, on: exchange.loop
        ) { result in
            var response = EndTxnResponse()
            switch result {
            case .success(let next):
                response.producerId = next.id
                response.producerEpoch = next.epoch
            case .failure(let error):
                response.errorCode = KafkaErrorCode(error, isFencedKnown: exchange.version >= 2)
            }
            exchange.reply(response)
        }
    }
}
