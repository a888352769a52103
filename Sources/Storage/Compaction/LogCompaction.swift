// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: one round of compaction of one log.
//
//   map:    the dirty segments are read, and the newest offset of each key noted, until the map is full
//   clean:  segments are filtered, in groups that fit in one new segment each: `X.log.cleaned`, synced
//   swap:   the mark is durable -> `X.log.swap` is durable -> the log takes it in -> the old files are durably gone
//           -> the new one gets its name
//
// A start after a crash discards what is only cleaned, and finishes a swap; at no moment is there less than the newest
// record of every key. Old files go only when the new one is durable. The work is done in steps of bounded size; the
// owner's lock is taken to plan, and for each swap. Not thread-safe: one thread runs it.

import Bytes
import NIOCore
import Records

/// Whose log it is: gives access to it under the owner's lock.
package protocol CompactionOwner: AnyObject {
    func underLock<Result>(_ body: (Log) throws(StorageError) -> Result) throws(StorageError) -> Result
    /// What readers are to be told of aborted transactions with markers at these offsets; called inside `underLock`.
    func replaceAborted(in offsets: Range<Int64>, with kept: [AbortedTransaction])
}

/// What the owner knows of what is in the log.
package struct CompactionContext: Sendable {
    package var nowMs: Int64
    package var lastStableOffset: Int64
    package var producers: [Int64: LastProducerRecord]
    package var aborted: [AbortedTransaction]
    /// Keys in the map at most.
    package var keys: Int = StorageLimits.compactionKeys

    package init(
        nowMs: Int64, lastStableOffset: Int64, producers: [Int64: LastProducerRecord], aborted: [AbortedTransaction]
    ) {
        self.nowMs = nowMs
        self.lastStableOffset = lastStableOffset
        self.producers = producers
        self.aborted = aborted
    }
}

/// What a round has done.
package struct CompactionResult: Equatable, Sendable {
    package var bytesRead: Int64 = 0
    package var bytesBefore: Int64 = 0
    package var bytesAfter: Int64 = 0
    package var swaps = 0
}

package final class LogCompaction {
    private enum Phase {
        case mapping(source: Int, feed: BatchFeed?)
        case cleaning(group: Int)
        case done
    }

    package private(set) var result = CompactionResult()
    private let owner: any CompactionOwner
    private let name: String
    private let fileSystem: any FileSystem
    private let plan: CompactionPlan
    private let context: CompactionContext
    private var mark: CompactionMark
    private var phase = Phase.mapping(source: 0, feed: nil)
    private var map: OffsetMap
    private var mapped: CleanedTransactions
    private var groups: [ArraySlice<CompactionPlan.Source>] = []
    private var filter: BatchFilter?
    private var work: Work?
    private let decompressor = Decompressor()
    private var budget = 0

    /// The group that is being cleaned.
    private struct Work {
        let cleaned: CleanedSegment
        var sources: ArraySlice<CompactionPlan.Source>
        var feed: BatchFeed?
        let all: [CompactionPlan.Source]
    }

    /// Plans a round of the owner's log, under its lock, where `log` comes from; nil if there is nothing to clean.
    package init?(_ log: Log, owner: any CompactionOwner, context: CompactionContext) throws(StorageError) {
        let plan = try log.planCompaction(nowMs: context.nowMs, lastStableOffset: context.lastStableOffset)
        guard let plan else { return nil }
        self.plan = plan
        self.owner = owner
        self.context = context
        name = log.name
        fileSystem = log.fileSystem
        mark = plan.mark
        map = OffsetMap(limit: context.keys)
        mapped = CleanedTransactions(context.aborted.filter { $0.lastOffset >= plan.state.firstDirtyOffset })
    }

    /// Goes on for about so many bytes. Returns whether the round is over.
    package func run(bytes: Int = StorageLimits.compactionStepBytes) throws(StorageError) -> Bool {
        budget = bytes
        while budget > 0 {
            switch phase {
            case .mapping(let source, let feed): try mapOn(source, feed)
            case .cleaning(let group): try cleanOn(group)
            case .done: return true
            }
        }
        if case .done = phase { return true }
        return false
    }

    /// The round ends before its time: what it has put in place stays, the rest is thrown away.
    package func cancel() {
        if let work { try? work.cleaned.discard() }
        work = nil
        phase = .done
    }

    private func spend(_ bytes: Int) {
        budget -= bytes
        result.bytesRead += Int64(bytes)
    }

    private func feed(_ source: CompactionPlan.Source) throws(StorageError) -> BatchFeed {
        let file = SegmentFileName.log(source.segment.baseOffset)
        return BatchFeed(
            file: try fileSystem.open("\(name)/\(file)", create: false), name: "\(name)/\(file)", size: source.size,
            offsets: source.offsets)
    }
}

