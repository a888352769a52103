// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what has to be done now and then: retention, background syncs, recovery checkpoints.
//
// Runs on one event loop of its own, so that unlinking files and writing checkpoints never holds up a connection.
// Each job is a plain function of the engine that tests and simulation call directly.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Storage

extension Engine {
    /// Starts the periodic jobs on `loop`. They end with `stopHousekeeping`.
    package func startHousekeeping(on loop: any EventLoop) {
        let intervals = configuration.housekeeping
        let retention = loop.scheduleRepeatedTask(
            initialDelay: .milliseconds(min(30_000, intervals.retentionCheckMs)),
            delay: .milliseconds(intervals.retentionCheckMs)
        ) { _ in
            self.applyRetention()
            self.rewriteInternalLogs(on: loop)
            // What is kept in memory only is to give that back at once.
            if self.configuration.durability == .memory { self.checkpoint(on: loop) }
        }
        let checkpoint = loop.scheduleRepeatedTask(
            initialDelay: .milliseconds(intervals.checkpointMs), delay: .milliseconds(intervals.checkpointMs)
        ) { _ in self.checkpoint(on: loop) }
        let expiration = loop.scheduleRepeatedTask(
            initialDelay: .milliseconds(intervals.producerIdExpirationCheckMs),
            delay: .milliseconds(intervals.producerIdExpirationCheckMs)
        ) { _ in self.forgetIdleProducers() }
        jobs.withLockedValue { $0 = [retention, checkpoint, expiration] }
        scheduleCompaction(after: intervals.compactionBackoffMs, on: loop)
        let early = EarlyCheckpoints(engine: self, loop: loop)
        groupCommit.whenSynced(every: intervals.checkpointBytes) { early.request() }
    }

    /// Drops the segments that retention no longer keeps, in every partition.
    package func applyRetention() {
        let now = believedNowMs()
        for partition in allPartitions {
            do {
                let dropped = try partition.applyRetention(nowMs: now)
                if dropped > 0 {
                    logger.info("retention removed segments", metadata: ["partition": "\(partition.name)", "segments": "\(dropped)"])
                }
            } catch {
                logger.error("retention failed", metadata: ["partition": "\(partition.name)", "cause": "\(error)"])
            }
        }
    }

    /// Forgets, in every partition, the producers that wrote nothing for `producer.id.expiration.ms`.
    package func forgetIdleProducers() {
        let now = believedNowMs()
        for partition in allPartitions {
            let forgotten = partition.forgetIdleProducers(nowMs: now, afterMs: configuration.producerIdExpirationMs)
            if forgotten > 0 {
                logger.debug(
                    "idle producers are forgotten",
                    metadata: ["partition": "\(partition.name)", "producers": "\(forgotten)"])
            }
        }
    }

    /// The time, unless the system's clock has just jumped.
    private func believedNowMs() -> Int64 {
        let (now, jumpMs) = retentionClock.withLockedValue {
            $0.now(wallMs: clock.nowMs(), monotonicNs: clock.monotonicNs())
        }
        if jumpMs > 0 {
            logger.warning(
                """
                the system's clock has jumped forward; retention waits an hour before it believes that. \
                Set the clock if it is wrong
                """,
                metadata: ["seconds": "\(jumpMs / 1000)"])
        }
        return now
    }

    /// Compacts logs, a bounded piece at a time, so that the other jobs have their turn; then waits for work.
    private func scheduleCompaction(after delayMs: Int64, on loop: any EventLoop) {
        loop.scheduleTask(in: .milliseconds(delayMs)) { [self] in
            guard !jobs.withLockedValue({ $0.isEmpty }) else { return }
            let hasMore = compact(bytes: StorageLimits.compactionStepBytes)
            scheduleCompaction(after: hasMore ? 0 : configuration.housekeeping.compactionBackoffMs, on: loop)
        }
    }

    /// One turn of compaction. Returns whether there may be more to do at once.
    package func compact(bytes: Int = .max) -> Bool {
        guard !hasLostDirectory.withLockedValue({ $0 }), !isBackingUp.withLockedValue({ $0 }) else { return false }
        let logs = { [topics] in topics.all.filter { !$0.isInternal && $0.configuration.log.compacts }.flatMap(\.partitions) }
        return compactor.turn(logs, nowMs: believedNowMs(), bytes: bytes)
    }

    /// Writes down where recovery may start, and the producers' snapshots, so that a start after a crash has little to
    /// read; then removes the files that retention and deletions left behind.
    package func checkpoint() {
        guard !isBackingUp.withLockedValue({ $0 }) else { return }
        if configuration.durability != .memory, !saveCheckpoint() { return }
        directory.runBackgroundWork()
    }

