// SPDX-License-Identifier: Apache-2.0
// Martlet, StorageTests: crashes at every change of random lives.
//
// MARTLET_CRASH_SEEDS=n tries n seeds instead of a few.

import Glibc
import Testing

@testable import Storage

@Suite("Crashes")
struct CrashTests {
    private static let steps = 60
    private static let seeds: ClosedRange<UInt64> = {
        let text = unsafe getenv("MARTLET_CRASH_SEEDS").map { unsafe String(cString: $0) }
        return 1...(text.flatMap { UInt64($0) } ?? 2)
    }()

    @Test(arguments: seeds) func whatWasSyncedIsThereAfterACrashAtAnyChange(seed: UInt64) throws {
        try crashEverywhere(seed, hasFaults: false)
    }

    @Test(arguments: seeds) func failingAndFullDisksTakeNothingBackThatWasSynced(seed: UInt64) throws {
        try crashEverywhere(seed, hasFaults: true)
    }

    /// The life without a crash, to count its changes, and then once per change with a crash in it.
    private func crashEverywhere(_ seed: UInt64, hasFaults: Bool) throws {
        var undisturbed = try CrashScenario(seed: seed, hasFaults: hasFaults)
        undisturbed.run(steps: Self.steps)
        let changes = undisturbed.files.changeCount
        #expect(changes > 20)
        for change in 0..<changes {
            for mode in [CrashMode.arbitrary, change % 2 == 0 ? .loseUnsynced : .keepUnsynced] {
                var scenario = try CrashScenario(seed: seed, hasFaults: hasFaults)
                scenario.files.crash(atChange: change)
                scenario.run(steps: Self.steps)
                let comment: Comment = "seed \(seed), crash at change \(change), \(mode)"
                #expect(throws: Never.self, comment) { try scenario.crashAndVerify(mode, comment) }
            }
        }
    }
}
