// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the SASL mechanisms that can be offered (`sasl.enabled.mechanisms`).

package enum SaslMechanism: String, Sendable, CaseIterable {
    case plain = "PLAIN"
    case scramSHA256 = "SCRAM-SHA-256"
    case scramSHA512 = "SCRAM-SHA-512"
    case oauthBearer = "OAUTHBEARER"

    /// nil: the password or the token itself is sent.
    package var scram: ScramMechanism? { ScramMechanism(rawValue: rawValue) }
}
