// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the files of dropped segments, on their way out.
//
// Retention takes segments out of a log under the owner's lock; unlinking large files is slow and happens here, on
// whichever thread calls `run`. Segments go oldest first, each durably before the next, so that after a crash
// what is left is the newest part of the log without a hole. `queue` guards the list, `running` the work.

import Synchronization

/// The dropped segments of one log.
struct SegmentRemoval: Sendable {
    /// The log's directory.
    var directory: String
    var baseOffsets: [Int64]
    /// Kept open until the work is done: the last close frees the blocks, which takes time too.
    var files: [any File]
    /// Which log they belonged to.
    var log: ObjectIdentifier
    /// How long the files stay from when the background first sees this, and until when that is.
    var delayMs: Int64 = 0
    var dueMs: Int64?
}

/// Work that the background does for retention.
final class SegmentRemovals: Sendable {
    private let fileSystem: any FileSystem
    private let queue = Mutex<[SegmentRemoval]>([])
    private let running = Mutex<Void>(())

    init(fileSystem: any FileSystem) { self.fileSystem = fileSystem }

    func enqueue(_ removal: SegmentRemoval) { queue.withLock { $0.append(removal) } }

    /// Forgets what waits for this log, after work on it has ended: its directory is about to go as a whole.
    func cancel(log: ObjectIdentifier) {
        running.withLock { _ in queue.withLock { $0.removeAll { $0.log == log } } }
    }

    /// Removes everything that waits and has waited long enough (nil: everything). Throws the first error; what it met
    /// stays on disk until the next start.
    func run(nowMs: Int64? = nil) throws(StorageError) {
        var failure: StorageError?
        while let problem = running.withLock({ _ in removeNext(nowMs) }) {
            if case .failed(let error) = problem { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    private enum Outcome {
        case done
        case failed(StorageError)
    }

    /// The first that is due; of one log never one before another that came earlier.
    private func takeNext(_ nowMs: Int64?) -> SegmentRemoval? {
        queue.withLock { queue in
            guard let nowMs else { return queue.isEmpty ? nil : queue.removeFirst() }
            var waiting: Set<ObjectIdentifier> = []
            for at in queue.indices {
                let (due, isNever) = nowMs.addingReportingOverflow(queue[at].delayMs)
                let dueMs = queue[at].dueMs ?? (isNever ? .max : due)
                queue[at].dueMs = dueMs
                if dueMs <= nowMs, !waiting.contains(queue[at].log) { return queue.remove(at: at) }
                waiting.insert(queue[at].log)
            }
            return nil
        }
    }

    private func removeNext(_ nowMs: Int64?) -> Outcome? {
        guard let removal = takeNext(nowMs) else { return nil }
        do throws(StorageError) {
            // The segment that follows must be there to stay before these go.
            try fileSystem.syncDirectory(removal.directory)
            for baseOffset in removal.baseOffsets {
                for name in SegmentFileName.all(baseOffset) + SegmentFileName.swaps(baseOffset) {
                    try fileSystem.removeIfPresent("\(removal.directory)/\(name)")
                }
                try fileSystem.syncDirectory(removal.directory)
            }
            return .done
        } catch {
            return .failed(error)
        }
    }
}

extension FileSystem {
    /// Removes a file or an empty directory; one that is not there is no error.
    func removeIfPresent(_ path: String) throws(StorageError) {
        do throws(StorageError) {
            try remove(path)
        } catch {
            if error.code != .notFound { throw error }
        }
    }
}
