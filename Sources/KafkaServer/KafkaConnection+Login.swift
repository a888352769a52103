// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what a connection does with logins: bare tokens, and what follows from success and failure.

import Engine
import KafkaWire
import Logging
import NIOCore
import Security
import Telemetry
import Transport

extension KafkaConnection {
    /// A token of the exchange that version 0 of SaslHandshake began: answered by a bare one, or by the end.
    func receiveToken(_ frame: ByteBuffer) {
        let slot = open(frame)
        Login.receive(Array(buffer: frame), on: self) { step in
            switch step {
            case .challenge(let bytes):
                self.answer(slot, token: bytes)
            case .success(let bytes, _, let mechanism):
                self.loggedIn(mechanism)
                self.answer(slot, token: bytes)
            case .failure(let cause, let mechanism, _):
                self.completeWithoutReply(slot)
                self.loginFailed(cause, mechanism.rawValue)
            case .outOfOrder:
                self.close("a token without an exchange")
            }
        }
    }

    private func answer(_ slot: Int, token: [UInt8]) {
        complete(slot) { buffer throws(WireError) in
            buffer.writeInteger(Int32(token.count))
            buffer.writeBytes(token)
        }
    }

    func loggedIn(_ mechanism: SaslMechanism) {
        hasLoggedIn = true
        server.engine.accessMetrics.kafka.logins.increment()
        server.engine.audit.record(AuditEvent(.login, auditSubject, mechanism.rawValue, .succeeded))
        server.logger.debug("logged in", metadata: metadata)
        guard mechanism != .oauthBearer, session == nil, context != nil else { return }
        let access = server.engine.access
        session = access.sessions.enter(login.user, on: loop) { self.userWasRemoved(mechanism) }
        // After the answer: the client has been told already that it is in.
        if !access.hasUser(login.user) { loop.execute { self.userWasRemoved(mechanism) } }
    }

    private func userWasRemoved(_ mechanism: SaslMechanism) {
        guard context != nil else { return }
        server.engine.audit.record(
            AuditEvent(
                .login, auditSubject, mechanism.rawValue, .failed, cause: "the user was removed while it was connected"))
        close("its user was removed")
    }

    /// Closes the connection, a moment later, so that whoever tries passwords has to wait (Kafka's
    /// `connections.failed.authentication.delay.ms`).
    func loginFailed(_ cause: String, _ mechanism: String) {
        server.engine.accessMetrics.kafka.failedLogins.increment()
        server.engine.audit.record(AuditEvent(.login, auditSubject, mechanism, .failed, cause: cause))
        server.logger.warning("kafka login failed with \(mechanism): \(cause)", metadata: metadata)
        loop.scheduleTask(in: Limits.failedLoginDelay) { self.end() }
    }

    var metadata: Logger.Metadata {
        ["peer": "\(peer.remoteAddress):\(peer.remotePort)", "principal": "\(login.principal)"]
    }
}
