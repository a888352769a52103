// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: InitProducerId (key 22).
//
// Versions: 0 to 5.
// Behaviour: an idempotent producer gets an id nobody has had, epoch 0, whatever it had before. A transactional id
//   keeps its producer id; its epoch grows each time, so that whoever had the old one is fenced, and a transaction
//   left open is aborted first (CONCURRENT_TRANSACTIONS until that is over). A producer that names its id and epoch
//   after an error (KIP-360) is fenced if they are not the last ones.
// Deviations from Kafka: a producer that names an old epoch cannot abort the transaction of its successor.
// Notes: 2 is flexible, 3 names the current id and epoch, 4 knows PRODUCER_FENCED (KIP-588), 5 knows
//   TRANSACTION_ABORTABLE.

import Engine
import KafkaWire
import NIOCore

enum InitProducerIdHandler: KafkaHandler {
    static func handle(_ request: InitProducerIdRequest, _ exchange: Exchange) {
        // Id and epoch come together or not at all.
        guard (request.producerId == -1) == (request.producerEpoch == -1) else {
            var response = InitProducerIdResponse()
            response.errorCode = .invalidRequest
            return exchange.reply(response)
        }
        if let id = request.transactionalId { return initialise(id, request, exchange) }
        exchange.engine.producerIds.allocate(on: exchange.loop).whenComplete { result in
            var response = InitProducerIdResponse()
            switch result {
            case .success(let id):
                response.producerId = id
                response.producerEpoch = 0
            case .failure(let error):
                response.errorCode = KafkaErrorCode(error)
            }
            exchange.reply(response)
        }
    }

    private static func initialise(
        _ id: String, _ request: InitProducerIdRequest, _ exchange: Exchange
    ) {
        let expected = request.producerId == -1
            ? nil : TransactionalProducer(id: request.producerId, epoch: request.producerEpoch)
        exchange.engine.transactions.initialise(
            id, timeoutMs: request.transactionTimeoutMs, expected: expected, on: exchange.loop
        ) { result in
            var response = InitProducerIdResponse()
            switch result {
            case .success(let producer):
                response.producerId = producer.id
                response.producerEpoch = producer.epoch
            case .failure(let error):
                response.errorCode = KafkaErrorCode(error, isFencedKnown: exchange.version >= 4)
            }
            exchange.reply(response)
        }
    }
}
