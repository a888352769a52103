// SPDX-License-Identifier: Apache-2.0
// Martlet, PolicyClient: the bounds of asking an external policy.

/// Each bound has a defined answer when it is reached, given beside it.
package enum Limits {
    /// Connections to the policy; further questions wait for one.
    static let connections = 8
    /// Bytes of an answer's body; a larger one is no decision.
    static let answerBytes = 64 << 10
    /// Bytes of what is quoted of an answer in a log line.
    static let quotedBytes = 200
    /// Seconds after which a connection that nobody used is closed.
    package static let idleSeconds: Int64 = 30
}
