// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: log lines, their escaping and their rate limit.

import Glibc
import Logging
import Synchronization
import Testing

@testable import Telemetry

/// Collects lines instead of writing them.
private final class Lines: Sendable {
    private let state = Mutex((lines: [String](), accepts: true))

    var all: [String] { state.withLock { $0.lines } }

    func accept(_ accepts: Bool) { state.withLock { $0.accepts = accepts } }

    func take(_ line: String) -> Bool {
        state.withLock { state in
            if state.accepts { state.lines.append(line) }
            return state.accepts
        }
    }
}

@Suite struct LogTests {
    private let lines = Lines()

    private func output(_ format: LogFormat = .text, limit: LogRateLimit = LogRateLimit()) -> LogOutput {
        LogOutput(
            format: format, limit: limit, nowMs: { 1_738_324_800_123 }, sink: { [lines] in lines.take($0) })
    }

    @Test func `A text line has time, level, module, message and sorted fields`() {
        var logger = output().logger("Transport")
        logger[metadataKey: "peer"] = "127.0.0.1:5"
        logger.warning("refused", metadata: ["cause": "certificate expired", "b": ""])
        #expect(
            lines.all == [
                "2025-01-31T12:00:00.123Z warning Transport: refused b=\"\" "
                    + "cause=\"certificate expired\" peer=127.0.0.1:5\n"
            ])
    }

    @Test func `The key of a field is one word in a text line`() {
        output().logger("Storage").notice("recovered", metadata: ["cut bytes": "7", "bytes": "9"])
        #expect(lines.all.first?.hasSuffix("recovered bytes=9 cut_bytes=7\n") == true)
    }

    @Test func `A message cannot look like a field of its line`() {
        let logger = output().logger("KafkaServer")
        for name in ["alice peer=6.6.6.6 principal=User:root", "alice \"", "al\\ice", "alice \"\\\" x", "\"alice\""] {
            logger.warning("wrong password for \(name)", metadata: ["peer": "1.2.3.4:5"])
        }
        #expect(
            lines.all.map { String($0.dropFirst("2025-01-31T12:00:00.123Z warning KafkaServer: ".count).dropLast()) } == [
                "\"wrong password for alice peer=6.6.6.6 principal=User:root\" peer=1.2.3.4:5",
                "\"wrong password for alice \\\"\" peer=1.2.3.4:5",
                "\"wrong password for al\\\\ice\" peer=1.2.3.4:5",
                "\"wrong password for alice \\\"\\\\\\\" x\" peer=1.2.3.4:5",
                "wrong password for \"alice\" peer=1.2.3.4:5",
            ])
    }

    @Test func `A JSON line is one object`() {
        output(.json).logger("Engine").error("a \"quoted\" \\ word", metadata: ["k": "v"])
        #expect(
            lines.all == [
                "{\"time\":\"2025-01-31T12:00:00.123Z\",\"level\":\"error\",\"module\":\"Engine\","
                    + "\"message\":\"a \\\"quoted\\\" \\\\ word\",\"k\":\"v\"}\n"
            ])
    }

    @Test func `Messages below the level are not written`() {
        let logger = output().logger("Engine", level: .warning)
        logger.info("no")
        logger.warning("yes")
        #expect(lines.all.count == 1)
    }

    @Test(
        arguments: ["a\nERROR forged", "a\r\u{1b}[2Jb", "\u{202e}drowssap", "\u{9b}31m", "\u{2028}x", "\u{0}\u{7f}"],
        LogFormat.allCases)
    func `What a peer sends can neither end the line nor steer the terminal`(text: String, format: LogFormat) throws {
        output(format).logger("Transport").info("client \(text)", metadata: ["id": "\(text)"])
        let line = try #require(lines.all.first)
        let forbidden = line.dropLast().unicodeScalars.filter {
            $0.value < 0x20 || (0x7f...0x9f).contains($0.value) || (0x2028...0x202e).contains($0.value)
        }
        #expect(forbidden.isEmpty)
        #expect(line.last == "\n")
    }

    @Test(arguments: LogFormat.allCases)
    func `A line longer than a pipe takes in one piece is cut`(format: LogFormat) throws {
        output(format).logger("Transport").info("\(String(repeating: "\u{1}é", count: 5000))")
        let line = try #require(lines.all.first)
        #expect(line.utf8.count <= LogOutput.lineBytesMax)
        #expect(line.utf8.count > LogOutput.lineBytesMax / 4)
        if format == .json { #expect(line.hasSuffix("\",\"cut\":true}\n")) }
    }

    @Test func `Repeated messages are counted instead of written`() {
        let output = output(limit: LogRateLimit(perMessage: .init(burst: 3, intervalMs: 1000)))
        let logger = output.logger("Transport")
        for index in 0..<10 { logger.warning("bad frame", metadata: ["peer": "\(index)"]) }
        logger.warning("another kind")
        #expect(lines.all.count == 4)
        #expect(lines.all.last?.contains("another kind") == true)
    }

    @Test func `A statement whose words a peer chooses is held back as a whole`() {
        let output = output(
            limit: LogRateLimit(
                perMessage: .init(burst: 3, intervalMs: 1000), perStatement: .init(burst: 5, intervalMs: 1000)))
        let logger = output.logger("Transport")
        for index in 0..<100 { logger.warning("bad frame \(index)") }
        logger.warning("from another statement")
        #expect(lines.all.count == 6)
    }

    @Test func `The words that are told apart are bounded`() {
        var limit = LogRateLimit(
            perMessage: .init(burst: 1, intervalMs: 1000), perStatement: .init(burst: 100_000, intervalMs: 1))
        for index in 0..<(LogRateLimit.messagesMax * 3) {
            #expect(limit.admit(event(.error, "m\(index)"), nowMs: 0) == 0)
        }
        #expect(limit.admit(event(.error, "m\(LogRateLimit.messagesMax * 3 - 1)"), nowMs: 0) == nil)
    }

    @Test func `The first message after a pause says how many were held back`() {
        var limit = LogRateLimit(perMessage: .init(burst: 1, intervalMs: 1000))
        #expect(limit.admit(event(.error), nowMs: 0) == 0)
        #expect(limit.admit(event(.error), nowMs: 10) == nil)
        #expect(limit.admit(event(.error), nowMs: 999) == nil)
        #expect(limit.admit(event(.error), nowMs: 1000) == 2)
        #expect(limit.admit(event(.error), nowMs: 1001) == nil)
        #expect(limit.admit(event(.error), nowMs: 9000) == 1)
    }

    @Test func `What was held back is told although the words are always others`() {
        var limit = LogRateLimit(
            perMessage: .init(burst: 1, intervalMs: 1000), perStatement: .init(burst: 2, intervalMs: 1000))
        #expect((0..<5).map { limit.admit(event(.error, "m\($0)"), nowMs: 0) } == [0, 0, nil, nil, nil])
        #expect(limit.admit(event(.error, "other"), nowMs: 1000) == 3)
        #expect(limit.admit(event(.error, "other"), nowMs: 1001) == nil)
        #expect(limit.admit(event(.error, "another"), nowMs: 2000) == 0)
        #expect(limit.admit(event(.error, "other"), nowMs: 3000) == 1)
    }

    @Test func `What was held back is told although its words are forgotten`() {
        var limit = LogRateLimit(
            perMessage: .init(burst: 1, intervalMs: 1000), perStatement: .init(burst: 100_000, intervalMs: 1))
        #expect([limit.admit(event(.error), nowMs: 0), limit.admit(event(.error), nowMs: 0)] == [0, nil])
        let told = (0..<LogRateLimit.messagesMax).compactMap { limit.admit(event(.error, "m\($0)"), nowMs: 0) }
        #expect(told.reduce(0, +) == 1)
    }

    @Test func `A clock set back does not silence the log for long`() {
        var limit = LogRateLimit(perMessage: .init(burst: 1, intervalMs: 1000))
        #expect(limit.admit(event(.error), nowMs: 1_000_000) == 0)
        #expect(limit.admit(event(.error), nowMs: 0) == nil)
        #expect(limit.admit(event(.error), nowMs: 1000) == 1)
    }

    @Test(arguments: [Logger.Level.trace, .debug, .critical])
    func `What was asked for and what must be seen is never held back`(level: Logger.Level) {
        var limit = LogRateLimit(perMessage: .init(burst: 1, intervalMs: 1000))
        #expect((0..<5).allSatisfy { _ in limit.admit(event(level), nowMs: 0) == 0 })
    }

    @Test func `The journal is told how severe a line is`() {
        let output = LogOutput(
            level: .trace, hasPriorities: true, nowMs: { 1_738_324_800_123 }, sink: { [lines] in lines.take($0) })
        let logger = output.logger("Engine")
        for level in Logger.Level.allCases { logger.log(level: level, "m") }
        #expect(lines.all.map { String($0.prefix(5)) } == ["<7>20", "<7>20", "<6>20", "<5>20", "<4>20", "<3>20", "<2>20"])
        logger.error("\(String(repeating: "x", count: 5000))")
        #expect(lines.all.last.map { $0.utf8.count <= LogOutput.lineBytesMax } == true)
    }

    @Test func `Standard error is the journal's only if systemd names it`() throws {
        var ends: [Int32] = [0, 0]
        try #require(unsafe pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        var status = stat()
        try #require(unsafe fstat(ends[0], &status) == 0)
        #expect(JournalPriority.isRead(from: ends[0], journalStream: "\(status.st_dev):\(status.st_ino)"))
        for other in [nil, "", "\(status.st_dev):\(status.st_ino + 1)", "x"] {
            #expect(!JournalPriority.isRead(from: ends[0], journalStream: other))
        }
    }

    @Test func `Lines that nobody could read are counted, and the count is told once`() {
        let logger = output().logger("Engine")
        lines.accept(false)
        logger.info("lost")
        logger.info("lost")
        lines.accept(true)
        logger.info("seen")
        logger.info("seen again")
        #expect(lines.all.map { $0.contains("dropped=2") } == [true, false])
    }

    @Test func `Levels and fields belong to one logger, as swift-log demands`() {
        let first = output().logger("Engine")
        var second = first
        second.logLevel = .error
        second[metadataKey: "x"] = "y"
        #expect(first.logLevel == .info)
        first.info("one")
        #expect(lines.all.first?.contains("x=") == false)
    }

    private func event(_ level: Logger.Level, _ message: String = "m") -> LogEvent {
        LogEvent(
            level: level, message: "\(message)", metadata: nil, source: nil, file: "f", function: "g", line: 1)
    }
}

@Suite struct TimestampTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"), (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"), (1_763_695_925_042, "2025-11-21T03:32:05.042Z"),
    ])
    func `A time is written as ISO 8601 in UTC`(milliseconds: Int64, text: String) {
        #expect(Timestamp.iso8601(milliseconds) == text)
    }
}
