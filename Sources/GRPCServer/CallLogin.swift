// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: how the caller of one call proves who it is, where a certificate does not say it.
//
//   token:     checked at once -------------------------> accepted --it expires--> the call ends
//   password:  requests are held --checked elsewhere----> accepted --the user is removed--> what is still open ends
//                                          '------------> refused
//
// Made only for calls that have to log in (`GRPCServer.requiresLogin`). Confined to the call's loop. Every outcome is an audit
// event and counted; a refusal is logged as well, and the caller is not told more than that it is one.

import Bytes
import Engine
import GRPCWire
import Logging
import NIOCore
import Security
import Telemetry
import Transport

final class CallLogin: @unchecked Sendable {
    // Unchecked: see above; the check of a password answers on the loop.
    private let call: GRPCCall
    private var tokenTimer: Scheduled<Void>?
    /// Where the call is known under the name that its caller gave with a password.
    private var userSession: UserSessions.Ticket?

    init(_ call: GRPCCall) {
        self.call = call
    }

    /// `authorization`: what the call's headers say about the caller.
    func begin(_ authorization: String?) throws(GRPCStatus) {
        switch try credentials(authorization) {
        case .token(let token): try begin(token: token)
        case .password(let credentials):
            call.requests.hold()
            call.engine.passwords.check(
                user: credentials.user, password: credentials.password, on: call.loop
            ) { isRight in
                self.checked(credentials.user, isRight)
            }
        }
    }

    private func credentials(_ authorization: String?) throws(GRPCStatus) -> CallCredentials {
        do throws(GRPCStatus) {
            return try call.server.credentials(authorization, call.peer)
        } catch {
            // Who says nothing has not tried: a browser asks like that first.
            if let authorization { failed(CallCredentials.scheme(authorization), error.message) }
            throw error
        }
    }

    /// The call is over.
    func end() {
        tokenTimer?.cancel()
        tokenTimer = nil
        if let userSession { call.engine.access.sessions.leave(userSession) }
        userSession = nil
    }

    private func begin(token: String) throws(GRPCStatus) {
        do throws(TokenRefusal) {
            let identity = try call.engine.tokens.check(token)
            endWithToken(expiresMs: identity.expiresMs)
            accept(identity.name, "bearer")
        } catch {
            failed("bearer", error.description)
            throw .wrongToken
        }
    }

    /// Nobody goes on under a name that they can no longer prove.
    private func endWithToken(expiresMs: Int64) {
        // A token that is taken for a moment longer, since clocks differ, is good for a short call.
        let leftMs = min(max(1_000, expiresMs - call.engine.clock.nowMs()), Limits.tokenTimerMs)
        tokenTimer = call.loop.scheduleTask(in: .milliseconds(leftMs)) {
            self.call.fail(GRPCStatus(.unauthenticated, "TOKEN_EXPIRED", "the token has expired; call again with a new one"))
        }
    }

    private func checked(_ user: String, _ isRight: Bool) {
        guard !call.hasEnded else { return }
        guard isRight else {
            failed("basic", "wrong user or password for \(user)")
            return call.fail(.wrongPassword)
        }
        let mayWait = call.engine.access.policy != nil || call.engine.quotas.isInForce
        if call.route.method.kind != .unary || mayWait { endWithUser(user) }
        guard !call.hasEnded else { return }
        accept(user, "basic")
    }

    /// A stream goes on for long, and so may what waits for an external policy or a quota: it ends when its caller is nobody here any more.
    private func endWithUser(_ user: String) {
        userSession = call.engine.access.sessions.enter(user, on: call.loop) { [weak self] in self?.userWasRemoved(user) }
        if !call.engine.access.hasUser(user) { userWasRemoved(user) }
    }

    private func userWasRemoved(_ user: String) {
        guard !call.hasEnded else { return }
        call.principal = "User:\(user)"
        call.server.loginEnded(call.auditSubject, "basic", "the user was removed while it was connected")
        call.fail(GRPCStatus(.unauthenticated, "USER_REMOVED", "the user was removed; call as another one"))
    }

    private func accept(_ name: String, _ mechanism: String) {
        call.principal = "User:\(name)"
        call.server.loginSucceeded(call.auditSubject, mechanism)
        call.open()
    }

    private func failed(_ mechanism: String, _ cause: String) {
        call.server.loginFailed(call.auditSubject, mechanism, cause)
    }
}