// MARK: - The map

extension LogCompaction {
    private func mapOn(_ number: Int, _ open: BatchFeed?) throws(StorageError) {
        guard number < plan.sources.count else { return endMapping(at: plan.state.firstUncleanableOffset) }
        let source = plan.sources[number]
        guard source.offsets.upperBound > plan.state.firstDirtyOffset else {
            phase = .mapping(source: number + 1, feed: nil)
            return
        }
        var feed = if let open { open } else { try feed(source) }
        while budget > 0 {
            guard let (header, bytes) = try feed.next() else {
                map.latestOffset = source.offsets.upperBound - 1
                phase = .mapping(source: number + 1, feed: nil)
                return
            }
            spend(header.sizeInBytes)
            guard try note(bytes, header) else { return endMapping(at: map.latestOffset + 1) }
        }
        phase = .mapping(source: number, feed: feed)
    }

    /// Notes the keys of a batch; false if the map is full.
    private func note(_ bytes: ByteBuffer, _ header: BatchHeader) throws(StorageError) -> Bool {
        if header.isControl {
            _ = mapped.isMarkerOfNothing(bytes, header)
        } else if !mapped.isAborted(header), header.lastOffset >= plan.state.firstDirtyOffset {
            guard try noteKeys(bytes) else { return false }
        }
        map.latestOffset = max(map.latestOffset, header.lastOffset)
        return true
    }

    private func noteKeys(_ bytes: ByteBuffer) throws(StorageError) -> Bool {
        do throws(RecordError) {
            let batch = try RecordBatchReader(bytes, decompressor: decompressor)
            var cursor = batch.start
            let from = plan.state.firstDirtyOffset
            // SAFETY: the pointer is used within the closure only.
            return try unsafe batch.records.withUnsafeReadableBytes { (raw) throws(RecordError) in
                while let record = try unsafe cursor.next(in: raw) {
                    guard let range = record.keyRange, record.offset >= from else { continue }
                    let key = unsafe UnsafeRawBufferPointer(rebasing: raw[range])
                    guard unsafe map.put(key, offset: record.offset) else { return false }
                    // Record by record, so that a batch with more keys than there is room for does not stop it for ever.
                    map.latestOffset = record.offset
                }
                return true
            }
        } catch {
            throw StorageError(.corrupt, "a batch of \(name) cannot be read: \(error.message)")
        }
    }

    private func endMapping(at end: Int64) {
        let sources = plan.sources.prefix { $0.offsets.lowerBound < end }
        groups = Self.grouped(sources, plan.configuration)
        filter = BatchFilter(
            map: map, nowMs: context.nowMs, deleteRetentionMs: plan.configuration.deleteRetentionMs,
            endOffset: plan.state.firstUncleanableOffset, producers: context.producers, aborted: context.aborted)
        phase = .cleaning(group: 0)
    }

    /// Neighbours that fit in one segment together.
    private static func grouped(
        _ sources: ArraySlice<CompactionPlan.Source>, _ configuration: LogConfiguration
    ) -> [ArraySlice<CompactionPlan.Source>] {
        var groups: [ArraySlice<CompactionPlan.Source>] = []
        var rest = sources
        while let first = rest.first {
            var size: Int64 = 0
            let count = rest.prefix { source in
                size += source.size
                if source.segment === first.segment || source.size == 0 { return true }
                let entries = size / Int64(max(configuration.indexIntervalBytes, BatchHeader.size)) + 1
                return size <= min(configuration.segmentBytes, StorageLimits.segmentBytes)
                    && entries * Int64(TimeEntry.size) <= Int64(configuration.segmentIndexBytes)
                    && source.offsets.upperBound - 1 - first.offsets.lowerBound <= Int64(Int32.max)
            }.count
            groups.append(rest.prefix(count))
            rest = rest.dropFirst(count)
        }
        return groups
    }
}

// MARK: - Cleaning

extension LogCompaction {
    private func cleanOn(_ number: Int) throws(StorageError) {
        guard number < groups.count else { return try finish() }
        do {
            if work == nil { work = try begin(groups[number]) }
            guard try clean() else { return }
            try swap()
            work = nil
            phase = .cleaning(group: number + 1)
        } catch {
            cancel()
            throw error
        }
    }

