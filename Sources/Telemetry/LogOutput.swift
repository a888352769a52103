// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: where log lines go.
//
// One instance a broker; every logger it makes writes through it, one line per message, with one write call, so lines
// never interleave. It never blocks an event loop: a line is at most what a pipe takes in one piece, and while nobody reads the
// pipe (a test harness that forgot to) lines are dropped and counted instead. The rate limit and the count are
// guarded by one mutex. There is no global bootstrap, so two brokers in one process keep their logs apart.

import Glibc
import Logging
import Synchronization

/// How a log line looks.
package enum LogFormat: String, Sendable, CaseIterable {
    /// `2025-01-31T12:00:00.000Z info Transport: message key=value`
    case text
    /// One JSON object a line.
    case json
}

/// Makes loggers and writes what they say.
package final class LogOutput: Sendable {
    /// A pipe takes up to PIPE_BUF bytes in one piece; longer lines are cut.
    package static let lineBytesMax = 4096

    private struct State {
        var limit: LogRateLimit
        var dropped = 0
    }

    private let format: LogFormat
    private let hasPriorities: Bool
    private let nowMs: @Sendable () -> Int64
    private let sink: @Sendable (String) -> Bool
    private let state: Mutex<State>
    /// Of all loggers that have none of their own; an index into the levels.
    private let levelIndex: Atomic<Int>

    /// `sink` takes a line with its newline and says whether it could. `hasPriorities`: the level stands before each line, in
    /// the form that systemd's journal reads and removes.
    package init(
        format: LogFormat = .text, level: Logger.Level = .info, limit: LogRateLimit = LogRateLimit(), hasPriorities: Bool = false,
        nowMs: @escaping @Sendable () -> Int64, sink: @escaping @Sendable (String) -> Bool = standardError
    ) {
        self.format = format
        self.hasPriorities = hasPriorities
        self.nowMs = nowMs
        self.sink = sink
        state = Mutex(State(limit: limit))
        levelIndex = Atomic(Self.index(level))
    }

    /// The least severe messages that are written; loggers that exist follow.
    package var level: Logger.Level {
        get { Logger.Level.allCases[levelIndex.load(ordering: .relaxed)] }
        set { levelIndex.store(Self.index(newValue), ordering: .relaxed) }
    }

    private static func index(_ level: Logger.Level) -> Int { Logger.Level.allCases.firstIndex(of: level) ?? 0 }

    /// A logger named after the module that uses it; with a level of its own, or the one of all.
    package func logger(_ label: String, level: Logger.Level? = nil) -> Logger {
        var logger = Logger(label: label) { LineLogHandler(label: $0, output: self) }
        if let level { logger.logLevel = level }
        return logger
    }

    func write(_ event: LogEvent, label: String, metadata: Logger.Metadata) {
        let now = nowMs()
        let verdict = state.withLock { state in
            (suppressed: state.limit.admit(event, nowMs: now), dropped: state.dropped)
        }
        guard let suppressed = verdict.suppressed else { return }
        var line = LogLine(timeMs: now, level: event.level, label: label, message: event.message.description)
        line.add(metadata)
        if let error = event.error { line.add("error", String(describing: error)) }
        if suppressed > 0 { line.add("suppressed", String(suppressed)) }
        if verdict.dropped > 0 { line.add("dropped", String(verdict.dropped)) }
        let priority = hasPriorities ? JournalPriority.prefix(event.level) : ""
        let written = sink(priority + line.rendered(format, bytesMax: Self.lineBytesMax - priority.utf8.count))
        guard !written || verdict.dropped > 0 else { return }
        state.withLock { $0.dropped = written ? max(0, $0.dropped - verdict.dropped) : $0.dropped + 1 }
    }

    /// Writes to standard error unless that would block.
    package static let standardError: @Sendable (String) -> Bool = { line in
        var ready = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
        // SAFETY: one live pollfd for the duration of the call.
        guard unsafe poll(&ready, 1, 0) == 1, ready.revents & Int16(POLLOUT) != 0 else { return false }
        var line = line
        return line.withUTF8 { bytes in
            // SAFETY: `bytes` is valid for the call and no more than its count is read.
            unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count) == bytes.count
        }
    }
}
