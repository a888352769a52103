// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SaslHandshake (key 17).
//
// Versions: 0 to 1.
// Behaviour: as at a listener of Kafka without SASL: ILLEGAL_SASL_STATE and no mechanisms.
// Deviations from Kafka: no listener has SASL.

import Engine
import KafkaWire

enum SaslHandshakeHandler: KafkaHandler {
    static func handle(_ request: SaslHandshakeRequest, _ exchange: Exchange) {
        var response = SaslHandshakeResponse()
        response.errorCode = .illegalSaslState
        exchange.reply(response)
    }
}
