// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServer: what `/readyz` tells.

import Telemetry

/// Whether the broker takes work, and what an operator should look at.
package struct Readiness: Equatable, Sendable {
    /// A log that stopped taking records, and why.
    package struct FailedLog: Equatable, Sendable {
        package var name: String
        package var reason: String

        package init(name: String, reason: String) {
            self.name = name
            self.reason = reason
        }
    }

    /// Why the broker does not take work now; empty means that it does.
    package var problems: [String] = []
    /// What will become a problem.
    package var warnings: [String] = []
    package var durability: String
    package var failedLogs: [FailedLog] = []
    package var diskAvailableBytes: Int64?
    /// Milliseconds since the Unix epoch.
    package var certificateExpiresMs: Int64?

    package init(durability: String) {
        self.durability = durability
    }

    package var isReady: Bool { problems.isEmpty && failedLogs.isEmpty }

    func json(version: String) -> String {
        let failed = failedLogs.map {
            "{\"log\":\(JSONText.quoted($0.name)),\"reason\":\(JSONText.quoted($0.reason))}"
        }
        let expiry = certificateExpiresMs.map { JSONText.quoted(Timestamp.iso8601($0)) }
        let fields = [
            ("ready", isReady ? "true" : "false"),
            ("version", JSONText.quoted(version)),
            ("durability", JSONText.quoted(durability)),
            ("problems", Self.list(problems.map(JSONText.quoted))),
            ("warnings", Self.list(warnings.map(JSONText.quoted))),
            ("failedLogs", Self.list(failed)),
            ("diskAvailableBytes", diskAvailableBytes.map { String($0) } ?? "null"),
            ("certificateExpires", expiry ?? "null"),
        ]
        return "{" + fields.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}\n"
    }

    private static func list(_ elements: [String]) -> String { "[" + elements.joined(separator: ",") + "]" }
}
