// SPDX-License-Identifier: Apache-2.0
// Martlet, SimulationTests: every seed that ever found a defect, and what it found. Seeds are only added.
//
// A change of the simulation changes what a seed draws, so an old one may not lead to the same events any more; the defect
// then has a test of its own in the module where it was.

struct KnownSeed: Sendable, CustomStringConvertible {
    var seed: UInt64
    /// What was wrong.
    var defect: String

    var description: String { "\(seed): \(defect)" }

    static let all: [KnownSeed] = [
        KnownSeed(
            seed: 3_683_481_122, defect: "a deleted topic's committed offsets were still served after the deletion was answered"),
        KnownSeed(
            seed: 5_246_522_532, defect: "a gap that a power cut left in an internal log kept the broker from starting"),
        KnownSeed(
            seed: 2_486_179_355, defect: "the same, after a clean stop with a failed log"),
    ]
}