    /// The same, the removing bit by bit, so that the loop's other work has its turn.
    private func checkpoint(on loop: any EventLoop) {
        guard !isBackingUp.withLockedValue({ $0 }) else { return }
        if configuration.durability != .memory, !saveCheckpoint() { return }
        let isRemoving = isRemovingFiles.withLockedValue { isRemoving in
            defer { isRemoving = true }
            return isRemoving
        }
        if !isRemoving { removeFiles(on: loop) }
    }

    private func removeFiles(on loop: any EventLoop) {
        let endNs = clock.monotonicNs() + Limits.removalSliceNs
        let mayGoOn = !isBackingUp.withLockedValue({ $0 }) && !jobs.withLockedValue({ $0.isEmpty })
        guard mayGoOn, directory.runBackgroundWork(while: { clock.monotonicNs() < endNs }) else {
            return isRemovingFiles.withLockedValue { $0 = false }
        }
        loop.execute { self.removeFiles(on: loop) }
    }

    /// Returns whether the directory is there.
    private func saveCheckpoint() -> Bool {
        let partitions = allPartitions
        guard isDirectoryThere(partitions) else { return false }
        for partition in partitions { snapshotProducers(of: partition, isLast: false) }
        do throws(StorageError) {
            try directory.saveCheckpoint(partitions.compactMap { $0.checkpoint() })
        } catch {
            logger.error("the recovery checkpoint was not written", metadata: ["cause": "\(error)"])
        }
        return true
    }

    /// Whether the data directory is still there. If somebody has removed it, what open files still take is lost, so
    /// every log becomes read-only.
    private func isDirectoryThere(_ partitions: [Partition]) -> Bool {
        if hasLostDirectory.withLockedValue({ $0 }) { return false }
        guard directory.hasDisappeared else { return true }
        hasLostDirectory.withLockedValue { $0 = true }
        let error = StorageError(
            .notFound, "the data directory has disappeared; stop the broker, put the directory back, and start it again")
        logger.critical("\(error.message). Until then nothing can be written")
        for partition in partitions { partition.fail(error) }
        return false
    }

    /// Runs `checkpoint` now, because much was written since the last one.
    fileprivate func checkpointEarly(on loop: any EventLoop) -> TimeAmount {
        let start = clock.monotonicNs()
        checkpoint(on: loop)
        return .nanoseconds(Int64(clamping: clock.monotonicNs() &- start))
    }

    func snapshotProducers(of partition: Partition, isLast: Bool) {
        do {
            try partition.snapshotProducers(isLast: isLast)
        } catch {
            logger.error(
                "the producers' snapshot was not written",
                metadata: ["partition": "\(partition.name)", "cause": "\(error)"])
        }
    }

    /// Rewrites internal logs that have grown far beyond their live state. On `loop`.
    package func rewriteInternalLogs(
        largerThan threshold: Int64 = Limits.internalLogBytes, on loop: any EventLoop
    ) {
        metadata.rewriteIfLarge(than: threshold, on: loop) {
            topics.durableState() + [producerIds.durableState()] + [features.durableState()].compactMap(\.self)
                + access.durableState() + quotas.durableState() + configurations.durableState()
        } completion: { [logger] in Self.report($0, "topic metadata", logger) }
        offsets.rewriteIfLarge(than: threshold, on: loop) {
            groups.durableState()
        } completion: { [logger] in Self.report($0, "committed offsets", logger) }
        transactionLog.rewriteIfLarge(than: threshold, on: loop) {
            transactions.durableState()
        } completion: { [logger] in Self.report($0, "transactions", logger) }
        shareLog.rewriteIfLarge(than: threshold, on: loop) {
            shares.durableState()
        } completion: { [logger] in Self.report($0, "share groups", logger) }
    }

    private static func report(_ result: Result<Bool, EngineError>, _ name: String, _ logger: Logger) {
        switch result {
        case .success(true): logger.info("rewrote the log of \(name)")
        case .success(false): break
        case .failure(let error): logger.error("rewriting the log of \(name) failed", metadata: ["cause": "\(error)"])
        }
    }
}

/// Checkpoints between the periodic ones while much is written: what a start after a crash has to read is bounded in
/// bytes too. They may take a tenth of the time at most, so with many partitions they come more seldom.
private final class EarlyCheckpoints: Sendable {
    private let engine: Engine
    private let loop: any EventLoop
    private let isComing = NIOLockedValueBox(false)

    init(engine: Engine, loop: any EventLoop) {
        self.engine = engine
        self.loop = loop
    }

    /// From any thread.
    func request() {
        guard isComing.withLockedValue({ isComing in
            defer { isComing = true }
            return !isComing
        }) else { return }
        loop.execute { [self] in
            guard !engine.jobs.withLockedValue({ $0.isEmpty }) else { return }
            let duration = engine.checkpointEarly(on: loop)
            loop.scheduleTask(in: duration * 9) { self.isComing.withLockedValue { $0 = false } }
        }
    }
}
