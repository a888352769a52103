// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which log is compacted next, and what came of it.
//
// One round at a time, of the log with the largest share of uncleaned bytes (Kafka's filthiest), or one whose records
// have waited for longer than they may. A turn does a bounded piece of work, so that checkpoints and retention on the same
// loop have theirs. Internal topics are left alone: their owners rewrite them (docs/decisions/0003). `lock` guards
// everything and is held for a turn; whoever only wants numbers reads `totals`.

import Bytes
import Logging
import NIOConcurrencyHelpers
import Storage

/// What compaction has done since the start.
struct CompactionTotals: Sendable {
    var rounds = 0
    var failures = 0
    var bytesRead: Int64 = 0
    var bytesRemoved: Int64 = 0
    var lastDurationMs: Int64 = 0
}

final class Compactor: @unchecked Sendable {
    // Unchecked: `round` and `refused` are guarded by `lock`.
    private let lock = NIOLock()
    private let clock: any Clock
    private let logger: Logger
    private let total = NIOLockedValueBox(CompactionTotals())
    private var round: Round?
    /// Partitions that met damage: they are left alone until the next start.
    private var refused: Set<ObjectIdentifier> = []

    private struct Round {
        let partition: Partition
        let compaction: LogCompaction
        let startMs: Int64
    }

    init(clock: any Clock, logger: Logger) {
        self.clock = clock
        self.logger = logger
    }

    var totals: CompactionTotals { total.withLockedValue { $0 } }

    /// Goes on with the round, or begins one. Returns whether there may be more to do at once.
    func turn(_ partitions: () -> [Partition], nowMs: Int64, bytes: Int) -> Bool {
        lock.withLock {
            if round == nil { round = begin(partitions(), nowMs: nowMs) }
            guard let round else { return false }
            do throws(StorageError) {
                if try round.compaction.run(bytes: bytes) { finish(round) }
            } catch {
                fail(round, error)
            }
            return true
        }
    }

    /// The broker stops.
    func cancel() {
        lock.withLock {
            round?.compaction.cancel()
            round = nil
        }
    }

    private func begin(_ partitions: [Partition], nowMs: Int64) -> Round? {
        var best: (partition: Partition, ratio: Double)?
        for partition in partitions where !refused.contains(ObjectIdentifier(partition)) {
            do throws(EngineError) {
                guard let state = try partition.compactionDue(nowMs: nowMs) else { continue }
                if state.dirtyRatio > best?.ratio ?? -1 { best = (partition, state.dirtyRatio) }
            } catch {
                report(partition, error.message)
            }
        }
        guard let best else { return nil }
        do throws(EngineError) {
            guard let compaction = try best.partition.beginCompaction(nowMs: nowMs) else { return nil }
            return Round(partition: best.partition, compaction: compaction, startMs: milliseconds)
        } catch {
            report(best.partition, error.message)
            return nil
        }
    }

    private func finish(_ round: Round) {
        let result = round.compaction.result
        let duration = milliseconds - round.startMs
        total.withLockedValue { total in
            total.rounds += 1
            total.bytesRead += result.bytesRead
            total.bytesRemoved += result.bytesBefore - result.bytesAfter
            total.lastDurationMs = duration
        }
        logger.info(
            "compacted a log",
            metadata: [
                "partition": "\(round.partition.name)", "bytes before": "\(result.bytesBefore)",
                "bytes after": "\(result.bytesAfter)", "ms": "\(duration)",
            ])
        self.round = nil
    }

    private func fail(_ round: Round, _ error: StorageError) {
        self.round = nil
        // A topic that was deleted, or segments that were, meanwhile.
        if round.partition.isGone || error.code == .closed { return }
        report(round.partition, error.message)
        if error.code == .corrupt { refused.insert(ObjectIdentifier(round.partition)) }
    }

    private func report(_ partition: Partition, _ cause: String) {
        total.withLockedValue { $0.failures += 1 }
        logger.error("a log was not compacted", metadata: ["partition": "\(partition.name)", "cause": "\(cause)"])
    }

    private var milliseconds: Int64 { Int64(clamping: clock.monotonicNs() / 1_000_000) }
}
