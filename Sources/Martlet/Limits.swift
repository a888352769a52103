// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the bounds of a broker's start and end.

import NIOCore

enum Limits {
    /// How long connections may take to finish what they started when the broker stops; then they are closed.
    static let drainGrace = TimeAmount.seconds(5)
    /// How often it is looked whether the certificates' files have changed.
    static let certificateCheckInterval = TimeAmount.seconds(1)
    /// How often it is looked whether certificates expire soon or must be renewed.
    static let expiryCheckMs: Int64 = 60_000
    /// How long nothing is said again of a certificate that expires soon.
    static let expiryToldMs: Int64 = 24 * 3600 * 1000
    /// Certificates that are named in `/readyz` and in the log at a time.
    static let certificatesNamed = 5
    /// With less free space on the data's disk the broker is not ready: a record batch may be larger.
    static let diskProblemBytes: Int64 = 1 << 20
    /// Partitions that are named in one line of `/readyz`.
    static let partitionsNamed = 5
    /// Bytes of a ready file: an address and some paths.
    static let readyFileBytes = 64 << 10
    /// Bytes of a token that an external policy is shown.
    static let policyTokenBytes = 16 << 10
    /// Whether event loops turn is known after this time.
    static let loopsTurn = TimeAmount.seconds(3)
    /// Less free space on the data's disk is a warning in `/readyz`.
    static let diskWarningBytes: Int64 = 256 << 20
}
