// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: writes a backup of a data directory that is in use, and makes a data directory from a backup.
//
// Sealed segments become hard links, everything else is copied: a broker that runs in the copy appends to its own files
// only. On another file system everything is copied. The checkpoint of the copy is that of the cut, so what a start finds is
// what a killed process would have left at that moment, and is recovered by the same code.

import Bytes
import Glibc
import NIOCore

/// What was written.
package struct BackupReport: Equatable, Sendable {
    package var logs = 0
    package var files = 0
    /// Of these, how many share their bytes with the original.
    package var linkedFiles = 0
    package var bytes: Int64 = 0
    package var copiedBytes: Int64 = 0
}

package enum Backup {
    private static let indexSuffixes = [".index", ".timeindex", ".txnindex"]
    /// Of files that are about to go, or not yet whole.
    private static let passing = [".cleaned", ".deleted", ".tmp"]

    /// Writes the logs of `cuts` as a new directory. `root` is where they are; nothing in there may be removed or replaced
    /// while this runs.
    package static func write(
        _ cuts: [LogCut], from root: String, to target: BackupDirectory, nowMs: Int64
    ) throws(StorageError) -> BackupReport {
        guard !(target.path + "/").hasPrefix(root + "/") else {
            throw StorageError(.inUse, "\(target.path) is inside of the data directory; name one elsewhere")
        }
        return try target.fill { partial throws(StorageError) in
            var report = BackupReport()
            try BackupFiles.copy("\(root)/\(FormatFile.path)", to: "\(partial)/\(FormatFile.path)")
            for cut in cuts { try write(cut, root, partial, &report) }
            let checkpoint = CheckpointFile.encode(cuts.map(\.checkpoint)).bytes
            try BackupFiles.write(Array(checkpoint.readableBytesView), to: "\(partial)/\(CheckpointFile.path)")
            let mark = BackupMark(createdMs: nowMs, logs: report.logs, bytes: report.bytes)
            try BackupFiles.write(mark.text, to: "\(partial)/\(BackupMark.path)")
            return report
        }
    }

    /// Whether there is one, for whoever had it written.
    package static func exists(at path: String) -> Bool { BackupFiles.exists("\(path)/\(BackupMark.path)") }

    /// Makes a data directory from a backup; copies everything, so that the backup stays what it is.
    package static func restore(
        from backup: String, to target: BackupDirectory
    ) throws(StorageError) -> BackupReport {
        let mark = try BackupMark.read(in: backup)
        guard !(target.path + "/").hasPrefix(backup.hasSuffix("/") ? backup : backup + "/") else {
            throw StorageError(.inUse, "\(target.path) is inside of the backup; name a directory elsewhere")
        }
        return try target.fill { partial throws(StorageError) in
            var report = BackupReport()
            for name in try BackupFiles.list(backup)
            where name != BackupMark.path && name != BackupDirectory.begun {
                let path = "\(backup)/\(name)"
                guard BackupFiles.isDirectory(path) else {
                    try BackupFiles.copy(path, to: "\(partial)/\(name)")
                    continue
                }
                try BackupFiles.make("\(partial)/\(name)")
                report.logs += 1
                for file in try BackupFiles.list(path) {
                    let count = try BackupFiles.copy("\(path)/\(file)", to: "\(partial)/\(name)/\(file)")
                    report.files += 1
                    report.copiedBytes += count
                    report.bytes += count
                }
                try BackupFiles.sync("\(partial)/\(name)")
            }
            guard (report.logs, report.bytes) == (mark.logs, mark.bytes) else {
                throw StorageError(
                    .corrupt, "\(backup) is not what was written: it has \(report.bytes) bytes in \(report.logs) logs, and there were"
                        + " \(mark.bytes) in \(mark.logs). Copy it again from where it was made; `martlet verify` tells what is missing")
            }
            return report
        }
    }

    private static func write(
        _ cut: LogCut, _ root: String, _ partial: String, _ report: inout BackupReport
    ) throws(StorageError) {
        guard let source = try directory(of: cut, root) else { return }
        let target = "\(partial)/\(cut.name)"
        try BackupFiles.make(target)
        report.logs += 1
        for file in try BackupFiles.list(source) {
            guard let rule = rule(for: file, cut) else { continue }
            do throws(StorageError) {
                try take(file, rule, from: source, to: target, &report)
            } catch where error.code == .notFound && !file.hasSuffix(".log") {
                continue  // an older snapshot that has made room for a newer one
            }
        }
        for segment in cut.segments where segment.size > 0 && !cut.isBeingReplaced {
            let name = SegmentFileName.log(segment.baseOffset)
            guard try BackupFiles.size(of: "\(target)/\(name)") >= segment.size else {
                throw StorageError(.corrupt, "\(source)/\(name) is shorter than it was; `martlet verify` looks at it")
            }
        }
        try BackupFiles.sync(target)
    }

    private enum Rule {
        case link
        case copy(bytesMax: Int64)
    }

    /// What becomes of a file; nil if it is not of the moment of the cut.
    private static func rule(for file: String, _ cut: LogCut) -> Rule? {
        if passing.contains(where: { file.hasSuffix($0) }) { return nil }
        if let base = SegmentFileName.baseOffset(ofLog: file) {
            guard let segment = cut.segments.first(where: { $0.baseOffset == base }) else {
                return cut.isBeingReplaced ? .copy(bytesMax: .max) : nil
            }
            return segment.isSealed ? .link : .copy(bytesMax: segment.size)
        }
        guard let suffix = indexSuffixes.first(where: { file.hasSuffix($0) }) else {
            if file.hasSuffix(".snapshot"), let offset = Int64(file.dropLast(9)), offset > cut.endOffset { return nil }
            return .copy(bytesMax: .max)
        }
        let segment = cut.segments.first { "\(SegmentFileName.stem($0.baseOffset))\(suffix)" == file }
        guard let segment else { return nil }
        // The active one's may know of more than the copy holds, and is made anew; aborted transactions are cut at a start.
        return segment.isSealed || suffix == ".txnindex" ? .copy(bytesMax: .max) : nil
    }

    private static func take(
        _ file: String, _ rule: Rule, from source: String, to target: String, _ report: inout BackupReport
    ) throws(StorageError) {
        let (from, to) = ("\(source)/\(file)", "\(target)/\(file)")
        report.files += 1
        if case .link = rule, try BackupFiles.link(from, to: to) {
            report.linkedFiles += 1
            report.bytes += try BackupFiles.size(of: to)
            return
        }
        var bytesMax = Int64.max
        if case .copy(let limit) = rule { bytesMax = limit }
        let count = try BackupFiles.copy(from, to: to, bytesMax: bytesMax)
        report.bytes += count
        report.copiedBytes += count
    }

    /// Where a log's files are: under its name, or, if its topic was deleted since, under the name of what is to go.
    private static func directory(of cut: LogCut, _ root: String) throws(StorageError) -> String? {
        let usual = "\(root)/\(cut.name)"
        if BackupFiles.isDirectory(usual), try belongs(usual, to: cut) { return usual }
        guard cut.bytes > 0 else { return nil }
        let deleted = try BackupFiles.list(root).filter { $0.hasPrefix(cut.name + ".") && $0.hasSuffix("-delete") }
        for name in deleted {
            let wanted = cut.segments.allSatisfy { segment in
                let size = try? BackupFiles.size(of: "\(root)/\(name)/\(SegmentFileName.log(segment.baseOffset))")
                return (size ?? -1) >= segment.size
            }
            if wanted, try belongs("\(root)/\(name)", to: cut) { return "\(root)/\(name)" }
        }
        throw StorageError(.notFound, "the files of \(cut.name) are gone from \(root)")
    }

    /// Whether a directory is that log's, and not that of a later topic of the same name.
    private static func belongs(_ directory: String, to cut: LogCut) throws(StorageError) -> Bool {
        let topicId = cut.checkpoint.topicId
        guard topicId != .zero else { return true }
        let found = try PartitionMetadata.topicId(at: PartitionMetadata.fileName, in: RealFileSystem(root: directory))
        return found == topicId || (found == nil && cut.bytes == 0)
    }
}
