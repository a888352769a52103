// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the owner of the data directory.
//
// Holds the lock file, says what format the directory has, opens and deletes logs, and keeps the checkpoint from which
// the next start takes what it need not read. A start after a clean shutdown reads four small files, whatever the number
// of logs and their size. Thread-safe: `state` guards the table of checkpoint entries; logs are guarded by
// their owners, who hand in what the checkpoint is to say of them.

import Bytes
import Logging
import NIOCore
import Synchronization

/// A tree of logs that belongs to one process.
package final class DataDirectory: Sendable {
    package let fileSystem: any FileSystem
    /// The cluster id that was given to this directory when it was first used.
    package let clusterId: String
    /// Whether the last run ended in order, so that nothing has to be recovered.
    package let wasCleanlyClosed: Bool

    private let environment: LogEnvironment
    private let clock: any Clock
    private let logger: Logger
    private let makeId: @Sendable () -> TopicId
    private let state: Mutex<State>
    /// Paths that a deleted log left behind and that were begun to be removed.
    private let leftovers = Mutex<[String]>([])

    private struct State {
        /// Entries of the last run's checkpoint whose logs were not opened yet.
        var entries: [String: LogCheckpoint]
        /// Of the checkpoint that this run wrote last.
        var savedChecksum: UInt32?
        /// Held until the directory is closed.
        var lock: (any FileLock)?
    }

    /// Takes the directory at the file system's root; makes it one of ours if it is new.
    /// Throws `.inUse` if another process has it, `.newerFormat` if a newer version wrote it.
    package init(
        fileSystem: any FileSystem, clock: any Clock, logger: Logger, processId: Int32 = 0,
        makeId: @escaping @Sendable () -> TopicId = DataDirectory.randomId
    ) throws(StorageError) {
        self.fileSystem = fileSystem
        self.clock = clock
        self.logger = logger
        self.makeId = makeId
        let lock = try fileSystem.lock("martlet.lock", contents: "\(processId)\n")
        if let format = try FormatFile.read(in: fileSystem) {
            clusterId = format.clusterId
        } else {
            clusterId = try Self.initialise(fileSystem, clock, makeId)
        }
        let checkpoint = try CheckpointFile.read(in: fileSystem)
        var isClean = false
        if let checkpoint { isClean = try CleanMark.isThere(in: fileSystem, forChecksum: checkpoint.checksum) }
        wasCleanlyClosed = isClean
        environment = LogEnvironment(
            fileSystem: fileSystem, cleanMark: CleanMark(fileSystem: fileSystem, isSet: isClean)
        ) { [logger] name, range in
            logger.error("damage in a log; its offsets cannot be read", metadata: ["log": "\(name)", "damage": "\(range.line.dropLast())"])
        }
        var entries: [String: LogCheckpoint] = [:]
        for entry in checkpoint?.logs ?? [] {
            entries[entry.name] = entry
            if !isClean { entries[entry.name]?.isComplete = false }
        }
        state = Mutex(State(entries: entries, lock: lock))
    }

    /// Opens a log, recovering it if the last run did not close it. Once per name, unless it was removed in between.
    /// A zero topic id stands for none.
    package func openLog(
        _ name: String, topicId: TopicId, configuration: LogConfiguration
    ) throws(StorageError) -> Log {
        precondition(!name.hasSuffix(Self.deletedSuffix), "log names do not end like deleted ones")
        let log = Log(name: name, topicId: topicId, configuration: configuration, environment: environment)
        var entry = state.withLock { $0.entries.removeValue(forKey: name) }
        if entry?.topicId != topicId { entry = nil }
        if let entry, entry.isComplete {
            log.restore(from: entry)
            return log
        }
        guard try fileSystem.exists(name) || entry != nil else { return log }
        try setAsideStranger(name, topicId: topicId, isKnown: entry != nil)
        let report = try log.recover(from: entry)
        if !report.isUneventful { tell(report) }
        return log
    }

    /// Deletes a log whose owner uses it no more: renames its directory at once, so that the name is free, and leaves the
    /// files to `runBackgroundWork`. The log answers `.closed` from now on.
    package func removeLog(_ log: Log) {
        log.closeFiles(saying: "the log \(log.name) was deleted")
        environment.removals.cancel(log: ObjectIdentifier(log))
        do throws(StorageError) {
            guard try fileSystem.exists(log.name) else { return }
            try environment.cleanMark.consume()
            try fileSystem.rename(log.name, to: deletedName(of: log.name))
            try fileSystem.syncDirectory("")
        } catch {
            logger.error("cannot delete a log; its files stay", metadata: ["log": "\(log.name)", "cause": "\(error)"])
        }
    }

    /// Whether somebody has removed the directory, or emptied it, under the running broker.
    package var hasDisappeared: Bool {
        do throws(StorageError) {
            return try !fileSystem.exists(FormatFile.path)
        } catch {
            return false  // it cannot be examined, which says nothing
        }
    }

    /// Where the directory is, and the bytes of its volume, in all and free; nil where there is no such thing.
    package var location: String { fileSystem.location }
    package var volumeBytes: (total: Int64, free: Int64)? {
        guard let total = fileSystem.totalBytes(), let free = fileSystem.availableBytes() else { return nil }
        return (total, free)
    }

    /// Unlinks what retention and deleted logs left behind, file by file as long as `goesOn` says. Returns whether there is
    /// more to do. Slow; call it from a thread that nobody waits for.
    @discardableResult
    package func runBackgroundWork(while goesOn: () -> Bool = { true }) -> Bool {
        do throws(StorageError) {
            if try environment.removals.run(nowMs: clock.nowMs(), while: goesOn) { return true }
            return try removeLeftovers(while: goesOn)
        } catch {
            logger.error("cannot remove old files", metadata: ["cause": "\(error)"])
            return false
        }
    }

    /// Writes down where recovery may start: `logs` are all open logs' `checkpoint()`s. Does nothing if nothing has
    /// changed since the last time, or since a clean shutdown.
    package func saveCheckpoint(_ logs: [LogCheckpoint]) throws(StorageError) {
        if environment.cleanMark.isThere { return }
        let (bytes, checksum) = CheckpointFile.encode(logs)
        if state.withLock({ $0.savedChecksum }) == checksum { return }
        try AtomicFile.replace(CheckpointFile.path, with: bytes, in: fileSystem)
        state.withLock { $0.savedChecksum = checksum }
    }

    /// Ends the use of the directory in order: `logs` are the results of all open logs' `close()`. Logs that could
    /// not be closed in order are recovered at the next start, the others are taken as they are.
    package func close(_ logs: [LogCheckpoint]) throws(StorageError) {
        if hasDisappeared { throw StorageError(.notFound, "the data directory has disappeared") }
        try environment.removals.run()
        // Logs that nobody opened in this run are as complete as they were.
        let untouched = state.withLock { $0.entries.values.sorted { $0.name < $1.name } }
        let (bytes, checksum) = CheckpointFile.encode(logs + untouched)
        try environment.cleanMark.consume()
        try AtomicFile.replace(CheckpointFile.path, with: bytes, in: fileSystem)
        try environment.cleanMark.set(forChecksum: checksum)
        state.withLock { $0.lock = nil }
    }

    /// A random id.
    package static let randomId: @Sendable () -> TopicId = {
        TopicId(random: { .random(in: .min ... .max) })
    }
}

