// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: a denial is put into words only for a line that is written.

import Logging
import Synchronization
import Telemetry
import Testing

@testable import Engine

@Suite struct AccessDenialTests {
    /// Counts how often somebody wants it in words.
    private final class Rule: CustomStringConvertible, Sendable {
        let asked = Mutex(0)

        var description: String {
            asked.withLock { $0 += 1 }
            return "deny it"
        }
    }

    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    @Test func whatTheLogHoldsBackIsNeverPutIntoWords() throws {
        let (rule, lines) = (Rule(), Lines())
        let output = LogOutput(nowMs: { 0 }) { line in
            lines.all.withLock { $0.append(line) }
            return true
        }
        let logger = output.logger("KafkaServer")
        for _ in 0..<100 {
            let denial = AccessDenial("User:a", address: "10.0.0.1", .write, .topic, "orders", reason: rule)
            logger.info("denied", metadata: denial.metadata)
        }
        let written = lines.all.withLock { $0 }
        #expect((1..<100).contains(written.count) && rule.asked.withLock { $0 } == written.count)
        #expect(
            try #require(written.first).hasSuffix(
                "denied operation=write peer=10.0.0.1 principal=User:a resource=\"topic orders\" rule=\"deny it\"\n"))
        let unruled = AccessDenial("User:a", address: "10.0.0.1", .write, .topic, "orders", .init(isAllowed: false, rule: nil))
        #expect(unruled.metadata["rule"]?.description == "none allows it")
    }
}
