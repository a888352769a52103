// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a log's part in a sync round.
//
// `beginSync` says under the owner's lock what to sync, the round syncs it without that lock, and `endSync` records
// the outcome under the lock. A failed round makes the log read-only: after a failed fsync the kernel may have thrown
// the data away while a second fsync would succeed, so it is never tried again. Same owner and lock as `Log`.

import Bytes

extension Log {
    /// A file that tells the next start that a sync failed: what is read then may not be on the disk.
    static let failedSyncMark = "sync-failed"

    /// What must be synced so that all written batches are durable; nil if nothing.
    package func beginSync() -> SyncWork? {
        guard failure == nil else { return nil }
        var files = unsyncedFiles
        unsyncedFiles = []
        for segment in unsyncedSealed {
            segment.isDirty = false
            if let file = segment.file { files.append(file) }
        }
        unsyncedSealed = []
        if let active, active.isDirty, let file = active.file {
            active.isDirty = false
            files.append(file)
        }
        guard !files.isEmpty || !unsyncedDirectories.isEmpty else { return nil }
        var work = SyncWork(files: files, directories: unsyncedDirectories.sorted(), endOffset: writtenEndOffset)
        work.generation = compaction.generation
        if let last = active ?? sealed.last {
            work.point = RecoveryPoint(segment: last.baseOffset, extent: last.written)
        }
        unsyncedDirectories = []
        unsyncedBytes = 0
        return work
    }

    /// A sync of this log has failed.
    func failSync(_ error: StorageError) {
        fail(error)
        // Recovery would read the data from the page cache, and a sync would then succeed without writing it.
        // Like that cache, this file only has to outlive the process.
        hasFailedSync = true
        if !sabotaged("trustPageCache") { _ = try? fileSystem.open(path(Self.failedSyncMark), create: true) }
    }

    /// Says how the round went. A failure makes the log read-only (a failed fsync is never retried), unless
    /// there was no descriptor to try it with.
    package func endSync(_ work: SyncWork, failure error: StorageError?) {
        if let error, error.code == .tooManyOpenFiles { return takeBack(work) }
        if let error, !sabotaged("ignoreFailedSync") {
            return failSync(error)
        }
        // Another sync failed meanwhile: what this one had to write may have been thrown away with it.
        guard !hasFailedSync, work.endOffset >= syncedEndOffset else { return }
        syncedEndOffset = sabotaged("countLateWrites") ? writtenEndOffset : work.endOffset
        syncPoint = work.generation == compaction.generation ? work.point : lastDurablePoint
    }

    /// The end of the last segment that is wholly durable: what a round says whose segments compaction has replaced.
    private var lastDurablePoint: RecoveryPoint? {
        (sealed + (active.map { [$0] } ?? [])).last { $0.written.nextOffset <= syncedEndOffset && !$0.isDirty }
            .map { RecoveryPoint(segment: $0.baseOffset, extent: $0.written) }
    }

    /// A round could not open what it was to sync, and has tried nothing: the next one has to do it all.
    private func takeBack(_ work: SyncWork) {
        for segment in sealed + (active.map { [$0] } ?? []) {
            guard let file = segment.file, !segment.isDirty, work.files.contains(where: { $0 === file }) else { continue }
            segment.isDirty = true
            if segment.isSealed { unsyncedSealed.append(segment) }
        }
        unsyncedDirectories.formUnion(work.directories)
    }
}
