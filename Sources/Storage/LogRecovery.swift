// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: bringing a log back at start.
//
// After a clean shutdown the checkpoint is the log: nothing is looked at, and files are compared with it when they are
// first used. Otherwise the part below the recovery point is taken from the checkpoint (if the files are as long as it
// says), and everything after it is read and checked. A torn tail is cut; damage with good data after it, and durable
// data that is missing, is quarantined; offsets that were durable once are never given out again.

import Bytes
import NIOCore
import Records

/// What recovery did to one log, for the operator.
package struct LogRecoveryReport: Equatable, Sendable {
    package var name: String
    /// Bytes that were read and checked.
    package var scannedBytes: Int64 = 0
    /// Bytes of an unfinished write that were cut from the end.
    package var cutBytes: Int64 = 0
    /// Files without any good batch that were removed.
    package var removedFiles: [String] = []
    /// Damage that was not known before.
    package var quarantined: [QuarantinedRange] = []

    /// Whether there is anything to tell.
    package var isUneventful: Bool { cutBytes == 0 && removedFiles.isEmpty && quarantined.isEmpty }
}

extension Log {
    /// Takes over what a complete checkpoint entry says.
    func restore(from entry: LogCheckpoint) {
        adopt(entry)
        for point in entry.segments { sealed.append(segment(trusting: point, entry)) }
        if entry.hasActive { active = sealed.popLast() }
        for segment in sealed { segment.isSealed = true }
        sealedBytes = sealed.reduce(0) { $0 + $1.written.size }
        endOffset = entry.endOffset
        writtenEndOffset = endOffset
        syncedEndOffset = endOffset
        syncPoint = entry.segments.last
        // A segment that was never written to may have found no room for its directory's files.
        hasDirectory = entry.segments.contains { $0.extent.size > 0 }
    }

    /// Takes over what an entry says below its recovery point, and reads the rest from the files.
    func recover(from entry: LogCheckpoint?) throws(StorageError) -> LogRecoveryReport {
        var recovery = LogRecovery(log: self, entry: entry)
        return try recovery.run()
    }

    fileprivate func adopt(_ entry: LogCheckpoint) {
        startOffset = entry.startOffset
        quarantined = entry.quarantined
        compaction = entry.compaction
    }

    fileprivate func segment(trusting point: RecoveryPoint, _ entry: LogCheckpoint) -> Segment {
        let segment = Segment(baseOffset: point.segment, trusting: point.extent)
        segment.damage = entry.quarantined.filter { $0.segment == point.segment && !$0.positions.isEmpty }
        return segment
    }
}

/// One recovery; lives as long as that.
struct LogRecovery {
    let log: Log
    private let entry: LogCheckpoint?
    private let point: RecoveryPoint?
    private var report: LogRecoveryReport
    /// Where each scanned segment's file ends, by base offset, and why the scan stopped before that.
    private var fileSizes: [Int64: Int64] = [:]
    private var tornReasons: [Int64: String] = [:]
    private var found: [Segment] = []
    /// Whether a sync failed in the last run: then what the page cache shows may not be on the disk.
    private var mustRewrite = false
    /// Whether the recovery point's segment is as long as the checkpoint says.
    private var pointHolds = false
    /// Below this the checkpoint describes files that compaction has replaced since.
    private var replacedBelow: Int64 = 0

    init(log: Log, entry: LogCheckpoint?) {
        self.log = log
        self.entry = entry
        point = entry?.segments.last
        report = LogRecoveryReport(name: log.name)
    }

    mutating func run() throws(StorageError) -> LogRecoveryReport {
        if let entry { log.adopt(entry) }
        let known = log.quarantined
        try finishCompaction()
        let baseOffsets = try baseOffsetsOnDisk()
        log.hasDirectory = !baseOffsets.isEmpty
        mustRewrite = try log.fileSystem.exists(log.path(Log.failedSyncMark))
        try scan(baseOffsets, in: 0..<replacedBelow)
        try takeTrusted(baseOffsets)
        try scan(baseOffsets, in: max(replacedBelow, point?.segment ?? 0)..<Int64.max)
        try removeEmptySegments()
        closeGaps()
        try finish()
        try forgetFailedSync()
        report.quarantined = log.quarantined.filter { !known.contains($0) }
        return report
    }

    /// Discards what a compaction had only begun, and finishes what it had decided.
    private mutating func finishCompaction() throws(StorageError) {
        guard try log.fileSystem.exists(log.name) else { return }
        let mark = try CompactionRecovery(log.name, log.fileSystem).run()
        guard let mark else { return }
        if mark.generation != log.compaction.generation { replacedBelow = mark.holesBelow }
        log.compaction = mark
    }

