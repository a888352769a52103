// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: where a broker keeps its records: a directory, or memory.

import Bytes
import Glibc
import Logging
import Storage
import Telemetry

struct BrokerStorage: Sendable {
    let fileSystem: any FileSystem
    let directory: DataDirectory
    let groupCommit: GroupCommit

    /// Takes the directory, or memory, and starts the thread that syncs.
    init(
        _ configuration: Configuration, clock: any Clock, metrics: Metrics, logger: Logger
    ) throws(BrokerError) {
        let path = absolute(configuration.dataDirectory)
        let files = FilePool(limit: DescriptorShares(configuration).files)
        do {
            let real: any FileSystem =
                configuration.isEphemeral ? MemoryFileSystem() : try RealFileSystem(root: path, pool: files)
            let delayMs = configuration.diskDelayMs
            fileSystem = delayMs > 0 ? SlowFileSystem(real, delayMs: delayMs) : real
            directory = try DataDirectory(fileSystem: fileSystem, clock: clock, logger: logger, processId: getpid())
        } catch {
            // What the storage says of a file names it; what it says of the whole directory may not.
            throw BrokerError(error.message.firstRange(of: path) != nil ? error.message : "data directory \(path): \(error.message)")
        }
        groupCommit = GroupCommit(fileSystem: fileSystem, clock: clock, onRound: Self.count(metrics))
        groupCommit.start()
        files.whenPressed { [groupCommit] in groupCommit.releaseDelayed() }
        Self.observe(files, metrics)
    }

    private static func observe(_ files: FilePool, _ metrics: Metrics) {
        metrics.observe("martlet_open_files", "Files of logs that are open.") { Double(files.openCount) }
        metrics.observe("martlet_open_files_max", "Most files of logs that are kept open.") { Double(files.limit) }
        metrics.observe(
            "martlet_files_reopened_total", "Files opened again that were closed to make room.", kind: .counter
        ) { Double(files.reopenedCount) }
    }

    private static func count(_ metrics: Metrics) -> @Sendable (SyncRound) -> Void {
        let seconds = metrics.histogram("martlet_sync_seconds", "How long a group commit took.")
        let participants = metrics.histogram(
            "martlet_sync_partitions", "How many partitions shared a group commit.", buckets: .items)
        let failures = metrics.counter("martlet_sync_failures_total", "Partitions whose sync failed.")
        return { round in
            seconds.observe(Int(clamping: round.durationNs))
            participants.observe(round.participants)
            failures.add(round.failures)
        }
    }
}
