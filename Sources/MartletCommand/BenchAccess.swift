// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet bench-access`: what access decisions cost, for those who develop the broker.

import ArgumentParser
import Martlet
import Telemetry

struct BenchAccessCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-access", abstract: "Measure access decisions in this process.", shouldDisplay: false)

    @Option(help: "How many access rules there are.")
    var rules = 1_000

    func run() async throws {
        for figure in try await AccessBenchmark.run(rules: rules) {
            let tenths = Int((figure.nanoseconds * 10).rounded())
            print("{\"what\":\(JSONText.quoted(figure.what)),\"ns\":\(tenths / 10).\(tenths % 10)}")
        }
    }
}
