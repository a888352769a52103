// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: whoever reads the audit topic does not feed it.

import Synchronization
import Testing

@testable import Telemetry

@Suite struct AuditSummariesTests {
    private static let minuteMs = AuditSummaries.intervalMs

    private func access(
        _ operation: String, _ resource: String, _ name: String, _ outcome: AuditEvent.Outcome = .allowed, by user: String = "auditor",
        port: Int = 1
    ) -> AuditEvent {
        AuditEvent(
            .access, AuditSubject(principal: "User:\(user)", address: "10.0.0.1", port: port, wire: "kafka", listener: "l"), operation,
            resource: resource, name: name, outcome)
    }

    private func commit(_ topic: String, from before: String?, to after: String) -> AuditEvent {
        var event = access("OffsetCommit", "offsets", "g", .succeeded)
        event.kind = .change
        event.before = before.map { ["\(topic)-0": $0] }
        event.after = ["\(topic)-0": after]
        return event
    }

    @Test func whatReadersDoIsOneEventAMinuteWithACount() {
        var summaries = AuditSummaries(topic: "audit")
        #expect(summaries.take(access("read", "topic", "audit"), nowMs: 1).map(\.count) == [nil])
        #expect(summaries.take(access("read", "group", "g"), nowMs: 2).count == 1)
        for now in 3..<100 as Range<Int64> {
            #expect(summaries.take(access("read", "topic", "audit", port: Int(now)), nowMs: now).isEmpty)
            #expect(summaries.take(access("read", "group", "g"), nowMs: now).isEmpty)
        }
        let later = summaries.take(access("write", "topic", "orders", by: "somebody"), nowMs: Self.minuteMs + 100)
        #expect(later.count == 3)
        #expect(later.filter { $0.name == "audit" }.map(\.count) == [97])
        #expect(later.last?.name == "orders" && later.last?.count == nil)
        // The next minute.
        #expect(summaries.take(access("read", "group", "g"), nowMs: Self.minuteMs + 200).isEmpty)
        let next = summaries.take(access("read", "group", "g"), nowMs: 2 * Self.minuteMs + 300)
        #expect(next.map(\.count) == [1])
    }

    @Test func othersAndDenialsAreNotSummarised() {
        var summaries = AuditSummaries(topic: "audit")
        _ = summaries.take(access("read", "topic", "audit"), nowMs: 1)
        for now in 2..<10 as Range<Int64> {
            #expect(summaries.take(access("read", "topic", "orders", by: "other"), nowMs: now).count == 1)
            #expect(summaries.take(access("read", "topic", "audit", .denied), nowMs: now).count == 1)
            #expect(summaries.take(access("describe", "topic", "audit", by: "other"), nowMs: now).count == 1)
        }
    }

    @Test func commitsInTheTopicAreToldFromTheFirstStateToTheLast() {
        var summaries = AuditSummaries(topic: "audit")
        #expect(summaries.take(commit("audit", from: nil, to: "1"), nowMs: 1).count == 1)
        for number in 1..<10 {
            #expect(summaries.take(commit("audit", from: "\(number)", to: "\(number + 1)"), nowMs: 2).isEmpty)
            #expect(summaries.take(commit("orders", from: "\(number)", to: "\(number + 1)"), nowMs: 2).count == 1)
        }
        let told = summaries.tell()
        #expect(told.map(\.count) == [9])
        #expect(told.first?.before == ["audit-0": "1"] && told.first?.after == ["audit-0": "10"])
        #expect(summaries.tell().isEmpty)
    }

    @Test func readersAndKindsAreBounded() {
        var summaries = AuditSummaries(topic: "audit")
        for number in 0...AuditSummaries.readersMax {
            _ = summaries.take(access("read", "topic", "audit", by: "user \(number)"), nowMs: 1)
        }
        // The first one was forgotten, the last one was not.
        #expect(summaries.take(access("read", "group", "g", by: "user 0"), nowMs: 2).count == 1)
        #expect(summaries.take(access("read", "group", "g", by: "user 0"), nowMs: 2).count == 1)
        #expect(summaries.take(access("read", "group", "g", by: "user 5"), nowMs: 2).count == 1)
        #expect(summaries.take(access("read", "group", "g", by: "user 5"), nowMs: 2).isEmpty)
        var written = 0
        for number in 0..<3 * AuditSummaries.kindsMax {
            written += summaries.take(access("write", "topic", "t\(number)", by: "user 5"), nowMs: 3).count
        }
        #expect(written == 3 * AuditSummaries.kindsMax + 1, "each of them, and the count of the group's reads")
    }

    private final class Sink: AuditSink {
        let lines = Mutex<[String]>([])

        func write(_ lines: [String]) -> Int {
            self.lines.withLock { $0 += lines }
            return 0
        }
    }

    @Test func theCountIsInTheLineAndTheEndTellsIt() {
        let sink = Sink()
        let log = AuditLog(recordsAllowed: true, topic: "audit", nowMs: { 1 }, background: { $0() })
        log.add(sink)
        for _ in 0..<5 { log.record(access("read", "topic", "audit")) }
        #expect(sink.lines.withLock { $0.count } == 1)
        log.finish()
        #expect(sink.lines.withLock { $0.count } == 2)
        #expect(sink.lines.withLock { $0.last?.hasSuffix(#""outcome":"allowed","count":4}"#) } == true)
    }
}
