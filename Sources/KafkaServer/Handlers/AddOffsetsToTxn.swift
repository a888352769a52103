// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: AddOffsetsToTxn (key 25).
//
// Versions: 0 to 4.
// Behaviour: the transaction is going to commit offsets; opens it if it is not. The group is not looked at, as in
//   Kafka; what is wrong with it is told by TxnOffsetCommit.
// Deviations from Kafka: none known.
// Notes: 2 knows PRODUCER_FENCED (KIP-588), 3 is flexible, 4 is the same as 3 (KIP-890).

import Engine
import KafkaWire

enum AddOffsetsToTxnHandler: KafkaHandler {
    static func handle(_ request: AddOffsetsToTxnRequest, _ exchange: Exchange) {
        exchange.engine.transactions.addOffsets(
            request.transactionalId,
            TransactionalProducer(id: request.producerId, epoch: request.producerEpoch), on: exchange.loop
        ) { result in
            var response = AddOffsetsToTxnResponse()
            response.errorCode = KafkaErrorCode(result, isFencedKnown: exchange.version >= 2)
            exchange.reply(response)
        }
    }
}
