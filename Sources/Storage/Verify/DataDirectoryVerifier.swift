// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: checks a data directory: its small files, and each of its logs.
//
// Reads only, takes no lock, and tolerates a broker that writes meanwhile. What topics there should be is not known
// here: the engine's check asks for one log after the other and adds that. Confined to its caller's thread.

import Bytes
import NIOCore
import Records

/// The check of one data directory.
package final class DataDirectoryVerifier {
    package let options: VerifyOptions
    package private(set) var findings: [VerifyFinding] = []
    package private(set) var totals = VerifyTotals()
    package private(set) var clusterId = ""
    /// Whether the last run ended in order, so that the checkpoint is the whole truth.
    package private(set) var wasCleanlyClosed = false
    /// Called now and then with what was checked so far.
    package var onProgress: (VerifyTotals) -> Void = { _ in }

    private let fileSystem: any FileSystem
    private let decompressor = Decompressor()
    private var checkpoint: [String: LogCheckpoint] = [:]

    /// Throws if this is no data directory that can be checked: it has none of a broker's files, is of a newer format, or
    /// cannot be read.
    package init(_ fileSystem: any FileSystem, options: VerifyOptions) throws(StorageError) {
        self.fileSystem = fileSystem
        self.options = options
        guard let format = try FormatFile.read(in: fileSystem) else {
            throw StorageError(
                .notFound, "there is no \(FormatFile.path), so this is no data directory of martlet; name the one that"
                    + " `--data` names")
        }
        clusterId = format.clusterId
        try readCheckpoint()
    }

    /// Directories that hold logs, by name; deleted and foreign ones are reported and left out.
    package func logNames() throws(StorageError) -> [String] {
        var names: [String] = []
        for name in try fileSystem.list("").sorted() {
            if name.hasSuffix("-delete") {
                if !options.isInUse { reportLeftover(name, "a deleted log on its way out", "nothing: it is removed") }
            } else if name.hasSuffix("-stray") {
                reportLeftover(
                    name, "a log that was set aside because it belongs to another topic of the same name",
                    "copy out what is needed, and delete the directory")
            } else if Self.split(name) != nil, (try? fileSystem.list(name)) != nil {
                names.append(name)
            }
        }
        return names
    }

    /// Checks one log. `onRecord` sees every record.
    /// Returns the topic id in its directory; nil if there is none, or the log is gone.
    package func verifyLog(
        _ name: String, onRecord: ((Record) -> Void)? = nil
    ) throws(StorageError) -> TopicId? {
        var sinceProgress: Int64 = 0
        let before = totals
        var verifier = LogVerifier(
            name, in: fileSystem, options: options, entry: checkpoint[name], isComplete: wasCleanlyClosed,
            decompressor: decompressor, report: { self.findings.append($0) }, onRecord: onRecord,
            onBytes: { bytes in
                sinceProgress += bytes
                var now = before
                now.bytes += sinceProgress
                self.onProgress(now)
            })
        do throws(StorageError) {
            try verifier.run()
        } catch {
            // The topic was deleted since the directory was listed.
            guard error.code == .notFound && options.isInUse else { throw error }
        }
        totals.logs += verifier.totals.logs
        totals.segments += verifier.totals.segments
        totals.batches += verifier.totals.batches
        totals.records += verifier.totals.records
        totals.bytes += verifier.totals.bytes
        onProgress(totals)
        return verifier.topicId
    }

    package func report(_ finding: VerifyFinding) { findings.append(finding) }

    /// Whether the directory is still there: a broker may have deleted the topic meanwhile.
    package func exists(_ name: String) throws(StorageError) -> Bool { try fileSystem.exists(name) }

    /// Logs that the checkpoint knows to hold something, whose directories are not among `names`.
    package func missing(from names: [String]) -> [String] {
        let present = Set(names)
        return checkpoint.values.filter { !$0.segments.isEmpty && !present.contains($0.name) }.map(\.name).sorted()
    }

    /// The topic id that the checkpoint has for a log; nil if it knows none.
    package func checkpointedTopicId(_ name: String) -> TopicId? {
        checkpoint[name].flatMap { $0.topicId == .zero ? nil : $0.topicId }
    }

    /// A directory's topic and partition; nil if it is not named like a log.
    package static func split(_ name: String) -> (topic: String, partition: Int32)? {
        guard let dash = name.lastIndex(of: "-"), dash != name.startIndex,
            let partition = Int32(name[name.index(after: dash)...]), partition >= 0
        else { return nil }
        return (String(name[..<dash]), partition)
    }

    private func readCheckpoint() throws(StorageError) {
        let path = CheckpointFile.path
        let isThere = try fileSystem.exists(path)
        if let contents = try CheckpointFile.read(in: fileSystem) {
            for entry in contents.logs { checkpoint[entry.name] = entry }
            let isMarked = try CleanMark.isThere(in: fileSystem, forChecksum: contents.checksum)
            wasCleanlyClosed = isMarked && !options.isInUse
        } else if isThere {
            report(
                VerifyFinding(
                    .checkpoint, file: path, "its checksum or its form is wrong",
                    meaning: "no record is lost: the next start reads every log as a whole, which takes longer",
                    next: "nothing: it is written anew"))
        }
        let hasMark = try fileSystem.exists(CleanMark.path)
        if hasMark && !options.isInUse && !wasCleanlyClosed {
            report(
                VerifyFinding(
                    .cleanMark, file: CleanMark.path, "it does not name the checkpoint that is there",
                    meaning: "files of different times were mixed; the next start checks every log",
                    next: "nothing, if the directory was restored from a copy on purpose"))
        }
    }

    private func reportLeftover(_ name: String, _ what: String, _ next: String) {
        report(VerifyFinding(.leftover, .notice, file: name, what, meaning: "no topic has it", next: next))
    }
}
