// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a backup while everything goes on.
//
// All logs are looked at in one moment, in which none of them can be appended to: the locks of all partitions are held for
// as long as that takes, microseconds each. What depends on each other therefore fits together, whatever the order in which
// files are copied afterwards: a commit is never beyond its records, and a transaction's decision, its markers and its offsets
// are all there or all still to come, as after a kill -9 at that moment (docs/decisions/0023-operations.md). Until the files
// are taken, none is removed or replaced: retention only marks, compaction waits.

import Bytes
import NIOConcurrencyHelpers
import Storage

extension Engine {
    /// Taking all locks is tried again when topics came or went meanwhile, this often.
    private static let cutTries = 100

    /// Writes a backup. Blocks for as long as the copying takes; call on a thread that nobody waits for, one at a time.
    /// `onHousekeeping` runs a closure on the housekeeping loop, or wherever housekeeping happens, and waits for it.
    package func backUp(
        to path: String, onHousekeeping: (@escaping @Sendable () -> Void) throws -> Void
    ) throws -> BackupReport {
        guard configuration.durability != .memory else {
            throw EngineError(.invalidRequest, "this broker keeps everything in memory; there is nothing to back up")
        }
        let target = try BackupDirectory(path)
        guard isBackingUp.withLockedValue({ isOn in
            defer { isOn = true }
            return !isOn
        }) else { throw EngineError(.invalidRequest, "a backup is under way already; wait for it") }
        defer { isBackingUp.withLockedValue { $0 = false } }
        // What housekeeping is doing now is over afterwards, and it has seen the flag.
        try onHousekeeping { [self] in
            for partition in allPartitions { _ = partition.checkpoint() }
        }
        let cuts = try cutAll()
        return try Backup.write(cuts, from: directory.location, to: target, nowMs: clock.nowMs())
    }

    /// All logs at one moment.
    private func cutAll() throws(EngineError) -> [LogCut] {
        for _ in 0..<Self.cutTries {
            let partitions = allPartitions
            for partition in partitions { partition.lock.lock() }
            defer { for partition in partitions { partition.lock.unlock() } }
            guard allPartitions.elementsEqual(partitions, by: ===) else { continue }
            return partitions.filter { !$0.isClosed }.map { $0.log.cut() }
        }
        throw EngineError(.invalidRequest, "topics come and go all the time; try again")
    }
}
