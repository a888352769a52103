// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SaslAuthenticate (key 36).
//
// Versions: 0 to 2.
// Behaviour: as at a listener of Kafka without SASL: ILLEGAL_SASL_STATE.
// Deviations from Kafka: no listener has SASL.
// Notes: 1 adds the session's lifetime, 2 is flexible.

import Engine
import KafkaWire

enum SaslAuthenticateHandler: KafkaHandler {
    static func handle(_ request: SaslAuthenticateRequest, _ exchange: Exchange) {
        var response = SaslAuthenticateResponse()
        response.errorCode = .illegalSaslState
        response.errorMessage = "SaslAuthenticate request received after successful authentication"
        exchange.reply(response)
    }
}
