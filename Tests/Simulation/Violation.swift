// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: a promise that was broken, and how to see it again.

/// A promise that the broker did not keep.
package struct Violation: Error, Sendable, CustomStringConvertible {
    /// Which promise.
    package var invariant: String
    /// What was seen instead.
    package var detail: String

    package var description: String { "\(invariant): \(detail)" }
}

/// How one life went.
package struct LifeReport: Sendable, CustomStringConvertible {
    package var seed: UInt64
    /// Of every file operation and every answer, in order: the same seed has the same one, in any process.
    package var trace: UInt64
    package var steps = 0
    package var starts = 0
    package var crashes = 0
    package var acknowledged = 0
    package var violation: Violation?
    /// What happened last, oldest first.
    package var lastSteps: [String] = []

    /// The command that shows it again.
    package var replay: String { "make simulate SEED=\(seed)" }

    package var description: String {
        guard let violation else {
            return "seed \(seed): \(steps) steps, \(starts) starts, \(crashes) crashes,"
                + " \(acknowledged) acknowledged, trace \(String(trace, radix: 16))"
        }
        let steps = lastSteps.map { "    \($0)\n" }.joined()
        return "seed \(seed) breaks a promise\n  \(violation)\n  the last steps:\n\(steps)  again: \(replay)"
    }
}
