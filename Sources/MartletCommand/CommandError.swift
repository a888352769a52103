// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: why a command could not do what it was asked to.

/// One line that says what, where, and what to do next.
struct CommandError: Error, CustomStringConvertible {
    let description: String
    /// The command line was wrong, not the world.
    var isUsage = false

    init(_ description: String, isUsage: Bool = false) {
        self.description = description
        self.isUsage = isUsage
    }
}
