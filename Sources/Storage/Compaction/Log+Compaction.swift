// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a log's part in compaction: what may be cleaned, and taking a cleaned segment in.
//
// Which segments those are follows Kafka's LogCleanerManager: closed ones, wholly below the last stable offset, and
// older than `min.compaction.lag.ms`; here also durable ones only, because what replaces them is. The work itself is
// `LogCompaction`'s and needs no lock. A log with known damage is not compacted. Same owner and lock as `Log`.

import Records

/// How much there is to clean.
package struct CompactionState: Equatable, Sendable {
    /// Where the last round has ended.
    package var firstDirtyOffset: Int64
    /// Base of the first segment that may not be cleaned.
    package var firstUncleanableOffset: Int64
    package var cleanBytes: Int64
    package var dirtyBytes: Int64
    /// Whether records wait for longer than `max.compaction.lag.ms`.
    package var isOverdue: Bool

    package var dirtyRatio: Double {
        dirtyBytes == 0 ? 0 : Double(dirtyBytes) / Double(cleanBytes + dirtyBytes)
    }
}

/// The segments of a round, as they were when it began.
struct CompactionPlan {
    struct Source {
        let segment: Segment
        let size: Int64
        /// To the base of the segment that follows.
        let offsets: Range<Int64>
    }

    var sources: [Source]
    var state: CompactionState
    var configuration: LogConfiguration
    var mark: CompactionMark
}

extension Log {
    /// What a round would have to do; nil if this log is not to be compacted, or cannot be.
    package func compactionState(nowMs: Int64, lastStableOffset: Int64) -> CompactionState? {
        guard configuration.compacts, failure == nil, !isCompactionSuspended else { return nil }
        guard !quarantined.contains(where: { $0.offsets.upperBound > startOffset }) else { return nil }
        var dirty = max(compaction.firstDirtyOffset, startOffset)
        if dirty > writtenEndOffset { dirty = startOffset }
        var state = CompactionState(
            firstDirtyOffset: dirty, firstUncleanableOffset: startOffset, cleanBytes: 0, dirtyBytes: 0, isOverdue: false)
        let stable = min(lastStableOffset, syncedEndOffset)
        for (number, segment) in sealed.enumerated() {
            let end = end(ofSealed: number)
            guard !segment.isDirty, segment.damage.isEmpty, segment.written.nextOffset <= stable else { break }
            if end > dirty, isTooYoungToClean(segment, nowMs: nowMs) { break }
            if end > dirty { state.dirtyBytes += segment.written.size } else { state.cleanBytes += segment.written.size }
            if end > dirty, isOverdueToClean(segment, nowMs: nowMs) { state.isOverdue = true }
            state.firstUncleanableOffset = end
        }
        return state
    }

    private func isTooYoungToClean(_ segment: Segment, nowMs: Int64) -> Bool {
        guard configuration.minCompactionLagMs > 0 else { return false }
        return age(of: segment, from: segment.written.maxTimestamp, nowMs: nowMs) > nowMs - configuration.minCompactionLagMs
    }

    private func isOverdueToClean(_ segment: Segment, nowMs: Int64) -> Bool {
        guard let first = segment.written.firstTimestamp, first > 0 else { return false }
        return first < nowMs.subtractingReportingOverflow(configuration.maxCompactionLagMs).partialValue
    }

    /// The plan of a round; nil if there is nothing to clean.
    func planCompaction(nowMs: Int64, lastStableOffset: Int64) throws(StorageError) -> CompactionPlan? {
        guard let state = compactionState(nowMs: nowMs, lastStableOffset: lastStableOffset), state.dirtyBytes > 0 else {
            return nil
        }
        try consumeCleanMark()
        var sources: [CompactionPlan.Source] = []
        for (number, segment) in sealed.enumerated() where segment.baseOffset < state.firstUncleanableOffset {
            try check(segment)
            guard segment.damage.isEmpty else { return nil }
            sources.append(
                CompactionPlan.Source(
                    segment: segment, size: segment.written.size, offsets: segment.baseOffset..<end(ofSealed: number)))
        }
        return CompactionPlan(sources: sources, state: state, configuration: configuration, mark: compaction)
    }

    /// Takes a cleaned segment in the place of `sources`, whose files are still there; false if the log has changed
    /// meanwhile. From here on readers get the new one, from its `.swap` file.
    func install(_ cleaned: Segment, for sources: [CompactionPlan.Source], mark: CompactionMark) -> Bool {
        guard failure == nil, let first = sources.first,
            let at = sealed.firstIndex(where: { $0 === first.segment }), at + sources.count <= sealed.count,
            zip(sealed[at...], sources).allSatisfy({ $0 === $1.segment })
        else { return false }
        let old = Array(sealed[at..<at + sources.count])
        cleaned.isSwapping = true
        sealed.replaceSubrange(at..<at + sources.count, with: [cleaned])
        sealedBytes += cleaned.written.size - old.reduce(0) { $0 + $1.written.size }
        openSealed.removeAll { open in old.contains { $0 === open } }
        hints = ReadHints()
        compaction = mark
        noteSyncPoint(replacing: sources[0].offsets.lowerBound..<sources[sources.count - 1].offsets.upperBound, by: cleaned)
        return true
    }

    /// The place up to where all is durable may have been in a segment that is no more.
    private func noteSyncPoint(replacing offsets: Range<Int64>, by cleaned: Segment) {
        guard let point = syncPoint, offsets.contains(point.segment) else { return }
        syncPoint = RecoveryPoint(segment: cleaned.baseOffset, extent: cleaned.written)
    }

    /// Gives the old files of an installed segment names of their own, by which they can be removed without the lock even
    /// if the log is deleted and made again meanwhile. Its indexes are small and go at once.
    func putAside(files sources: [CompactionPlan.Source], of cleaned: Segment) throws(StorageError) {
        guard failure?.code != .closed else { return }
        for source in sources {
            let base = source.segment.baseOffset
            source.segment.file = nil
            let log = path(SegmentFileName.log(base))
            try fileSystem.rename(log, to: log + SegmentFileName.deleted)
            for index in SegmentFileName.all(base).dropFirst() { try fileSystem.removeIfPresent(path(index)) }
        }
    }

    /// Gives an installed segment its own name, once the files that it replaces are durably gone.
    func settle(_ cleaned: Segment, hasTransactions: Bool) throws(StorageError) {
        guard failure?.code != .closed, sealed.contains(where: { $0 === cleaned }) else { return }
        let names = hasTransactions ? [SegmentFileName.transactionIndex, SegmentFileName.log] : [SegmentFileName.log]
        for name in names {
            let path = path(name(cleaned.baseOffset))
            try fileSystem.rename(path + SegmentFileName.swap, to: path)
        }
        cleaned.file = nil
        cleaned.isSwapping = false
        flushIndexIfPossible(of: cleaned)
        putAside(cleaned)
        openSealed.removeAll { $0 === cleaned }
    }

    /// Rolls the active segment if its records may not wait longer, or are old. Returns whether anything was rolled.
    package func rollIfDue(nowMs: Int64) throws(StorageError) -> Bool {
        guard failure == nil, let active, isDueToRoll(active, nowMs: nowMs) else { return false }
        try roll()
        return true
    }
}
