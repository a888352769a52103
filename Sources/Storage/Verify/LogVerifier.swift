// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: checks one log's directory against itself and against the checkpoint.
//
// Reads every batch (checksum, head, counts; records if asked), the indexes beside them, the snapshots and the small
// files, and how the segments follow each other. It changes nothing. What lies behind the last good batch of the last
// segment is no damage while a broker writes there, and none after a crash either: the next start cuts it. A value of
// one check; its caller collects the findings.

import Bytes
import NIOCore
import Records

/// One log's check.
package struct LogVerifier {
    private let fileSystem: any FileSystem
    private let name: String
    private let options: VerifyOptions
    /// What the checkpoint says of it, and whether that is the whole truth.
    private let entry: LogCheckpoint?
    private let isComplete: Bool
    /// Below this, offsets may be missing without being lost.
    private var holesBelow: Int64
    private var mark: CompactionMark?
    private let report: (VerifyFinding) -> Void
    private let onRecord: ((Record) -> Void)?
    private let onBytes: (Int64) -> Void
    private let decompressor: Decompressor

    package private(set) var totals = VerifyTotals()
    /// The topic id in `partition.metadata`.
    package private(set) var topicId: TopicId?
    /// The offset after the last good batch.
    private var endOffset: Int64 = 0
    private var known: [QuarantinedRange] = []

    init(
        _ name: String, in fileSystem: any FileSystem, options: VerifyOptions, entry: LogCheckpoint?, isComplete: Bool,
        decompressor: Decompressor, report: @escaping (VerifyFinding) -> Void,
        onRecord: ((Record) -> Void)?, onBytes: @escaping (Int64) -> Void
    ) {
        self.name = name
        holesBelow = 0
        self.fileSystem = fileSystem
        self.options = options
        self.entry = entry
        self.isComplete = isComplete
        self.decompressor = decompressor
        self.report = report
        self.onRecord = onRecord
        self.onBytes = onBytes
    }

    mutating func run() throws(StorageError) {
        let names = try fileSystem.list(name)
        totals.logs = 1
        try readPartitionMetadata(names)
        mark = try CompactionMark.read(in: name, fileSystem)
        holesBelow = mark?.holesBelow ?? 0
        let baseOffsets = segments(names)
        endOffset = max(entry?.startOffset ?? 0, baseOffsets.first ?? 0)
        known = (entry?.quarantined ?? []) + (try quarantineFile(names))
        known.removeAll { $0.offsets.upperBound <= endOffset }
        reportKnown()
        for (number, baseOffset) in baseOffsets.enumerated() {
            let next = number + 1 < baseOffsets.count ? baseOffsets[number + 1] : nil
            try verifySegment(baseOffset, next: next, names)
        }
        checkEnd(baseOffsets)
        try verifySnapshots(names)
        reportLeftovers(names, Set(baseOffsets))
    }

    private func path(_ file: String) -> String { "\(name)/\(file)" }

    /// Bases of the segments, oldest first. One that a compaction was about to put in place counts instead of what it replaces.
    private func segments(_ names: [String]) -> [Int64] {
        let all = names.compactMap { SegmentFileName.baseOffset(ofLog: $0) }
        guard let swap = mark?.swap, isSwapping(swap.offsets.lowerBound, names) else { return all.sorted() }
        return (all.filter { !swap.offsets.contains($0) } + [swap.offsets.lowerBound]).sorted()
    }

    private func isSwapping(_ baseOffset: Int64, _ names: [String]) -> Bool {
        mark?.swap?.offsets.lowerBound == baseOffset
            && names.contains(SegmentFileName.log(baseOffset) + SegmentFileName.swap)
    }

    /// Whether a segment of the checkpoint was compacted since that was written.
    private func isReplaced(_ baseOffset: Int64) -> Bool {
        guard let mark, let entry, mark.generation != entry.compaction.generation else { return false }
        return baseOffset < mark.holesBelow
    }

    /// A file's bytes; nil if it is gone, which is normal while a broker runs.
    private func contents(_ file: String) throws(StorageError) -> ByteBuffer? {
        do throws(StorageError) {
            let opened = try fileSystem.open(path(file), create: false)
            let size = Int(min(try opened.size(), Int64(StorageLimits.indexFileBytes)))
            var bytes = ByteBuffer()
            if size > 0 { _ = try opened.read(into: &bytes, count: size, at: 0) }
            return bytes
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
    }

    /// Whether offsets are known to be lost.
    private func isKnown(_ offsets: Range<Int64>) -> Bool {
        known.contains { $0.offsets.lowerBound <= offsets.lowerBound && offsets.upperBound <= $0.offsets.upperBound }
    }
}

// MARK: - Segments

extension LogVerifier {
    private mutating func verifySegment(_ baseOffset: Int64, next: Int64?, _ names: [String]) throws(StorageError) {
        let logName = SegmentFileName.log(baseOffset) + (isSwapping(baseOffset, names) ? SegmentFileName.swap : "")
        // Read before the log, so that no entry can be for a batch that is not seen.
        let indexBytes = try contents(SegmentFileName.offsetIndex(baseOffset))
        let timeBytes = try contents(SegmentFileName.timeIndex(baseOffset))
        let file: any File
        let size: Int64
        do throws(StorageError) {
            file = try fileSystem.open(path(logName), create: false)
            size = try file.size()
        } catch {
            // Retention has removed it since the directory was listed.
            if error.code == .notFound && options.isInUse { return }
            throw error
        }
        reportGap(before: baseOffset)
        var pass = SegmentPass(
            offsetIndex: OffsetIndexCheck(indexBytes ?? ByteBuffer(), baseOffset: baseOffset),
            timeIndex: TimeIndexCheck(timeBytes ?? ByteBuffer(), baseOffset: baseOffset), file: file)
        var scan = SegmentScan(file: file, baseOffset: baseOffset, fileSize: size, holesBelow: holesBelow)
        let result = try scan.run(from: 0, expecting: baseOffset, below: next ?? .max) { position, header in
            see(header, at: position, in: &pass, logName)
        }
        if let failure = pass.failure { throw failure }
        totals.segments += 1
        totals.bytes += size
        onBytes(size)
        for range in result.damage where !isKnown(range.offsets) { reportDamage(range) }
        if result.end < size { reportEnd(of: baseOffset, result, size: size, isLast: next == nil) }
        compareWithCheckpoint(baseOffset, size: size, result, isLast: next == nil)
        endOffset = max(endOffset, result.nextOffset)
        // Where batches are missing the index is wrong with good reason, and is rebuilt when they are met.
        guard result.damage.isEmpty, result.end == size || next == nil else { return }
        let mayBeAhead = next == nil && (options.isInUse || !isComplete)
        finishIndexes(of: baseOffset, &pass, mayBeAhead: mayBeAhead, isSealed: next != nil, timeBytes != nil)
    }

    /// What one pass over a segment carries along.
    private struct SegmentPass {
        var offsetIndex: OffsetIndexCheck
        var timeIndex: TimeIndexCheck
        let file: any File
        var maxTimestamp: Int64 = -1
        var failure: StorageError?
    }

    private mutating func see(
        _ header: BatchHeader, at position: Int64, in pass: inout SegmentPass, _ logName: String
    ) {
        totals.batches += 1
        totals.records += Int64(max(0, header.recordCount))
        pass.offsetIndex.see(header, at: position)
        pass.timeIndex.see(header)
        pass.maxTimestamp = max(pass.maxTimestamp, header.maxTimestamp)
        let positions = position..<position + Int64(header.sizeInBytes)
        let offsets = header.baseOffset..<max(header.baseOffset, header.nextOffset)
        let spanned = Int64(header.lastOffsetDelta) + 1
        let isDense = header.baseOffset >= holesBelow
        if isDense ? Int64(header.recordCount) != spanned : Int64(header.recordCount) > spanned {
            report(
                VerifyFinding(
                    .counts, file: path(logName), positions: positions, offsets: offsets,
                    "the batch says that it has \(header.recordCount) records over \(spanned) offsets",
                    meaning: "the checksum is right, so it was written like this; clients may refuse it",
                    next: "have its producer send the records again, or skip to offset \(header.nextOffset)"))
        }
        guard options.readsRecords || onRecord != nil, pass.failure == nil else { return }
        do throws(StorageError) {
            var bytes = ByteBuffer()
            try LogSlice(file: pass.file, position: position, length: header.sizeInBytes).read(into: &bytes)
            if let problem = readRecords(bytes, header) {
                report(
                    VerifyFinding(
                        .records, file: path(logName), positions: positions, offsets: offsets,
                        "the records of the batch cannot be read: \(problem)",
                        meaning: "the checksum is right, so it was written like this; clients fail at it",
                        next: "have its producer send the records again, or skip to offset \(header.nextOffset)"))
            }
        } catch {
            pass.failure = error
        }
    }

    /// Looks at each record; returns what is wrong.
    private func readRecords(_ bytes: ByteBuffer, _ header: BatchHeader) -> String? {
        do throws(RecordError) {
            var reader = try RecordBatchReader(bytes, decompressor: decompressor)
            var due = header.baseOffset
            while let record = try reader.next() {
                if header.baseOffset >= holesBelow ? record.offset != due : record.offset < due {
                    return "a record has offset \(record.offset) where \(due) is due"
                }
                due = record.offset + 1
                onRecord?(record)
            }
            return due > header.nextOffset ? "a record has an offset behind the batch's last" : nil
        } catch {
            return error.message
        }
    }

    private func finishIndexes(
        of baseOffset: Int64, _ pass: inout SegmentPass, mayBeAhead: Bool, isSealed: Bool, _ hasTimes: Bool
    ) {
        pass.offsetIndex.finish(mayBeAhead: mayBeAhead)
        pass.timeIndex.finish(mayBeAhead: mayBeAhead)
        reportIndex(
            .offsetIndex, SegmentFileName.offsetIndex(baseOffset), pass.offsetIndex.problem, pass.offsetIndex.wrong)
        reportIndex(.timeIndex, SegmentFileName.timeIndex(baseOffset), pass.timeIndex.problem, pass.timeIndex.wrong)
        let isShort = hasTimes && pass.timeIndex.problem == nil && pass.timeIndex.lastTimestamp < pass.maxTimestamp
        guard isSealed, !options.isInUse, isShort else { return }
        report(
            VerifyFinding(
                .timeIndex, .notice, file: path(SegmentFileName.timeIndex(baseOffset)),
                "it ends at timestamp \(pass.timeIndex.lastTimestamp), the segment at \(pass.maxTimestamp)",
                meaning: "it is incomplete, and is made anew when it is first needed", next: "nothing"))
    }

    private func reportIndex(_ kind: VerifyFinding.Kind, _ file: String, _ problem: String?, _ count: Int) {
        guard let problem else { return }
        report(
            VerifyFinding(
                kind, file: path(file), count == 1 ? problem : "\(problem), and \(count - 1) entries more are wrong",
                meaning: "no record is lost: an index is compared with the log whenever it is used, and made anew",
                next: "stop the broker and delete the file, or leave it"))
    }
}

// MARK: - What is damaged or missing

extension LogVerifier {
    private func reportKnown() {
        for range in known {
            report(
                VerifyFinding(
                    .quarantined, file: path(SegmentFileName.log(range.segment)), positions: range.positions,
                    offsets: range.offsets, "set aside earlier: \(range.reason)",
                    meaning: "reading these offsets is an error; everything around them is served",
                    next: "have the producers send them again; consumers go on at offset \(range.offsets.upperBound)"))
        }
    }

    private func reportDamage(_ range: QuarantinedRange) {
        report(
            VerifyFinding(
                .batch, file: path(SegmentFileName.log(range.segment)), positions: range.positions,
                offsets: range.offsets, range.reason,
                meaning: "the offsets are lost; the broker sets them aside when it meets them, and serves the rest",
                next: "restore the file from a copy while the broker is stopped; consumers go on at offset"
                    + " \(range.offsets.upperBound)"))
    }

    private func reportGap(before baseOffset: Int64) {
        guard baseOffset > max(endOffset, holesBelow), !isKnown(endOffset..<baseOffset) else { return }
        report(
            VerifyFinding(
                .gap, file: path(SegmentFileName.log(baseOffset)), offsets: endOffset..<baseOffset,
                "the segment starts at offset \(baseOffset), but the one before it ends before \(endOffset)",
                meaning: "the offsets between them are lost: a file is missing or was cut",
                next: "restore the missing segment from a copy while the broker is stopped"))
    }

    /// Bytes behind the last good batch.
    private func reportEnd(of baseOffset: Int64, _ result: SegmentScanResult, size: Int64, isLast: Bool) {
        let file = path(SegmentFileName.log(baseOffset))
        let reason = result.tornReason ?? "no batch follows"
        // Being written; or, after a crash, what the next start cuts: durable offsets are `checkEnd`'s.
        if isLast && options.isInUse { return }
        if isLast && !isComplete {
            report(
                VerifyFinding(
                    .tornTail, .notice, file: file, positions: result.end..<size,
                    "\(size - result.end) bytes of a write that did not end (\(reason))",
                    meaning: "the broker did not end in order; nothing that was acknowledged is in them",
                    next: "nothing: the next start cuts them"))
            return
        }
        let endOffset = max(result.nextOffset, min(entry?.endOffset ?? 0, .max))
        if !isLast && known.contains(where: { $0.segment == baseOffset && $0.positions.upperBound >= size }) { return }
        report(
            VerifyFinding(
                .batch, file: file, positions: result.end..<size,
                offsets: isLast ? result.nextOffset..<endOffset : nil, reason,
                meaning: "what was there is lost; nothing behind position \(result.end) of this file can be read",
                next: "restore the file from a copy while the broker is stopped"))
    }

    private func compareWithCheckpoint(
        _ baseOffset: Int64, size: Int64, _ result: SegmentScanResult, isLast: Bool
    ) {
        guard let point = entry?.segments.first(where: { $0.segment == baseOffset }), !isReplaced(baseOffset) else { return }
        let file = path(SegmentFileName.log(baseOffset))
        let lost = result.nextOffset..<max(result.nextOffset, point.extent.nextOffset)
        if size < point.extent.size, !isKnown(lost) {
            report(
                VerifyFinding(
                    .size, file: file, positions: size..<point.extent.size, offsets: lost,
                    "it has \(size) bytes, and \(point.extent.size) were on the disk already",
                    meaning: "durable records are lost: the file was cut by something else than the broker",
                    next: "restore the file from a copy while the broker is stopped"))
        } else if isComplete, size > point.extent.size {
            report(
                VerifyFinding(
                    .size, file: file, positions: point.extent.size..<size,
                    "it has \(size) bytes, and the broker had \(point.extent.size) when it was stopped",
                    meaning: "something else has written to it; the broker leaves these bytes alone and goes on in a"
                        + " new segment", next: "find out what writes in the data directory"))
        }
    }

    /// Whether all that was durable is there.
    private func checkEnd(_ baseOffsets: [Int64]) {
        guard let entry else { return }
        for point in entry.segments where !baseOffsets.contains(point.segment) && !isReplaced(point.segment) {
            // Retention may have gone on after the checkpoint; it removes the oldest first.
            if !isComplete, let first = baseOffsets.first, point.segment < first { continue }
            let lost = point.segment..<max(point.segment, point.extent.nextOffset)
            if isKnown(lost) { continue }
            report(
                VerifyFinding(
                    .missingFile, file: path(SegmentFileName.log(point.segment)), offsets: lost,
                    "the checkpoint names it, and it is not there",
                    meaning: "its records are lost", next: "restore the file from a copy while the broker is stopped"))
        }
        let isCut = endOffset < entry.endOffset && !isKnown(endOffset..<entry.endOffset)
        guard isCut, baseOffsets.contains(entry.segments.last?.segment ?? -1) else { return }
        report(
            VerifyFinding(
                .gap, file: path(SegmentFileName.log(entry.segments.last?.segment ?? 0)),
                offsets: endOffset..<entry.endOffset,
                "the log ends at offset \(endOffset), and \(entry.endOffset) was durable",
                meaning: "durable records are lost", next: "restore the file from a copy while the broker is stopped"))
    }
}

// MARK: - Small files

extension LogVerifier {
    private mutating func readPartitionMetadata(_ names: [String]) throws(StorageError) {
        let file = PartitionMetadata.fileName
        guard names.contains(file), let bytes = try contents(file) else { return }
        for line in String(buffer: bytes).split(separator: "\n") where line.hasPrefix("topic_id: ") {
            topicId = TopicId(String(line.dropFirst("topic_id: ".count)))
        }
        // The broker may be writing it.
        if topicId == nil && !options.isInUse {
            report(
                VerifyFinding(
                    .partitionMetadata, file: path(file), "it names no topic id",
                    meaning: "the directory cannot be told from one of an older topic of the same name",
                    next: "restore the file: \"version: 0\" and \"topic_id: …\", one a line"))
        }
    }

    private func quarantineFile(_ names: [String]) throws(StorageError) -> [QuarantinedRange] {
        guard names.contains("quarantine"), let bytes = try contents("quarantine") else { return [] }
        let known = entry?.quarantined ?? []
        return String(buffer: bytes).split(separator: "\n").compactMap { QuarantinedRange(line: $0) }
            .filter { range in !known.contains { $0.offsets.overlaps(range.offsets) } }
    }

    private func verifySnapshots(_ names: [String]) throws(StorageError) {
        let snapshots = names.filter { $0.hasSuffix(".snapshot") }.sorted()
        for file in snapshots {
            guard let bytes = try contents(file) else { continue }
            // The newest one may be half written.
            if options.isInUse && file == snapshots.last { continue }
            if let problem = SnapshotCheck.problem(bytes) {
                report(
                    VerifyFinding(
                        .snapshot, file: path(file), problem,
                        meaning: "the broker ignores it, and reads the producers from the log instead",
                        next: "stop the broker and delete the file, or leave it"))
            } else if !options.isInUse, let offset = Int64(file.dropLast(".snapshot".count)), offset > endOffset {
                report(
                    VerifyFinding(
                        .snapshot, .notice, file: path(file), "it is of offset \(offset), and the log ends at \(endOffset)",
                        meaning: "a crash has taken back what it describes", next: "nothing: it is removed"))
            }
        }
    }

    private func reportLeftovers(_ names: [String], _ baseOffsets: Set<Int64>) {
        if names.contains(Log.failedSyncMark) {
            report(
                VerifyFinding(
                    .failedSync, .notice, file: path(Log.failedSyncMark), "a sync of this log has failed",
                    meaning: "what was written last may not be on the disk, and was not acknowledged as durable",
                    next: "look at the disk's health; the next start writes these bytes again"))
        }
        for file in names where file.hasSuffix(".index") || file.hasSuffix(".timeindex") {
            guard let base = Int64(file.prefix { $0 != "." }), !baseOffsets.contains(base), !options.isInUse else {
                continue
            }
            report(
                VerifyFinding(
                    .leftover, .notice, file: path(file), "there is no log file beside it",
                    meaning: "it is left over from a segment that is gone", next: "delete it, or leave it"))
        }
    }
}

extension QuarantinedRange {
    /// Reads a line as `line` writes it; nil if it is none.
    init?(line: Substring) {
        let words = line.prefix { $0 != ":" }.split(separator: " ")
        func range(_ text: Substring) -> Range<Int64>? {
            let ends = text.split(separator: "..<").compactMap { Int64($0) }
            return ends.count == 2 && ends[0] <= ends[1] ? ends[0]..<ends[1] : nil
        }
        guard words.count == 6, words[0] == "offsets", words[2] == "file", words[4] == "bytes",
            let offsets = range(words[1]), let segment = SegmentFileName.baseOffset(ofLog: String(words[3])),
            let positions = range(words[5])
        else { return nil }
        let reason = line.drop { $0 != ":" }.dropFirst(2)
        self.init(offsets: offsets, segment: segment, positions: positions, reason: String(reason))
    }
}
