// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: a broker that cannot start or cannot stop as it should.

/// One line that says what failed, where, and what to do about it.
public struct BrokerError: Error, Equatable, CustomStringConvertible {
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}
