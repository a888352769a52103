// SPDX-License-Identifier: Apache-2.0
// Martlet, TestSupport: an audit log that a test reads.

import Synchronization
import Telemetry

package final class AuditLines: AuditSink {
    private let lines = Mutex<[String]>([])

    package init() {}

    /// An audit log that writes here at once.
    package func log(recordsAllowed: Bool = false, topic: String? = nil) -> AuditLog {
        let log = AuditLog(recordsAllowed: recordsAllowed, topic: topic, nowMs: { 0 }, background: { $0() })
        log.add(self)
        return log
    }

    package var all: [String] { lines.withLock { $0 } }

    /// Those that have all of these parts.
    package func having(_ parts: String...) -> [String] {
        all.filter { line in parts.allSatisfy { line.contains($0) } }
    }

    package func write(_ lines: [String]) -> Int {
        self.lines.withLock { $0 += lines }
        return 0
    }
}