    private mutating func scan(_ baseOffsets: [Int64], in range: Range<Int64>) throws(StorageError) {
        for (number, baseOffset) in baseOffsets.enumerated() where range.contains(baseOffset) {
            let next = number + 1 < baseOffsets.count ? baseOffsets[number + 1] : Int64.max
            try scan(baseOffset, below: next)
        }
    }

    private mutating func baseOffsetsOnDisk() throws(StorageError) -> [Int64] {
        guard try log.fileSystem.exists(log.name) else { return [] }
        var baseOffsets = try log.fileSystem.list(log.name).compactMap { SegmentFileName.baseOffset(ofLog: $0) }
        baseOffsets.sort()
        // What lies before the oldest segment of the checkpoint was on its way out when the last run ended.
        if let first = entry?.segments.first?.segment {
            for baseOffset in baseOffsets.prefix(while: { $0 < first }) { try removeFiles(of: baseOffset) }
            baseOffsets.removeAll { $0 < first }
        }
        return baseOffsets
    }

    /// The segments below the one with the recovery point.
    private mutating func takeTrusted(_ baseOffsets: [Int64]) throws(StorageError) {
        guard let entry, let point else { return }
        for known in entry.segments where known.segment < point.segment && known.segment >= replacedBelow {
            let isOnDisk = baseOffsets.contains(known.segment)
            // Without a file at the old end of the log: retention has gone on after the checkpoint.
            if !isOnDisk && found.isEmpty && !baseOffsets.isEmpty { continue }
            let segment = log.segment(trusting: known, entry)
            segment.isSealed = true
            try log.check(segment)
            segment.file = nil
            if isOnDisk { found.append(segment) }
        }
    }

    /// Reads what a segment holds after the recovery point, up to where the next segment starts.
    private mutating func scan(_ baseOffset: Int64, below next: Int64) throws(StorageError) {
        let file = try log.fileSystem.open(log.path(SegmentFileName.log(baseOffset)), create: false)
        let size = try file.size()
        let segment = try segmentToScan(baseOffset, file: file, size: size)
        let interval = log.configuration.indexIntervalBytes
        let start = segment.extent.size
        var scan = SegmentScan(file: file, baseOffset: baseOffset, fileSize: size, holesBelow: log.compaction.holesBelow)
        let result = try scan.run(from: start, expecting: segment.extent.nextOffset, below: next) { position, header in
            segment.note(header, at: position, indexIntervalBytes: interval)
        }
        segment.extent.size = result.end
        segment.extent.nextOffset = result.nextOffset
        segment.written = segment.extent
        for range in result.damage { log.quarantine(range, in: segment) }
        fileSizes[baseOffset] = size
        tornReasons[baseOffset] = result.tornReason
        report.scannedBytes += size - start
        if mustRewrite { try rewrite(file, from: start, to: result.end) }
        found.append(segment)
    }

    private mutating func segmentToScan(
        _ baseOffset: Int64, file: any File, size: Int64
    ) throws(StorageError) -> Segment {
        guard let entry, let point, point.segment == baseOffset, baseOffset >= replacedBelow, size >= point.extent.size
        else {
            let segment = Segment(baseOffset: baseOffset)
            segment.file = file
            return segment
        }
        let segment = log.segment(trusting: point, entry)
        segment.isChecked = true
        segment.file = file
        try log.prepareIndex(of: segment)
        segment.extent.lastIndexedPosition = segment.index.offsets.last.map { Int64($0.position) } ?? 0
        segment.extent.lastIndexedTimestamp = segment.index.times.last?.timestamp ?? -1
        pointHolds = true
        return segment
    }

    /// Writes bytes over themselves, so that the next sync really writes them.
    private func rewrite(_ file: any File, from start: Int64, to end: Int64) throws(StorageError) {
        var position = start
        var bytes = ByteBuffer()
        while position < end {
            bytes.clear()
            let count = Int(min(end - position, Int64(StorageLimits.scanBytes)))
            let read = try file.read(into: &bytes, count: count, at: position)
            guard read > 0 else { return }
            try file.write(bytes, at: position)
            position += Int64(read)
        }
    }

    private func forgetFailedSync() throws(StorageError) {
        guard mustRewrite, log.failure == nil else { return }
        do throws(StorageError) {
            try log.syncAlone()
        } catch {
            return
        }
        try log.fileSystem.removeIfPresent(log.path(Log.failedSyncMark))
    }

