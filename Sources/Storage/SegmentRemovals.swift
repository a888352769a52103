// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the files of dropped segments, on their way out.
//
// Retention takes segments out of a log under the owner's lock; unlinking large files is slow and happens here, on
// whichever thread calls `run`. Segments go oldest first, each durably before the next, so that after a crash
// what is left is the newest part of the log without a hole. `queue` guards the list, `running` the work.

import Synchronization

/// Dropped segments of one log.
struct SegmentRemoval: Sendable {
    struct Segment: Sendable {
        /// nil: only the file is to be closed, its name is in use again.
        var baseOffset: Int64?
        /// Kept open until its name is gone: the last close frees the blocks, which takes time too.
        var file: (any File)?
    }

    /// The log's directory.
    var directory: String
    /// Newest first: the last one goes first.
    var segments: [Segment]
    /// The first of them was taken.
    var hasBegun = false
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

    /// Removes what waits and has waited long enough (nil: everything), one segment after the other as long as `goesOn`
    /// says. Returns whether there is more. Throws the first error; what it met stays on disk until the next start.
    @discardableResult
    func run(nowMs: Int64? = nil, while goesOn: () -> Bool = { true }) throws(StorageError) -> Bool {
        var failure: StorageError?
        var hasMore = true
        while hasMore {
            switch running.withLock({ _ in removeNext(nowMs) }) {
            case .done: break
            case .failed(let error): failure = failure ?? error
            case nil: hasMore = false
            }
            if !goesOn() { break }
        }
        if let failure { throw failure }
        return hasMore
    }

    private enum Outcome {
        case done
        case failed(StorageError)
    }

    /// The first segment that is due; of one log never one before another that came earlier.
    private func takeNext(_ nowMs: Int64?) -> SegmentRemoval? {
        queue.withLock { queue in
            guard let nowMs else { return queue.isEmpty ? nil : Self.takeFirst(of: 0, &queue) }
            var waiting: Set<ObjectIdentifier> = []
            for at in queue.indices {
                let (due, isNever) = nowMs.addingReportingOverflow(queue[at].delayMs)
                let dueMs = queue[at].dueMs ?? (isNever ? .max : due)
                queue[at].dueMs = dueMs
                if dueMs <= nowMs, !waiting.contains(queue[at].log) { return Self.takeFirst(of: at, &queue) }
                waiting.insert(queue[at].log)
            }
            return nil
        }
    }

    private static func takeFirst(of index: Int, _ queue: inout [SegmentRemoval]) -> SegmentRemoval {
        if queue[index].segments.count <= 1 { return queue.remove(at: index) }
        var one = queue[index]
        one.segments = []
        one.segments = queue[index].segments.popLast().map { [$0] } ?? []
        queue[index].hasBegun = true
        return one
    }

    private func removeNext(_ nowMs: Int64?) -> Outcome? {
        guard let removal = takeNext(nowMs) else { return nil }
        do throws(StorageError) {
            // The segment that follows must be there to stay before these go.
            if !removal.hasBegun { try fileSystem.syncDirectory(removal.directory) }
            for segment in removal.segments {
                guard let baseOffset = segment.baseOffset else { continue }
                for name in SegmentFileName.all(baseOffset) + SegmentFileName.swaps(baseOffset) {
                    try fileSystem.removeIfPresent("\(removal.directory)/\(name)")
                }
                try fileSystem.syncDirectory(removal.directory)
            }
            return .done
        } catch {
            // Those that follow must not go before it.
            queue.withLock { queue in queue.removeAll { $0.log == removal.log } }
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
