// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet verify`: whether a data directory is sound.
//
// Looks and never writes; a broker may be running. Findings go to standard output as they would be told to a person, or as
// one JSON object; progress goes to standard error, and only to a terminal.

import ArgumentParser
import Engine
import Glibc
import Storage
import Telemetry

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check a data directory for damage.",
        discussion: """
            Checks every batch of every log, the indexes beside them, and what the
            broker's own files say of each other. It never writes and needs no lock: a
            broker may be running in the directory meanwhile. The status is 0 if all is
            sound, 1 if there is damage, and 2 if it cannot be checked.

              martlet verify data
            """)

    @Argument(help: "The data directory.", completion: .directory)
    var data: String

    @Flag(help: "Decompress every batch and check every record too.")
    var records = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let verifier: DataDirectoryVerifier
        do throws(StorageError) {
            let files = try ReadOnlyFileSystem(root: data)
            let isInUse = files.isLocked("martlet.lock") ?? true
            verifier = try DataDirectoryVerifier(
                files, options: VerifyOptions(readsRecords: records, isInUse: isInUse))
            let progress = VerifyProgress()
            verifier.onProgress = { progress.show($0) }
            defer { progress.clear() }
            try DirectoryVerification.run(verifier)
        } catch {
            Terminal.write("error: \(data) cannot be checked: \(error.message)\n", to: STDERR_FILENO)
            throw ExitCode(2)
        }
        let report = VerifyReportText(verifier)
        Terminal.print(json ? report.json : report.text)
        if report.damages > 0 { throw ExitCode(1) }
    }
}

/// One line on a terminal that is written over as the check goes on.
private final class VerifyProgress {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var shown: Int64 = 0
    private var isShown = false
    private static let step: Int64 = 64 << 20

    func show(_ totals: VerifyTotals) {
        guard isTerminal, totals.bytes - shown >= Self.step || !isShown else { return }
        shown = totals.bytes
        isShown = true
        Terminal.write("\rchecked \(totals.logs) logs, \(totals.bytes >> 20) MiB\u{1b}[K", to: STDERR_FILENO)
    }

    func clear() {
        if isShown { Terminal.write("\r\u{1b}[K", to: STDERR_FILENO) }
    }
}

/// What `verify` prints.
struct VerifyReportText {
    private let verifier: DataDirectoryVerifier
    let damages: Int

    init(_ verifier: DataDirectoryVerifier) {
        self.verifier = verifier
        damages = verifier.findings.count { $0.severity == .damage }
    }

    var text: String {
        let totals = verifier.totals
        var lines = verifier.findings.flatMap(Self.lines)
        let state = verifier.options.isInUse
            ? "in use by a broker" : verifier.wasCleanlyClosed ? "closed in order" : "not closed in order"
        lines.append(
            "\(totals.logs) logs, \(totals.segments) segments, \(totals.batches) batches, \(totals.records) records,"
                + " \(totals.bytes) bytes; \(state)")
        lines.append(damages == 0 ? "sound" : "\(damages) places are damaged")
        return lines.joined(separator: "\n")
    }

    private static func lines(_ finding: VerifyFinding) -> [String] {
        var place = finding.file
        if let positions = finding.positions { place += " bytes \(positions.lowerBound)..<\(positions.upperBound)" }
        if let offsets = finding.offsets { place += " offsets \(offsets.lowerBound)..<\(offsets.upperBound)" }
        let head = finding.severity == .damage ? "DAMAGED" : "note"
        return [
            "\(head) \(finding.kind.rawValue): \(JSONText.escaped(place)): \(JSONText.escaped(finding.what))",
            "  means: \(finding.meaning)", "  next:  \(finding.next)",
        ]
    }

    var json: String {
        let totals = verifier.totals
        let findings = verifier.findings.map(Self.object).joined(separator: ",")
        return """
            {"sound":\(damages == 0),"in_use":\(verifier.options.isInUse),\
            "closed_in_order":\(verifier.wasCleanlyClosed),"cluster_id":\(JSONText.quoted(verifier.clusterId)),\
            "logs":\(totals.logs),"segments":\(totals.segments),"batches":\(totals.batches),\
            "records":\(totals.records),"bytes":\(totals.bytes),"damages":\(damages),"findings":[\(findings)]}
            """
    }

    private static func object(_ finding: VerifyFinding) -> String {
        var fields = [
            "\"kind\":\(JSONText.quoted(finding.kind.rawValue))", "\"severity\":\(JSONText.quoted(finding.severity.rawValue))",
            "\"file\":\(JSONText.quoted(finding.file))",
        ]
        for (name, range) in [("positions", finding.positions), ("offsets", finding.offsets)] {
            if let range { fields.append("\"\(name)\":[\(range.lowerBound),\(range.upperBound)]") }
        }
        for (name, text) in [("what", finding.what), ("meaning", finding.meaning), ("next", finding.next)] {
            fields.append("\"\(name)\":\(JSONText.quoted(text))")
        }
        return "{\(fields.joined(separator: ","))}"
    }
}
