// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: one sync for all who wait for one.
//
// Whoever needs data on stable storage enqueues itself. A round takes everybody who is queued, asks each what to
// sync, syncs every file and directory once, and tells each how it went; who comes meanwhile is in the next round.
// So the slower the disk, the more each sync serves. Rounds run on one thread of their own, or inline in tests
// and simulation (`runRound`). `queue` guards the lists; participants are called without any lock.

import Bytes
import Synchronization

/// Something with data to make durable: a partition.
package protocol SyncParticipant: AnyObject, Sendable {
    /// What to sync for this participant; nil if nothing.
    func beginSync() -> SyncWork?
    /// How it went; called once for each `SyncWork`.
    func endSync(_ work: SyncWork, failure: StorageError?)
}

/// What one round did.
package struct SyncRound: Sendable {
    package var participants = 0
    package var files = 0
    package var durationNs: UInt64 = 0
    package var failures = 0
}

/// Collects participants and syncs them together.
package final class GroupCommit: Sendable {
    private let fileSystem: any FileSystem
    private let clock: any Clock
    /// Told of every round, on the sync thread.
    private let onRound: @Sendable (SyncRound) -> Void
    private let queue = Mutex(Queue())
    private let thread: SyncThread

    private struct Queue {
        var waiting: [any SyncParticipant] = []
        var isWaiting: Set<ObjectIdentifier> = []
        /// Those without anybody who waits for them; they join a round when `delayMs` has passed.
        var delayed: [any SyncParticipant] = []
        var isDelayed: Set<ObjectIdentifier> = []
        /// What was written since the delayed ones were last released, and what of that waits for the next round.
        var bytesDelayed = 0
        var bytesReleased = 0
        /// What rounds have made durable since the observer was last told.
        var bytesSynced = 0
        var observer: (bytes: Int, body: @Sendable () -> Void)?
    }

    /// Participants that were enqueued with `enqueueDelayed` are synced within `delayMs`.
    package init(
        fileSystem: any FileSystem, clock: any Clock, delayMs: Int = 3_000,
        onRound: @escaping @Sendable (SyncRound) -> Void = { _ in }
    ) {
        self.fileSystem = fileSystem
        self.clock = clock
        self.onRound = onRound
        thread = SyncThread(name: "martlet-sync", intervalMs: delayMs)
    }

    /// Queues a participant for the next round; once, however often it is called before that.
    package func enqueue(_ participant: any SyncParticipant) {
        let isFirst = queue.withLock { queue in
            guard queue.isWaiting.insert(ObjectIdentifier(participant)).inserted else { return false }
            queue.waiting.append(participant)
            return queue.waiting.count == 1
        }
        if isFirst { thread.wake() }
    }

    /// Queues a participant that nobody waits for: acknowledged writes, of so many bytes, that are to be durable soon, not
    /// now. Much that is not durable makes it now.
    package func enqueueDelayed(_ participant: any SyncParticipant, bytes: Int = 0) {
        let isMuch = queue.withLock { queue in
            queue.bytesDelayed += bytes
            if queue.isDelayed.insert(ObjectIdentifier(participant)).inserted { queue.delayed.append(participant) }
            return queue.bytesDelayed >= StorageLimits.unsyncedBytes
        }
        if isMuch { releaseDelayed() }
    }

    /// Calls `body` after a round whenever another `bytes` bytes have become durable, on the thread of the round.
    package func whenSynced(every bytes: Int, _ body: @escaping @Sendable () -> Void) {
        queue.withLock { $0.observer = (bytes, body) }
    }

    /// Runs rounds on a thread until `stop`.
    package func start() {
        thread.start { [weak self] isDue in
            guard let self else { return false }
            if isDue { self.releaseDelayed() }
            self.runRound()
            return true
        }
    }

    /// Ends the thread after it has synced everybody who is queued, the delayed ones too.
    package func stop() {
        thread.stop()
        releaseDelayed()
        queue.withLock { $0.observer = nil }
        while runRound() {}
    }

    /// Moves the delayed participants to the next round.
    package func releaseDelayed() {
        let delayed = queue.withLock { queue in
            queue.bytesReleased += queue.bytesDelayed
            queue.bytesDelayed = 0
            defer { queue.delayed = []; queue.isDelayed = [] }
            return queue.delayed
        }
        for participant in delayed { enqueue(participant) }
    }

    /// Runs one round with everybody who is queued; false if nobody is.
    @discardableResult
    package func runRound() -> Bool {
        let (participants, bytes) = queue.withLock { queue in
            guard !queue.waiting.isEmpty else { return ([any SyncParticipant](), 0) }
            defer { queue.waiting = []; queue.isWaiting = []; queue.bytesReleased = 0 }
            return (queue.waiting, queue.bytesReleased)
        }
        guard !participants.isEmpty else { return false }
        var round = SyncRound()
        let start = clock.monotonicNs()
        let works = participants.map { ($0, $0.beginSync()) }
        let outcome = sync(works.compactMap(\.1))
        round.durationNs = clock.monotonicNs() &- start
        round.files = outcome.fileCount
        for case (let participant, let work?) in works {
            let failure = outcome.failure(of: work)
            round.participants += 1
            if failure != nil { round.failures += 1 }
            participant.endSync(work, failure: failure)
        }
        if round.participants > 0 { onRound(round) }
        tellObserver(bytes)
        return true
    }

    private func tellObserver(_ bytes: Int) {
        let body = queue.withLock { queue -> (@Sendable () -> Void)? in
            queue.bytesSynced += bytes
            guard let observer = queue.observer, queue.bytesSynced >= observer.bytes else { return nil }
            queue.bytesSynced = 0
            return observer.body
        }
        body?()
    }

    /// Each file and directory once.
    private func sync(_ works: [SyncWork]) -> SyncOutcome {
        var outcome = SyncOutcome()
        var files: [any File] = []
        var directories: [String] = []
        for work in works {
            for file in work.files where outcome.files.insert(ObjectIdentifier(file)).inserted {
                if sabotaged("skipFileSync") || (sabotaged("syncOneFile") && outcome.files.count > 1) { continue }
                files.append(file)
            }
            for directory in work.directories where outcome.directories.insert(directory).inserted {
                if sabotaged("skipDirectorySync") { continue }
                directories.append(directory)
            }
        }
        for (at, error) in failures(of: files, { (file) throws(StorageError) in try file.sync() }) {
            outcome.failedFiles[ObjectIdentifier(files[at])] = error
        }
        let fileSystem = fileSystem
        let sync: @Sendable (String) throws(StorageError) -> Void = { (path) throws(StorageError) in
            try fileSystem.syncDirectory(path)
        }
        for (at, error) in failures(of: directories, sync) { outcome.failedDirectories[directories[at]] = error }
        return outcome
    }

    /// Runs `body` for each item, and says which failed. Many are synced by many threads: the file system's journal makes
    /// whatever is asked for at the same time durable at once, so that is faster by their number.
    private func failures<Item: Sendable>(
        of items: [Item], _ body: @escaping @Sendable (Item) throws(StorageError) -> Void
    ) -> [(at: Int, error: StorageError)] {
        let failed = Mutex<[(at: Int, error: StorageError)]>([])
        let run: @Sendable (Int) -> Void = { at in
            do throws(StorageError) {
                try body(items[at])
            } catch {
                failed.withLock { $0.append((at, error)) }
            }
        }
        if fileSystem.syncsInParallel, items.count >= StorageLimits.parallelSyncs {
            runInParallel(items.count, threads: StorageLimits.syncThreads, run)
        } else {
            for at in items.indices { run(at) }
        }
        return failed.withLock { $0 }
    }
}

/// What was synced in a round, and what of it failed.
private struct SyncOutcome {
    var files: Set<ObjectIdentifier> = []
    var directories: Set<String> = []
    var failedFiles: [ObjectIdentifier: StorageError] = [:]
    var failedDirectories: [String: StorageError] = [:]

    var fileCount: Int { files.count }

    func failure(of work: SyncWork) -> StorageError? {
        if failedFiles.isEmpty && failedDirectories.isEmpty { return nil }
        let failures = work.files.compactMap { failedFiles[ObjectIdentifier($0)] }
            + work.directories.compactMap { failedDirectories[$0] }
        // What can be tried again must not hide what cannot.
        return failures.first { $0.code != .tooManyOpenFiles } ?? failures.first
    }
}
