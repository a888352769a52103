// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: keeps one noisy peer from filling the disk with log lines.
//
// Two buckets of tokens hold a message back: a small one for messages with the same words, and a larger one for everything
// that one log statement says, because peers can make the words differ. What was held back is counted: what the small one
// held back is told by the next line with the same words, the rest by the next line of the statement. Debug output is what
// somebody asked for, and critical messages are what they must see: neither is limited. A plain value; `LogOutput` guards it.

import Logging

package struct LogRateLimit: Sendable {
    /// A bucket that holds `burst` tokens and earns one in each interval.
    package struct Rate: Equatable, Sendable {
        package var burst: Int
        package var intervalMs: Int64

        package init(burst: Int, intervalMs: Int64) {
            precondition(burst > 0 && intervalMs > 0, "a log rate limit must let something through")
            self.burst = burst
            self.intervalMs = intervalMs
        }
    }

    /// Words that are told apart at a time; beyond it all are forgotten and begin anew.
    static let messagesMax = 1000

    private struct Statement: Hashable {
        var file: String
        var line: UInt
    }

    private struct Words: Hashable {
        var statement: Statement
        var message: String
    }

    private struct Bucket {
        var tokens: Int
        var refilledMs: Int64
        var suppressed = 0

        mutating func refill(_ rate: Rate, nowMs: Int64) {
            // A clock set back must not silence the log until it has caught up.
            guard nowMs >= refilledMs else { return refilledMs = nowMs }
            let earned = (nowMs - refilledMs) / rate.intervalMs
            guard earned > 0 else { return }
            tokens = Int(min(Int64(tokens) + earned, Int64(rate.burst)))
            refilledMs += earned * rate.intervalMs
        }
    }

    private let perMessage: Rate
    private let perStatement: Rate
    private var messages: [Words: Bucket] = [:]
    /// Bounded by the number of log statements in the program.
    private var statements: [Statement: Bucket] = [:]

    package init(
        perMessage: Rate = Rate(burst: 20, intervalMs: 1000), perStatement: Rate = Rate(burst: 500, intervalMs: 50)
    ) {
        self.perMessage = perMessage
        self.perStatement = perStatement
    }

    /// How many messages were held back before this one that no line has told of; nil if this one must be held back too.
    mutating func admit(_ event: LogEvent, nowMs: Int64) -> Int? {
        guard event.level > .debug, event.level < .critical else { return 0 }
        let statement = Statement(file: event.file, line: event.line)
        let words = Words(statement: statement, message: event.message.description)
        if messages.count >= Self.messagesMax, messages[words] == nil { forgetWords() }
        var common = statements[statement] ?? Bucket(tokens: perStatement.burst, refilledMs: nowMs)
        var own = messages[words] ?? Bucket(tokens: perMessage.burst, refilledMs: nowMs)
        common.refill(perStatement, nowMs: nowMs)
        own.refill(perMessage, nowMs: nowMs)
        let isAdmitted = common.tokens > 0 && own.tokens > 0
        let suppressed = own.suppressed + common.suppressed
        if isAdmitted {
            common.tokens -= 1
            own.tokens -= 1
            common.suppressed = 0
            own.suppressed = 0
        } else if own.tokens == 0 {
            own.suppressed += 1
        } else {
            common.suppressed += 1
        }
        statements[statement] = common
        messages[words] = own
        return isAdmitted ? suppressed : nil
    }

    /// Their statements keep what has not been told.
    private mutating func forgetWords() {
        for (words, bucket) in messages { statements[words.statement]?.suppressed += bucket.suppressed }
        messages = [:]
    }
}
