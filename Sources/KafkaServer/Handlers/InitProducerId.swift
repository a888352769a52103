// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: InitProducerId (key 22).
//
// Versions: 0 to 5.
// Behaviour: an idempotent producer gets an id nobody has had, epoch 0; one that names its id and epoch after an error
//   (KIP-360, version 3) keeps the id with the next epoch, or gets a new id when epochs are used up.
// Deviations from Kafka: transactional ids are refused (TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal to clients)
//   until transactions are served.

import Engine
import KafkaWire

enum InitProducerIdHandler: KafkaHandler {
    static func handle(_ request: InitProducerIdRequest, _ exchange: Exchange) {
        var response = InitProducerIdResponse()
        guard request.transactionalId == nil else {
            response.errorCode = .transactionalIdAuthorizationFailed
            return exchange.reply(response)
        }
        if request.producerId >= 0, request.producerEpoch >= 0, request.producerEpoch < .max - 1 {
            response.producerId = request.producerId
            response.producerEpoch = request.producerEpoch + 1
            return exchange.reply(response)
        }
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
}