    private func begin(_ group: ArraySlice<CompactionPlan.Source>) throws(StorageError) -> Work {
        let all = Array(group)
        let cleaned = try CleanedSegment(
            baseOffset: all[0].segment.baseOffset, directory: name, fileSystem: fileSystem,
            indexIntervalBytes: plan.configuration.indexIntervalBytes)
        return Work(cleaned: cleaned, sources: group, feed: nil, all: all)
    }

    /// Filters on; false if the budget is spent before the group's end.
    private func clean() throws(StorageError) -> Bool {
        while let source = work?.sources.first {
            var feed = if let open = work?.feed { open } else { try feed(source) }
            while budget > 0, let (header, bytes) = try feed.next() {
                spend(header.sizeInBytes)
                if let left = try filter?.filter(bytes, header) { try work?.cleaned.append(left) }
            }
            if feed.position < source.size {
                work?.feed = feed
                return false
            }
            work?.feed = nil
            work?.sources.removeFirst()
        }
        return true
    }

    private func swap() throws(StorageError) {
        guard let work, let filter, let first = work.all.first, let last = work.all.last else { return }
        let offsets = first.offsets.lowerBound..<last.offsets.upperBound
        let kept = filter.takeKeptTransactions()
        let hasTransactions = context.aborted.contains { offsets.contains($0.lastOffset) }
        try work.cleaned.finish(transactions: hasTransactions ? AbortedTransaction.encode(kept) : nil)
        mark.generation += 1
        mark.holesBelow = max(mark.holesBelow, offsets.upperBound)
        mark.swap = CompactionMark.Swap(offsets: offsets, hasTransactions: hasTransactions)
        do throws(StorageError) {
            try write(mark)
            try work.cleaned.announce(hasTransactions: hasTransactions)
            try install(work, offsets, kept)
        } catch {
            try takeBack(after: error)
        }
        try replaceFiles(work, hasTransactions)
        result.bytesBefore += work.all.reduce(0) { $0 + $1.size }
        result.bytesAfter += work.cleaned.segment.written.size
        result.swaps += 1
    }

    private func install(
        _ work: Work, _ offsets: Range<Int64>, _ kept: [AbortedTransaction]
    ) throws(StorageError) {
        let mark = mark
        let owner = owner
        let isInstalled = try owner.underLock { (log) throws(StorageError) -> Bool in
            guard log.install(work.cleaned.segment, for: work.all, mark: mark) else { return false }
            owner.replaceAborted(in: offsets, with: kept)
            return true
        }
        guard isInstalled else {
            throw StorageError(.closed, "the log \(name) has changed; its compaction begins anew")
        }
    }

    /// A swap has not begun after all: a start must not finish it once its files are thrown away.
    private func takeBack(after error: StorageError) throws(StorageError) {
        mark.swap = nil
        do throws(StorageError) {
            try write(mark)
        } catch {
            suspend()
            work = nil
        }
        throw error
    }

    /// No more of this in this run: the next start looks at the files and goes on.
    private func suspend() {
        _ = try? owner.underLock { (log) throws(StorageError) in log.isCompactionSuspended = true }
    }

    /// The log reads from the `.swap` file; the old ones go, then it takes their name.
    private func replaceFiles(_ work: Work, _ hasTransactions: Bool) throws(StorageError) {
        do throws(StorageError) {
            try owner.underLock { (log) throws(StorageError) in try log.putAside(files: work.all, of: work.cleaned.segment) }
            for source in work.all {
                let file = SegmentFileName.log(source.segment.baseOffset) + SegmentFileName.deleted
                try fileSystem.removeIfPresent("\(name)/\(file)")
            }
            try fileSystem.syncDirectory(name)
            try owner.underLock { (log) throws(StorageError) in
                try log.settle(work.cleaned.segment, hasTransactions: hasTransactions)
            }
            try fileSystem.syncDirectory(name)
        } catch {
            // A start finishes it. Until then the log can be read and written as ever.
            suspend()
            self.work = nil
            throw error
        }
    }

    private func write(_ mark: CompactionMark) throws(StorageError) {
        try AtomicFile.replace("\(name)/\(CompactionMark.fileName)", with: mark.contents, in: fileSystem)
    }

    private func finish() throws(StorageError) {
        mark.swap = nil
        mark.firstDirtyOffset = map.latestOffset + 1
        try write(mark)
        let mark = mark
        try owner.underLock { (log) throws(StorageError) in log.compaction = mark }
        phase = .done
    }
}
