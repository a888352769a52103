// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how many logged in, failed to, or were denied something, by protocol: whoever guesses shows here.
//
// Both edges count into it, so that what watches it (docs/monitoring) need not know by which protocol somebody came. The
// protocols are those of the audit log's events: `grpc` is browsers and curl too.

import Telemetry

package struct AccessMetrics: Sendable {
    /// What came by one protocol.
    package struct Counts: Sendable {
        package let logins: Counter
        package let failedLogins: Counter
        package let denials: Counter
    }

    package let kafka: Counts
    package let grpc: Counts

    init(_ metrics: Metrics) {
        let logins = metrics.counters(
            "martlet_logins_total", "Logins by password or token that succeeded, by protocol; over gRPC each call has its own.",
            labels: ["protocol"])
        let failed = metrics.counters(
            "martlet_logins_failed_total", "Logins by password or token that failed, by protocol.", labels: ["protocol"])
        let denials = metrics.counters(
            "martlet_access_denied_total", "Things that a client asked for and was not allowed, by protocol.",
            labels: ["protocol"])
        func counts(_ wire: String) -> Counts {
            Counts(logins: logins.with(wire), failedLogins: failed.with(wire), denials: denials.with(wire))
        }
        kafka = counts("kafka")
        grpc = counts("grpc")
    }
}
