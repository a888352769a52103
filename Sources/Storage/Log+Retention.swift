// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what a log no longer keeps.
//
// The rules are Kafka's (LogManager's retention): whole segments go, oldest first, by age of their newest record, by
// the size of the log, and below the start offset. The active segment is rolled before it can go. Files are removed in
// the background (`SegmentRemoval`), so that the owner's lock is not held for it. Same owner and lock as `Log`.

import Bytes
import NIOCore

extension Log {
    /// Rolls the active segment if it is due by time; drops segments that retention no longer keeps.
    /// Returns how many segments were dropped.
    package func applyRetention(nowMs: Int64) throws(StorageError) -> Int {
        guard failure == nil else { return 0 }
        if let active, isExpired(active, nowMs: nowMs) || isDueToRoll(active, nowMs: nowMs) { try roll() }
        var excess = configuration.retentionBytes < 0 || !configuration.deletes ? -1 : sizeInBytes - configuration.retentionBytes
        var count = 0
        for (number, segment) in sealed.enumerated() {
            let isSurplus = excess >= segment.written.size
            let isBelowStart = end(ofSealed: number) <= startOffset
            guard isSurplus || isBelowStart || isExpired(segment, nowMs: nowMs) else { break }
            excess -= segment.written.size
            count += 1
        }
        try drop(first: count)
        closeUnused()
        return count
    }

    /// Moves the start offset up to `offset`; whole segments below it are removed.
    package func deleteRecords(before offset: Int64) throws(StorageError) {
        guard offset <= writtenEndOffset else {
            throw StorageError(
                .offsetOutOfRange, "cannot delete \(name) up to \(offset): it ends at \(writtenEndOffset)")
        }
        if let failure { throw failure }
        guard offset > startOffset else { return }
        try consumeCleanMark()
        if offset == writtenEndOffset { try roll() }
        startOffset = offset
        try drop(first: sealed.indices.prefix { end(ofSealed: $0) <= offset }.count)
    }

    /// Where the next segment starts. Offsets that are missing before that belong to this one: it stays as long as the log
    /// has to say that they are damaged.
    func end(ofSealed number: Int) -> Int64 {
        number + 1 < sealed.count ? sealed[number + 1].baseOffset : active?.baseOffset ?? writtenEndOffset
    }

    /// Whether the newest record is older than `retentionMs`. Records without timestamps count from when they were seen.
    private func isExpired(_ segment: Segment, nowMs: Int64) -> Bool {
        // A sealed segment with damage only must not keep newer segments from going; one that compaction has emptied
        // keeps the log's start where it is.
        guard segment.extent.firstTimestamp != nil else { return segment.isSealed && !segment.damage.isEmpty }
        guard configuration.retentionMs >= 0, configuration.deletes else { return false }
        return nowMs - age(of: segment, from: segment.extent.maxTimestamp, nowMs: nowMs) > configuration.retentionMs
    }

    func isDueToRoll(_ segment: Segment, nowMs: Int64) -> Bool {
        guard let first = segment.extent.firstTimestamp else { return false }
        return nowMs - age(of: segment, from: first, nowMs: nowMs) > rollMs(of: segment)
    }

    /// After how long a segment is closed: by some jitter sooner, which for one segment is always the same.
    func rollMs(of segment: Segment) -> Int64 {
        guard configuration.segmentJitterMs > 0 else { return configuration.rollMs }
        let range = min(configuration.segmentJitterMs, configuration.segmentMs)
        var bytes = ByteBuffer(string: name)
        bytes.writeInteger(segment.baseOffset)
        // SAFETY: the pointer is used within the closure only.
        let jitter = Int64(unsafe bytes.withUnsafeReadableBytes { unsafe crc32c($0) }) % range
        return max(0, configuration.rollMs - jitter)
    }

    func age(of segment: Segment, from timestamp: Int64, nowMs: Int64) -> Int64 {
        if timestamp >= 0 { return timestamp }
        if let seen = segment.seenMs { return seen }
        segment.seenMs = nowMs
        return nowMs
    }

    /// Takes the oldest `count` segments out of the log and has their files removed.
    private func drop(first count: Int) throws(StorageError) {
        guard count > 0 else { return }
        // A log that loses all its files would forget how far its offsets have come: the next file says so.
        if count == sealed.count && active == nil { try startEmptySegment() }
        try consumeCleanMark()
        let dropped = Array(sealed.prefix(count))
        if !sabotaged("dropUnsynced") { try syncDropped(dropped) }
        sealed.removeFirst(count)
        sealedBytes -= dropped.reduce(0) { $0 + $1.written.size }
        startOffset = max(startOffset, sealed.first?.baseOffset ?? active?.baseOffset ?? writtenEndOffset)
        openSealed.removeAll { open in dropped.contains { $0 === open } }
        // Their files may be gone by the time of the next round.
        unsyncedSealed.removeAll { unsynced in dropped.contains { $0 === unsynced } }
        quarantined.removeAll { $0.offsets.upperBound <= startOffset }
        environment.removals.enqueue(
            SegmentRemoval(
                directory: name,
                segments: dropped.reversed().map {
                    SegmentRemoval.Segment(baseOffset: $0.baseOffset == active?.baseOffset ? nil : $0.baseOffset, file: $0.file)
                },
                log: ObjectIdentifier(self), delayMs: configuration.fileDeleteDelayMs))
    }

    /// Makes segments durable that are about to go. The next round answers for their batches and cannot sync them any more;
    /// until their files are gone for good a crash may bring some of them back, and a log that ends with the wrong one would
    /// give offsets out again. Seldom is anything to do: what goes is older than the last round.
    private func syncDropped(_ segments: [Segment]) throws(StorageError) {
        for segment in segments where segment.isDirty {
            guard let file = segment.file else { continue }
            do throws(StorageError) {
                try file.sync()
                segment.isDirty = false
            } catch {
                // Without a descriptor nothing was tried, and nothing is dropped this time.
                if error.code != .tooManyOpenFiles { failSync(error) }
                throw error
            }
        }
        unsyncedSealed.removeAll { !$0.isDirty }
    }

    /// Makes the file of the next segment before anything is written to it.
    private func startEmptySegment() throws(StorageError) {
        let segment = Segment(baseOffset: endOffset)
        _ = try openForWriting(segment)
        active = segment
    }

    /// Gives back what a log that nobody reads or writes does not need.
    private func closeUnused() {
        for segment in openSealed where segment.wasUsed == false { putAside(segment) }
        openSealed.removeAll { !$0.wasUsed && !$0.isDirty }
        for segment in openSealed { segment.wasUsed = false }
    }
}
