// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: a configuration that cannot be used.

/// One line that says what is wrong, where it was said, and what to do about it.
public struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    public let description: String

    /// The command line was wrong, rather than a file or a variable.
    package let isUsage: Bool

    package init(_ description: String, isUsage: Bool = false) {
        self.description = description
        self.isUsage = isUsage
    }
}
