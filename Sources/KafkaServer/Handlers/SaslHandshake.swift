// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SaslHandshake (key 17).
//
// Versions: 0 to 1.
// Behaviour: the client names its mechanism; one that is not offered gets UNSUPPORTED_SASL_MECHANISM and the list of
//   those that are, and the connection is closed a moment later; the log has the cause. Where SASL is off, and in the
//   middle of an exchange: ILLEGAL_SASL_STATE.
// Deviations from Kafka: PLAIN is not offered to clients from elsewhere without TLS.
// Notes: after version 0 the tokens follow as bare frames, after 1 in SaslAuthenticate (KIP-152). Never flexible.

import KafkaWire
import Security

enum SaslHandshakeHandler: KafkaHandler {
    private static let nameMax = 32

    static func handle(_ request: SaslHandshakeRequest, _ exchange: Exchange) {
        var response = SaslHandshakeResponse()
        let connection = exchange.connection
        response.errorCode = connection.login.choose(request.mechanism, isBare: exchange.version == 0)
        response.mechanisms = connection.login.mechanisms.map(\.rawValue)
        if response.errorCode == .unsupportedSaslMechanism {
            // What is no mechanism is the client's text, of any length.
            let known = SaslMechanism(rawValue: request.mechanism)?.rawValue
            connection.loginFailed(
                connection.login.refusal(ofMechanism: request.mechanism), known ?? String(request.mechanism.prefix(nameMax)))
        }
        exchange.reply(response)
    }
}
