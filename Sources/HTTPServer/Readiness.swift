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

    /// A certificate that matters: the broker's, an authority's, the last one that a client showed.
    package struct Certificate: Equatable, Sendable {
        package var kind: String
        package var subject: String
        package var expiresMs: Int64

        package init(kind: String, subject: String, expiresMs: Int64) {
            self.kind = kind
            self.subject = subject
            self.expiresMs = expiresMs
        }
    }

    /// Why the broker does not take work now; empty means that it does.
    package var problems: [String] = []
    /// What will become a problem.
    package var warnings: [String] = []
    package var durability: String
    package var failedLogs: [FailedLog] = []
    package var diskAvailableBytes: Int64?
    /// Of the broker's certificate; milliseconds since the Unix epoch.
    package var certificateExpiresMs: Int64?
    /// The first to expire of each kind.
    package var certificates: [Certificate] = []
    /// What the broker's clock says, for comparing; milliseconds since the Unix epoch.
    package var timeMs: Int64?

    package init(durability: String) {
        self.durability = durability
    }

    package var isReady: Bool { problems.isEmpty && failedLogs.isEmpty }

    package func json(version: String) -> String {
        let failed = failedLogs.map {
            "{\"log\":\(JSONText.quoted($0.name)),\"reason\":\(JSONText.quoted($0.reason))}"
        }
        let expiry = certificateExpiresMs.map { JSONText.quoted(Timestamp.iso8601($0)) }
        let shown = certificates.map {
            "{\"kind\":\(JSONText.quoted($0.kind)),\"subject\":\(JSONText.quoted($0.subject)),"
                + "\"expires\":\(JSONText.quoted(Timestamp.iso8601($0.expiresMs)))}"
        }
        let fields = [
            ("ready", isReady ? "true" : "false"),
            ("version", JSONText.quoted(version)),
            ("durability", JSONText.quoted(durability)),
            ("problems", Self.list(problems.map(JSONText.quoted))),
            ("warnings", Self.list(warnings.map(JSONText.quoted))),
            ("failedLogs", Self.list(failed)),
            ("diskAvailableBytes", diskAvailableBytes.map { String($0) } ?? "null"),
            ("certificateExpires", expiry ?? "null"),
            ("certificates", Self.list(shown)),
            ("time", timeMs.map { JSONText.quoted(Timestamp.iso8601($0)) } ?? "null"),
        ]
        return "{" + fields.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}\n"
    }

    private static func list(_ elements: [String]) -> String { "[" + elements.joined(separator: ",") + "]" }
}