// MARK: - New, deleted and foreign directories

extension DataDirectory {
    private static let deletedSuffix = "-delete"

    /// Throws what a start would, for a directory that is somebody else's or of a newer version; changes nothing.
    package static func judge(_ fileSystem: any FileSystem) throws(StorageError) {
        if try FormatFile.read(in: fileSystem) == nil { try refuseKafka(fileSystem) }
    }

    private static func refuseKafka(_ fileSystem: any FileSystem) throws(StorageError) {
        guard try !fileSystem.exists("meta.properties") else {
            throw StorageError(
                .corrupt, "the data directory belongs to Apache Kafka (it has meta.properties); use another one (--data)")
        }
    }

    private static func initialise(
        _ fileSystem: any FileSystem, _ clock: any Clock, _ makeId: @Sendable () -> TopicId
    ) throws(StorageError) -> String {
        try refuseKafka(fileSystem)
        let format = FormatFile(clusterId: makeId().description, createdMs: clock.nowMs())
        try AtomicFile.replace(FormatFile.path, with: format.contents, in: fileSystem)
        return format.clusterId
    }

    /// Kafka's name for a log that is being deleted.
    private func deletedName(of name: String) -> String {
        let unique = ".\(makeId())\(Self.deletedSuffix)"
        return String(decoding: name.utf8.prefix(255 - unique.utf8.count), as: UTF8.self) + unique
    }

    /// Removes the directories of deleted logs. Returns whether there is more.
    private func removeLeftovers(while goesOn: () -> Bool) throws(StorageError) -> Bool {
        // Listing a directory with very many files takes as long as removing some of them: it is done once.
        var paths = leftovers.withLock { paths in
            defer { paths = [] }
            return paths
        }
        while goesOn() {
            if paths.isEmpty { paths = try nextLeftovers() }
            guard let path = paths.popLast() else { return false }
            try fileSystem.removeIfPresent(path)
        }
        leftovers.withLock { $0 = paths }
        return true
    }

    /// What to remove of one deleted log, its directory first: the last one goes first.
    private func nextLeftovers() throws(StorageError) -> [String] {
        guard let name = try fileSystem.list("").first(where: { $0.hasSuffix(Self.deletedSuffix) }) else { return [] }
        try environment.cleanMark.consume()
        return [name] + (try fileSystem.list(name).map { "\(name)/\($0)" })
    }

    /// Moves a directory out of the way that has the log's name but another topic's id. A directory whose id a crash took
    /// holds nothing durable, because the id is synced with the first records; it may be another topic's too. If the
    /// checkpoint knows it (`isKnown`), it is this log's.
    private func setAsideStranger(_ name: String, topicId: TopicId, isKnown: Bool) throws(StorageError) {
        guard topicId != .zero else { return }
        let found = try PartitionMetadata.topicId(at: "\(name)/\(PartitionMetadata.fileName)", in: fileSystem)
        if found == topicId || (found == nil && isKnown) { return }
        if found == nil, try !fileSystem.list(name).contains(where: { $0.hasSuffix(".log") }) { return }
        let stray = "\(name).\(found ?? makeId())-stray"
        logger.warning(
            "a directory belongs to another topic of the same name; it is set aside",
            metadata: ["log": "\(name)", "moved to": "\(stray)"])
        try fileSystem.rename(name, to: stray)
        try fileSystem.syncDirectory("")
    }

    private func tell(_ report: LogRecoveryReport) {
        logger.notice(
            "recovered a log",
            metadata: [
                "log": "\(report.name)", "scanned bytes": "\(report.scannedBytes)",
                "cut bytes": "\(report.cutBytes)", "removed files": "\(report.removedFiles.joined(separator: " "))",
                "damaged ranges": "\(report.quarantined.count)",
            ])
    }
}
