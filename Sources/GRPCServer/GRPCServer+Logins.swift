// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: what is told of logins (an audit event, a count, a line of the log), and logins to read a page.
//
// Pages are read over HTTP/1.1 by people and by Prometheus. Where callers have to log in, a page that names topics wants the same
// from whoever is not on this machine: a certificate, a password or a token. No access rules are asked: who may log in may read it.

import Engine
import GRPCWire
import Logging
import NIOCore
import Security
import Telemetry
import Transport

extension GRPCServer {
    func loginSucceeded(_ subject: AuditSubject, _ mechanism: String) {
        engine.accessMetrics.grpc.logins.increment()
        if engine.audit.recordsAllowed { engine.audit.record(AuditEvent(.login, subject, mechanism, .succeeded)) }
    }

    func loginFailed(_ subject: AuditSubject, _ mechanism: String, _ cause: String) {
        engine.accessMetrics.grpc.failedLogins.increment()
        loginEnded(subject, mechanism, cause)
    }

    /// One that had succeeded does not hold any more.
    func loginEnded(_ subject: AuditSubject, _ mechanism: String, _ cause: String) {
        engine.audit.record(AuditEvent(.login, subject, mechanism, .failed, cause: cause))
        logger.warning("gRPC login failed: \(cause)", metadata: ["peer": "\(subject.address):\(subject.port)"])
    }

    /// Whether whoever asks may read a page that names topics; see `HTTPGate`.
    package func admitToPage(
        _ authorization: String?, _ peer: ConnectionContext, on loop: any EventLoop,
        completion: @escaping @Sendable (HTTPLoginRefusal?) -> Void
    ) {
        guard !isLoopback(peer.remoteAddress), requiresLogin(peer, hasAuthorization: authorization != nil) else {
            return completion(nil)
        }
        do throws(GRPCStatus) {
            switch try credentials(authorization, peer) {
            case .token(let token): completion(check(token, peer))
            case .password(let given):
                engine.passwords.check(user: given.user, password: given.password, on: loop) { isRight in
                    if isRight {
                        self.loginSucceeded(peer.pageSubject("User:\(given.user)"), "basic")
                    } else {
                        self.loginFailed(peer.pageSubject(), "basic", "wrong user or password for \(given.user)")
                    }
                    completion(isRight ? nil : self.refusal(.wrongPassword, peer))
                }
            }
        } catch {
            // Who says nothing has not tried.
            if let authorization { loginFailed(peer.pageSubject(), CallCredentials.scheme(authorization), error.message) }
            completion(refusal(error, peer))
        }
    }

    private func check(_ token: String, _ peer: ConnectionContext) -> HTTPLoginRefusal? {
        do throws(TokenRefusal) {
            let identity = try engine.tokens.check(token)
            loginSucceeded(peer.pageSubject("User:\(identity.name)"), "bearer")
            return nil
        } catch {
            loginFailed(peer.pageSubject(), "bearer", error.description)
            return refusal(.wrongToken, peer)
        }
    }

    private func refusal(_ status: GRPCStatus, _ peer: ConnectionContext) -> HTTPLoginRefusal {
        HTTPLoginRefusal(message: status.message, challenges: logins[peer.listenerName].challenges)
    }
}

extension ConnectionContext {
    fileprivate func pageSubject(_ principal: String? = nil) -> AuditSubject {
        AuditSubject(
            principal: principal ?? self.principal, address: remoteAddress, port: remotePort, wire: "grpc", listener: listenerName)
    }
}

extension GRPCLogins {
    /// RFC 9110, section 11.6.1.
    fileprivate var challenges: [String] {
        (passwords ? ["Basic realm=\"martlet\", charset=\"UTF-8\""] : []) + (tokens ? ["Bearer realm=\"martlet\""] : [])
    }
}

extension GRPCStatus {
    static let wrongToken = GRPCStatus(.unauthenticated, "LOGIN_FAILED", "the token is not accepted; call again with a new one")
    static let wrongPassword = GRPCStatus(.unauthenticated, "LOGIN_FAILED", "the name or the password is wrong")
}