    /// Removes segments without any good batch from the end: what they were to hold was never durable. If there is nothing
    /// else, the newest stays, because its name says how far the offsets had come.
    private mutating func removeEmptySegments() throws(StorageError) {
        guard let last = found.last else { return }
        let isAllEmpty = found.allSatisfy(\.isEmpty)
        while let segment = found.last, segment.isEmpty, segment !== last || !isAllEmpty {
            try removeFiles(of: segment.baseOffset)
            found.removeLast()
        }
        guard isAllEmpty else { return }
        for segment in found.dropLast() { try removeFiles(of: segment.baseOffset) }
        found = [last]
    }

    /// Quarantines the offsets that are missing between one segment's end and the next one's start.
    private mutating func closeGaps() {
        for (segment, next) in zip(found, found.dropFirst()) where next.baseOffset > log.compaction.holesBelow {
            quarantineMissing(from: segment, to: next.baseOffset)
        }
    }

    /// Quarantines what is missing after the end of `segment`, as far as it is not known to be.
    private func quarantineMissing(from segment: Segment, to offset: Int64) {
        let start = max(
            segment.written.nextOffset, log.startOffset,
            log.quarantined.last { $0.offsets.upperBound <= offset }?.offsets.upperBound ?? 0)
        guard start < offset else { return }
        let end = segment.written.size
        log.quarantine(
            QuarantinedRange(
                offsets: start..<offset, segment: segment.baseOffset,
                positions: end..<max(end, fileSizes[segment.baseOffset] ?? end),
                reason: tornReasons[segment.baseOffset] ?? "the file ends before them"),
            in: segment)
    }

    /// Puts the log together.
    private mutating func finish() throws(StorageError) {
        let durableEnd = entry?.endOffset ?? 0
        log.startOffset = max(log.startOffset, found.first?.baseOffset ?? 0)
        // Deleted records need not be durable: the log may start beyond what the crash has left of it.
        if let last = found.last, !last.isSealed, last.written.nextOffset >= max(durableEnd, log.startOffset) {
            try cutTornEnd(of: last)
            log.active = last
            log.endOffset = last.written.nextOffset
        } else {
            quarantineMissingDurable(upTo: durableEnd)
            log.endOffset = max(durableEnd, log.startOffset)
        }
        if sabotaged("reuseOffset"), log.endOffset > log.startOffset { log.endOffset -= 1 }
        // Before anything is synced: a log that fails ends where its written batches end.
        log.writtenEndOffset = log.endOffset
        for segment in found where segment !== log.active { try seal(segment) }
        log.sealedBytes = log.sealed.reduce(0) { $0 + $1.written.size }
        log.syncedEndOffset = min(log.endOffset, max(durableEnd, log.startOffset))
        log.syncPoint = pointHolds ? point : nil
        if log.hasDirectory {
            log.unsyncedDirectories = ["", log.name]
            try log.writeMetadata()
        }
    }

    /// Cuts what a torn write left behind; the segment is written to from there.
    private mutating func cutTornEnd(of segment: Segment) throws(StorageError) {
        segment.isDirty = fileSizes[segment.baseOffset] != nil
        guard let size = fileSizes[segment.baseOffset], size > segment.written.size, let file = segment.file else {
            return
        }
        if sabotaged("keepTornTail") { return segment.keepTail(size) }
        try file.truncate(to: segment.written.size)
        report.cutBytes += size - segment.written.size
    }

    /// Durable records that no file holds any more: their offsets stay used.
    private func quarantineMissingDurable(upTo durableEnd: Int64) {
        if let last = found.last {
            quarantineMissing(from: last, to: durableEnd)
            return
        }
        let start = max(log.startOffset, log.quarantined.last?.offsets.upperBound ?? 0)
        guard start < durableEnd else { return }
        log.quarantine(
            QuarantinedRange(
                offsets: start..<durableEnd, segment: point?.segment ?? start, positions: 0..<0,
                reason: "the files are missing"),
            in: nil)
    }

    private func seal(_ segment: Segment) throws(StorageError) {
        if let file = segment.file, fileSizes[segment.baseOffset] != nil {
            segment.addTimeEntry()
            segment.written = segment.extent
            log.flushIndexIfPossible(of: segment)
            do throws(StorageError) { try file.sync() } catch { log.failSync(error) }
        }
        segment.isSealed = true
        log.sealed.append(segment)
        log.putAside(segment)
    }

    private mutating func removeFiles(of baseOffset: Int64) throws(StorageError) {
        for name in SegmentFileName.all(baseOffset) { try log.fileSystem.removeIfPresent(log.path(name)) }
        report.removedFiles.append(SegmentFileName.log(baseOffset))
    }
}
