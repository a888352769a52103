// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: SaslAuthenticate (key 36).
//
// Versions: 0 to 2.
// Behaviour: one step of the exchange that SaslHandshake chose. A wrong name or password gets SASL_AUTHENTICATION_FAILED
//   in words that do not tell which, and the connection is closed a moment later; the log has the cause.
// Deviations from Kafka: none known.
// Notes: 1 tells after how long the client has to log in again (KIP-368); 2 is flexible.

import Engine
import KafkaWire
import NIOCore
import Security

enum SaslAuthenticateHandler: KafkaHandler {
    static func handle(_ request: SaslAuthenticateRequest, _ exchange: Exchange) {
        let connection = exchange.connection
        Login.receive(Array(buffer: request.authBytes), on: connection) { step in
            var response = SaslAuthenticateResponse()
            switch step {
            case .challenge(let bytes):
                response.authBytes = ByteBuffer(bytes: bytes)
            case .success(let bytes, let lifetimeMs, let mechanism):
                response.authBytes = ByteBuffer(bytes: bytes)
                response.sessionLifetimeMs = lifetimeMs
                connection.loggedIn(mechanism)
            case .failure(let cause, let mechanism, let advice):
                response.errorCode = .saslAuthenticationFailed
                response.errorMessage = "Authentication failed: invalid credentials with SASL mechanism \(mechanism.rawValue)"
                    + (advice.map { "; \($0)" } ?? "")
                connection.loginFailed(cause, mechanism.rawValue)
            case .outOfOrder:
                response.errorCode = .illegalSaslState
                response.errorMessage = "SaslAuthenticate comes after SaslHandshake, and only where SASL is offered"
            }
            exchange.reply(response)
        }
    }
}
