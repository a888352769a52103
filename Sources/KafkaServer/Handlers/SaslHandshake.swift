// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SaslHandshake (key 17).
//
// Versions: 0 to 1.
// Behaviour: the client names its mechanism; one that is not offered gets UNSUPPORTED_SASL_MECHANISM and the list of
//   those that are. Where SASL is off, and in the middle of an exchange: ILLEGAL_SASL_STATE.
// Deviations from Kafka: PLAIN is not offered to clients from elsewhere without TLS.
// Notes: after version 0 the tokens follow as bare frames, after 1 in SaslAuthenticate (KIP-152). Never flexible.

import KafkaWire

enum SaslHandshakeHandler: KafkaHandler {
    static func handle(_ request: SaslHandshakeRequest, _ exchange: Exchange) {
        var response = SaslHandshakeResponse()
        response.errorCode = exchange.connection.login.choose(request.mechanism, isBare: exchange.version == 0)
        response.mechanisms = exchange.connection.login.mechanisms.map(\.rawValue)
        exchange.reply(response)
    }
}
