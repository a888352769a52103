// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: checks of passwords that arrive as they are (SASL PLAIN, HTTP Basic).
//
// A check costs milliseconds on purpose, so it runs on `background`, never on a connection's loop, and no more than
// `Limits.passwordChecks` wait there. What was right is remembered, as a keyed hash that is of no use outside of this
// process, until the password changes: a client that sends it with every call pays once.

import NIOConcurrencyHelpers
import NIOCore
import Security

package final class PasswordChecks: Sendable {
    private let access: AccessControl
    private let background: any EventLoop
    private let secret = randomBytes(32)
    private let state = NIOLockedValueBox(State())

    private struct State {
        var waiting = 0
        /// User → what was right.
        var accepted: [String: Accepted] = [:]
    }

    private struct Accepted {
        var fingerprint: [UInt8]
        var credential: ScramCredential
    }

    init(access: AccessControl, background: any EventLoop) {
        self.access = access
        self.background = background
    }

    /// Says on `loop`, perhaps before this returns, whether this is the user's password.
    package func check(
        user: String, password: String, on loop: any EventLoop, completion: @escaping @Sendable (Bool) -> Void
    ) {
        let known = self.password(of: user)
        let fingerprint = ScramMechanism.sha256.fingerprint(of: password, for: user, key: secret)
        let outcome = state.withLockedValue { state -> Bool? in
            if let known, let accepted = state.accepted[user], accepted.credential == known,
                accepted.fingerprint == fingerprint
            {
                return true
            }
            guard state.waiting < Limits.passwordChecks else { return false }
            state.waiting += 1
            return nil
        }
        if let outcome { return completion(outcome) }
        background.execute {
            // As much work for a name that does not exist.
            let isRight = (known ?? Self.nobody).accepts(password: password) && known != nil
            self.state.withLockedValue { state in
                state.waiting -= 1
                guard isRight, let known else { return }
                if state.accepted.count >= Limits.rememberedPasswords { state.accepted = [:] }
                state.accepted[user] = Accepted(fingerprint: fingerprint, credential: known)
            }
            // It may have been taken away, or be another one, since it was looked up.
            loop.execute { completion(isRight && self.password(of: user) == known) }
        }
    }

    private func password(of user: String) -> ScramCredential? {
        access.credential(of: user, .sha512) ?? access.credential(of: user, .sha256)
    }

    private static let nobody = ScramCredential(
        mechanism: .sha512, salt: randomBytes(16), iterations: ScramCredential.iterations.lowerBound,
        storedKey: randomBytes(64), serverKey: randomBytes(64))
}
