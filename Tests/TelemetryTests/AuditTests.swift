// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: audit events as lines, their queue, and their file.

import Foundation
import Logging
import Synchronization
import Testing

@testable import Telemetry

@Suite struct AuditTests {
    private static let subject = AuditSubject(
        principal: "User:alice", address: "10.0.0.1", port: 4711, wire: "kafka", listener: "main", clientId: "app")

    private func denial(_ name: String = "orders") -> AuditEvent {
        AuditEvent(.access, Self.subject, "write", resource: "topic", name: name, .denied, rule: "none allows it")
    }

    private func object(_ line: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    @Test func aLineIsOneObjectWhateverPeersCallThings() throws {
        for name in ["orders", "a\"b\\c", "line\nbreak\r{\"event\":\"fake\"}", "\u{202e}rtl\u{1b}[31m", "tab\t\u{0}", "ü–語"] {
            let line = denial(name).line(timeMs: 1_700_000_000_000)
            #expect(!line.utf8.contains { $0 < 0x20 })
            let fields = try object(line)
            #expect(fields["name"] as? String == name)
            #expect(fields["time"] as? String == "2023-11-14T22:13:20.000Z" && fields["event"] as? String == "access")
            #expect(fields["outcome"] as? String == "denied" && fields["principal"] as? String == "User:alice")
            #expect(fields["before"] == nil)
        }
    }

    @Test func changesShowBothStates() throws {
        let event = AuditEvent(
            .change, Self.subject, "AlterConfigs", resource: "topic", name: "orders", .succeeded, before: ["retention.ms": "1"],
            after: nil)
        let fields = try object(event.line(timeMs: 0))
        #expect(fields["before"] as? [String: String] == ["retention.ms": "1"])
        #expect(fields["after"] is NSNull)
    }

    @Test func longNamesAreCut() throws {
        let many = Dictionary(uniqueKeysWithValues: (0..<500).map { ("key\($0)", String(repeating: "v", count: 5000)) })
        let event = AuditEvent(
            .change, Self.subject, "x", name: String(repeating: "n", count: 100_000), .failed, before: many, after: many)
        let line = event.line(timeMs: 0)
        #expect(line.utf8.count < 250_000)
        #expect((try object(line)["name"] as? String)?.hasSuffix("n…") == true)
    }

    private final class Sink: AuditSink {
        let lines = Mutex<[String]>([])
        let isBroken = Mutex(false)

        func write(_ lines: [String]) -> Int {
            if isBroken.withLock({ $0 }) { return lines.count }
            self.lines.withLock { $0 += lines }
            return 0
        }
    }

    private final class Jobs: Sendable {
        let waiting = Mutex<[@Sendable () -> Void]>([])

        func run() {
            let jobs = waiting.withLock { jobs in
                defer { jobs = [] }
                return jobs
            }
            for job in jobs { job() }
        }
    }

    private func log(_ sink: Sink, _ jobs: Jobs) -> AuditLog {
        let log = AuditLog(nowMs: { 0 }) { job in jobs.waiting.withLock { $0.append(job) } }
        log.add(sink)
        return log
    }

    @Test func recordingDoesNotWaitAndWritingKeepsTheOrder() {
        let (sink, jobs) = (Sink(), Jobs())
        let log = log(sink, jobs)
        for number in 0..<3 { log.record(denial("\(number)")) }
        #expect(sink.lines.withLock { $0.isEmpty } && jobs.waiting.withLock { $0.count } == 1)
        jobs.run()
        #expect(sink.lines.withLock { $0.map { $0.contains("\"name\":\"0\"") } } == [true, false, false])
        #expect(log.totals == (3, 0))
    }

    @Test func whatDoesNotFitIsCountedAndToldLater() {
        let (sink, jobs) = (Sink(), Jobs())
        let log = log(sink, jobs)
        for _ in 0..<AuditLog.eventsMax + 7 { log.record(denial()) }
        #expect(log.totals.dropped == 7)
        jobs.run()
        let lines = sink.lines.withLock { $0 }
        #expect(lines.count == AuditLog.eventsMax + 1 && lines.last?.contains("\"event\":\"dropped\",\"count\":7") == true)
        // Large ones are bounded by their bytes.
        for _ in 0..<20 { log.record(denial(String(repeating: "n", count: 1 << 20))) }
        #expect(log.totals.dropped >= 7 + 12)
    }

    @Test func whatCannotBeWrittenIsToldWhenItCan() {
        let (sink, jobs) = (Sink(), Jobs())
        let log = log(sink, jobs)
        sink.isBroken.withLock { $0 = true }
        log.record(denial())
        log.record(denial())
        jobs.run()
        #expect(log.totals == (0, 2))
        sink.isBroken.withLock { $0 = false }
        log.record(denial())
        jobs.run()
        #expect(sink.lines.withLock { $0.count } == 2)
        #expect(sink.lines.withLock { $0.last?.contains("\"count\":2") } == true)
    }

    @Test func withoutAnAuditLogNoEventIsMade() {
        func made() -> AuditEvent {
            Issue.record("an event was made")
            return denial()
        }
        AuditLog.off.record(made())
        #expect(AuditLog.off.totals == (0, 0))
    }

    @Test func aFileThatIsMovedAwayIsMadeAgain() throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "audit-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appending(path: "audit.log")
        let file = AuditFile(path: path.path, logger: Logger(label: "test"))
        #expect(file.problem() == nil)
        #expect(file.write(["one"]) == 0)
        let old = directory.appending(path: "audit.log.1")
        try FileManager.default.moveItem(at: path, to: old)
        #expect(file.write(["two"]) == 0)
        try FileManager.default.removeItem(at: path)
        #expect(file.write(["three"]) == 0)
        #expect(try String(contentsOf: old, encoding: .utf8) == "one\n")
        #expect(try String(contentsOf: path, encoding: .utf8) == "three\n")
        let mode = try FileManager.default.attributesOfItem(atPath: path.path)[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    @Test func aFileThatCannotBeIsReportedAndCounted() {
        let file = AuditFile(path: "/nonexistent/audit.log", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        #expect(file.problem() == "No such file or directory")
        #expect(file.write(["a", "b"]) == 2)
        let full = AuditFile(path: "/dev/full", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        #expect(full.write(["a", "b"]) > 0)
    }
}
