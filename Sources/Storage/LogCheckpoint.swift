// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what a checkpoint says of one log.
//
// Everything below the recovery point is durable and described here, so that a start need not look at it. A
// complete entry, of a log that was closed in order, describes the whole log.

import Bytes

/// What a checkpoint says of one log.
package struct LogCheckpoint: Equatable, Sendable {
    package var name: String
    var topicId: TopicId
    /// Whether there is nothing beyond what is described here.
    var isComplete: Bool
    /// Whether the last segment may be appended to.
    var hasActive: Bool
    var startOffset: Int64
    /// End of what is durable.
    var endOffset: Int64
    /// Up to the recovery point, oldest first; the last one only as far as it is durable.
    var segments: [RecoveryPoint]
    var quarantined: [QuarantinedRange]
    /// How far the log was compacted; the segments are those after this replacement.
    var compaction = CompactionMark()
}

extension Log {
    /// What the next checkpoint says of this log. Writes index entries that are due, as a side effect.
    package func checkpoint() -> LogCheckpoint {
        if let active, failure == nil { flushIndexIfPossible(of: active) }
        var segments: [RecoveryPoint] = []
        if let syncPoint {
            for segment in sealed where segment.baseOffset < syncPoint.segment {
                segments.append(RecoveryPoint(segment: segment.baseOffset, extent: segment.written))
            }
            let isKept = active?.baseOffset == syncPoint.segment
                || sealed.contains { $0.baseOffset == syncPoint.segment }
            if isKept { segments.append(syncPoint) }
        }
        return LogCheckpoint(
            name: name, topicId: topicId, isComplete: false,
            hasActive: active.map { $0.baseOffset == segments.last?.segment } ?? false,
            startOffset: sabotaged("forgetStartOffset") ? 0 : startOffset, endOffset: syncedEndOffset, segments: segments,
            quarantined: quarantined.filter { $0.offsets.upperBound <= syncedEndOffset }, compaction: compaction)
    }

    /// Writes and syncs everything and ends the log: nothing can be read or written afterwards. The result is complete
    /// unless the log had failed, now or earlier.
    package func close() -> LogCheckpoint {
        do throws(StorageError) {
            try write()
            if let active {
                active.addTimeEntry()
                active.written = active.extent
            }
            if sabotaged("closeWithoutSync") { syncedEndOffset = endOffset } else { try syncAlone() }
        } catch {
            fail(error)
        }
        var state = checkpoint()
        state.isComplete = failure == nil && syncedEndOffset == endOffset && !isCompactionSuspended
        closeFiles(saying: "the log \(name) is closed")
        return state
    }

    /// Syncs outside of a round. Throws also if the log has failed before.
    package func syncAlone() throws(StorageError) {
        if let failure { throw failure }
        guard let work = beginSync() else { return }
        var failure: StorageError?
        do throws(StorageError) {
            for file in work.files { try file.sync() }
            for directory in work.directories { try fileSystem.syncDirectory(directory) }
        } catch {
            failure = error
        }
        endSync(work, failure: failure)
        if let failure { throw failure }
    }

    /// Lets go of every file; the log answers `.closed` from now on.
    func closeFiles(saying reason: String) {
        failure = StorageError(.closed, reason)
        for segment in sealed { segment.file = nil }
        active?.file = nil
        openSealed = []
        unsyncedSealed = []
        unsyncedDirectories = []
        unsyncedFiles = []
    }
}
