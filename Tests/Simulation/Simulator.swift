// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: runs lives by their seeds.

import Storage

package enum Simulator {
    /// One life.
    package static func run(seed: UInt64, listener: ((String) -> Void)? = nil) -> LifeReport {
        Life(seed: seed).run(listener: listener)
    }

    /// The `index`-th seed of a series.
    package static func seed(_ base: UInt64, _ index: UInt64) -> UInt64 {
        var generator = SeededGenerator(seed: base &+ index &* 0x9e37_79b9_7f4a_7c15)
        // Short enough to be typed.
        return generator.next() % 10_000_000_000
    }
}
