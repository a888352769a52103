// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: damage in a log that is in use.
//
// Damage is met in two ways: a segment's file is not as long as the last checkpoint says, or a read finds no batch
// where one must be. Either way the damaged stretch is set aside by its offsets, written down and reported once,
// and everything around it stays readable. Nothing is deleted, and no offset is ever given out again. Same owner
// and lock as `Log`.

import Bytes
import NIOCore
import Records

extension Log {
    /// Runs a read; if it meets damage that was not known, sets that aside and runs it once more.
    func examiningDamage<Result>(_ body: () throws(StorageError) -> Result) throws(StorageError) -> Result {
        do throws(StorageError) {
            return try body()
        } catch {
            guard error.code == .corrupt, try quarantineNewDamage() else { throw error }
        }
        return try body()
    }

    /// Throws if the record at `offset` is known to be damaged.
    func refuseQuarantined(_ offset: Int64) throws(StorageError) {
        if sabotaged("serveDamage") { return }
        guard let range = quarantined.first(where: { $0.offsets.contains(offset) }) else { return }
        throw StorageError(
            .corrupt, "offsets \(range.offsets.lowerBound) to \(range.offsets.upperBound - 1) of \(name) are damaged"
                + " (\(range.reason)); reading goes on at offset \(range.offsets.upperBound)")
    }

    /// Sets a range aside: in memory, in the log's `quarantine` file, and for whoever asks with `takeNews`.
    func quarantine(_ range: QuarantinedRange, in segment: Segment?) {
        if let segment, !range.positions.isEmpty {
            segment.damage.append(range)
            segment.damage.sort { $0.positions.lowerBound < $1.positions.lowerBound }
        }
        guard !range.offsets.isEmpty else { return }
        quarantined.append(range)
        quarantined.sort { $0.offsets.lowerBound < $1.offsets.lowerBound }
        environment.onDamage(name, range)
        recordQuarantine(range)
    }

    /// Compares a segment's file with what the checkpoint says of it, before the first use.
    func check(_ segment: Segment) throws(StorageError) {
        guard !segment.isChecked else { return }
        let path = logPath(segment)
        var size: Int64 = -1
        if try fileSystem.exists(path) {
            let file = try fileSystem.open(path, create: false)
            size = try file.size()
            if size < segment.written.size { try quarantineMissingEnd(of: segment, in: file, size: size) }
            segment.file = file
        } else {
            quarantine(
                QuarantinedRange(
                    offsets: segment.baseOffset..<segment.written.nextOffset, segment: segment.baseOffset,
                    positions: 0..<segment.written.size, reason: "the file is missing"),
                in: segment)
        }
        segment.isChecked = true
        // Bytes that nobody wrote are not touched: the segment is left as it is, and writing goes on in a new one.
        guard size != segment.written.size && segment === active else { return }
        if segment.written.nextOffset > segment.baseOffset { return sealActive() }
        // But for one without records: the new one would have the same name. There is nothing in it to keep.
        guard let file = segment.file, size > 0 else { return }
        try consumeCleanMark()
        try file.truncate(to: 0)
    }

    private func quarantineMissingEnd(of segment: Segment, in file: any File, size: Int64) throws(StorageError) {
        var scan = SegmentScan(file: file, baseOffset: segment.baseOffset, fileSize: size, holesBelow: compaction.holesBelow)
        let found = try scan.run(from: 0, expecting: segment.baseOffset) { _, _ in }
        for range in found.damage { quarantine(range, in: segment) }
        quarantine(
            QuarantinedRange(
                offsets: found.nextOffset..<max(found.nextOffset, segment.written.nextOffset),
                segment: segment.baseOffset, positions: found.end..<max(found.end, segment.written.size),
                reason: "the file was cut to \(size) bytes"),
            in: segment)
    }

    /// Looks through the segments in which a walk has just failed; true if there is one.
    private func quarantineNewDamage() throws(StorageError) -> Bool {
        var hasNews = false
        for segment in sealed + (active.map { [$0] } ?? []) where segment.isSuspect {
            segment.isSuspect = false
            if try quarantineNewDamage(in: segment) { hasNews = true }
        }
        return hasNews
    }

    private func quarantineNewDamage(in segment: Segment) throws(StorageError) -> Bool {
        guard let file = segment.file else { return false }
        var scan = SegmentScan(
            file: file, baseOffset: segment.baseOffset, fileSize: min(segment.written.size, try file.size()),
            holesBelow: compaction.holesBelow)
        let found = try scan.run(from: 0, expecting: segment.baseOffset) { _, _ in }
        var damage = found.damage
        if found.end < segment.written.size {
            damage.append(
                QuarantinedRange(
                    offsets: found.nextOffset..<max(found.nextOffset, segment.written.nextOffset),
                    segment: segment.baseOffset, positions: found.end..<segment.written.size,
                    reason: found.tornReason ?? "the file was cut"))
        }
        let news = damage.filter { range in
            !segment.damage.contains {
                $0.positions.lowerBound <= range.positions.lowerBound && range.positions.upperBound <= $0.positions.upperBound
            }
        }
        guard !news.isEmpty else { return false }
        for range in news { quarantine(range, in: segment) }
        try rebuildIndex(of: segment)
        hints = ReadHints()
        return true
    }

    private func recordQuarantine(_ range: QuarantinedRange) {
        // The file is for people; the checkpoint carries the ranges, and a scan finds them again.
        guard let file = try? fileSystem.open(path("quarantine"), create: true), let end = try? file.size() else {
            return
        }
        try? file.write(ByteBuffer(string: range.line), at: end)
    }
}
