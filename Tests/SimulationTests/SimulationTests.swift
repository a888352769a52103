// SPDX-License-Identifier: Apache-2.0
// Martlet, SimulationTests: random lives of the whole broker; see docs/decisions/0013-simulation.md.

import Bytes
import Simulation
import Testing

@Suite struct SimulationTests {
    @Test("the same seed lives the same life")
    func replay() {
        for index in UInt64(0)..<12 {
            let seed = Simulator.seed(7, index)
            let first = Simulator.run(seed: seed)
            let second = Simulator.run(seed: seed)
            #expect(first.trace == second.trace, "seed \(seed)")
            #expect(first.steps == second.steps && first.acknowledged == second.acknowledged, "seed \(seed)")
        }
    }

    @Test("different seeds live different lives")
    func variety() {
        let traces = Set((UInt64(0)..<20).map { Simulator.run(seed: Simulator.seed(11, $0)).trace })
        #expect(traces.count == 20)
    }

    @Test("seeds that found defects pass", arguments: KnownSeed.all)
    func known(_ known: KnownSeed) {
        let report = Simulator.run(seed: known.seed)
        #expect(report.violation == nil, "\(report)")
    }

    /// The same lives in every run, so that a change is told from chance; `make simulate` looks for new ones.
    @Test("many seeds pass")
    func many() {
        let base: UInt64 = 4_711
        print("simulation: 60 lives from base \(base); again: make simulate SEED=\(base) SEEDS=60")
        var acknowledged = 0
        for index in UInt64(0)..<60 {
            let report = Simulator.run(seed: Simulator.seed(base, index))
            acknowledged += report.acknowledged
            #expect(report.violation == nil, "\(report)")
        }
        #expect(acknowledged > 0)
    }
}

#if DEBUG
    @Suite struct SabotageTests {
        /// Lives that a breakage may take to be seen.
        private static let livesMax: UInt64 = 2_000
        private static let base: UInt64 = 20

        @Test("every breakage is noticed, and the life that shows it passes without it", arguments: Sabotage.allCases)
        func isCaught(_ sabotage: Sabotage) throws {
            for index in 0..<Self.livesMax {
                let seed = Simulator.seed(Self.base, index)
                let broken = Sabotage.$active.withValue(sabotage) { Simulator.run(seed: seed) }
                guard let violation = broken.violation else { continue }
                let sound = Simulator.run(seed: seed)
                #expect(sound.violation == nil, "\(sound)")
                print("simulation: \(sabotage) is noticed by life \(index): \(violation)")
                return
            }
            Issue.record("\(sabotage) was not noticed in \(Self.livesMax) lives")
        }
    }
#endif
