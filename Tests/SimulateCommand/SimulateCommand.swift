// SPDX-License-Identifier: Apache-2.0
// Martlet, simulate: the command line of the simulation.

import Glibc
import Simulation

struct SimulateCommand {
    private var seeds: UInt64 = 1_000
    private var seed: UInt64?
    private var base: UInt64?
    private var isVerbose = false
    private var stopsAt = 1
    private var problem: String?

    init(_ arguments: [String]) {
        var rest = arguments[...]
        while let name = rest.popFirst() {
            if name == "--verbose" {
                isVerbose = true
                continue
            }
            guard let value = rest.popFirst().flatMap({ UInt64($0) }) else {
                problem = "\(name) needs a number"
                return
            }
            switch name {
            case "--seeds": seeds = value
            case "--seed": seed = value
            case "--base": base = value
            case "--failures": stopsAt = Int(clamping: value)
            default:
                problem = "unknown option \(name); there are --seeds, --seed, --base, --failures, --verbose"
                return
            }
        }
    }

    func run() -> Int32 {
        if let problem {
            let line = Array("simulate: \(problem)\n".utf8)
            // SAFETY: the pointer is read during the call.
            _ = unsafe line.withUnsafeBytes { unsafe write(STDERR_FILENO, $0.baseAddress, $0.count) }
            return 2
        }
        if let seed { return runOne(seed) }
        return runMany()
    }

    private func runOne(_ seed: UInt64) -> Int32 {
        let report = Simulator.run(seed: seed, listener: isVerbose ? { print($0) } : nil)
        print(report)
        return report.violation == nil ? 0 : 1
    }

    private func runMany() -> Int32 {
        let base = base ?? UInt64.random(in: 0..<1_000_000_000)
        let isTerminal = isatty(1) == 1
        let clock = ContinuousClock()
        let start = clock.now
        var failures = 0
        var done: UInt64 = 0
        var totals = Totals()
        while done < seeds, failures < stopsAt {
            let report = Simulator.run(seed: Simulator.seed(base, done))
            done += 1
            totals.add(report)
            if report.violation != nil {
                failures += 1
                if isTerminal { print("\r\u{1b}[K", terminator: "") }
                print(report)
                _ = fflush(nil)
            }
            if isTerminal, done % 50 == 0 || done == seeds {
                print("\r\(done) of \(seeds) lives, \(failures) broken promises", terminator: "")
                _ = fflush(nil)
            }
        }
        if isTerminal { print("\r\u{1b}[K", terminator: "") }
        let duration = clock.now - start
        let ms = duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
        let rate = ms > 0 ? Int64(done) * 1000 / ms : 0
        print(
            "\(done) lives from base \(base) in \(ms / 1000).\(ms % 1000 / 100) s (\(rate) a second): \(totals.steps) steps,"
                + " \(totals.crashes) crashes, \(totals.acknowledged) acknowledgements,"
                + " \(failures == 0 ? "no promise broken" : "\(failures) broken promises")")
        return failures == 0 ? 0 : 1
    }

    private struct Totals {
        var steps = 0
        var crashes = 0
        var acknowledged = 0

        mutating func add(_ report: LifeReport) {
            steps += report.steps
            crashes += report.crashes
            acknowledged += report.acknowledged
        }
    }
}
