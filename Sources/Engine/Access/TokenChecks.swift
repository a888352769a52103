// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: checks of tokens (SASL OAUTHBEARER, `authorization: Bearer`), against keys that may change at any
// time.
//
// A signature costs some tens of microseconds. What was right is remembered, under a keyed hash of the token, until
// the token expires or the keys change: a client that sends it with every call pays once. The lock guards keys and
// memory; nothing is checked under it.

import Bytes
import NIOConcurrencyHelpers
import Security

package final class TokenChecks: Sendable {
    private let rules: TokenRules
    private let clock: any Clock
    private let secret = randomBytes(32)
    private let state = NIOLockedValueBox(State())

    private struct State {
        var keys: SigningKeys?
        /// Counts changes of the keys.
        var generation = 0
        var accepted: [[UInt8]: TokenIdentity] = [:]
    }

    init(rules: TokenRules, clock: any Clock) {
        self.rules = rules
        self.clock = clock
    }

    /// From now on tokens must be signed by one of these.
    package func use(_ keys: SigningKeys) {
        state.withLockedValue { state in
            state.keys = keys
            state.generation += 1
            state.accepted = [:]
        }
    }

    package func check(_ token: String) throws(TokenRefusal) -> TokenIdentity {
        let nowMs = clock.nowMs()
        let fingerprint = ScramMechanism.sha256.fingerprint(of: token, for: "", key: secret)
        let (keys, generation, known) = state.withLockedValue { ($0.keys, $0.generation, $0.accepted[fingerprint]) }
        if let known, known.expiresMs > nowMs { return known }
        guard let keys else { throw TokenRefusal("there are no keys to check tokens with") }
        let identity = try BearerToken.verify(token, keys: keys, rules: rules, nowMs: nowMs)
        state.withLockedValue { state in
            guard state.generation == generation else { return }
            if state.accepted.count >= Limits.rememberedTokens { state.accepted = [:] }
            state.accepted[fingerprint] = identity
        }
        return identity
    }
}
