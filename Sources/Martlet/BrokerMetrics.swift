// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the numbers that belong to no module: the broker as a whole, its listeners, its certificate.

import Telemetry
import Transport

enum BrokerMetrics {
    static func register(
        _ metrics: Metrics, durability: Configuration.Durability, certificates: BrokerCertificates,
        memory: RequestMemory, limits: ConnectionLimits,
        listeners: @escaping @Sendable () -> [Listener]
    ) {
        metrics.observe("martlet_info", "Version and durability.", labels: ["version", "durability"]) {
            [Sample(1, labels: [Version.current, durability.rawValue])]
        }
        register(metrics, certificates)
        metrics.observe("martlet_request_memory_bytes", "Bytes of unfinished requests, of all connections.") {
            Double(memory.used)
        }
        metrics.observe(
            "martlet_request_memory_waiting", "Connections that are not read until there is memory for their requests."
        ) { Double(memory.waitingCount) }
        metrics.observe(
            "martlet_connections_limited_total", "Connections refused or made to wait, by the setting or quota.",
            kind: .counter, labels: ["limit"]
        ) {
            let limited = limits.limited
            return ConnectionLimits.Limit.allCases.map { Sample(Double(limited[$0, default: 0]), labels: [$0.rawValue]) }
        }
        metrics.observe("martlet_connections", "Open connections, by listener.", labels: ["listener"]) {
            listeners().map { Sample(Double($0.connectionCount), labels: [$0.name]) }
        }
        let totals: [(name: String, help: String, field: @Sendable (ListenerStatistics) -> Int)] = [
            ("martlet_connections_accepted_total", "Connections accepted, refused ones included.", { $0.accepted }),
            (
                "martlet_connections_refused_total", "Connections turned away: protocol, plaintext, too many.",
                { $0.refused }
            ),
            ("martlet_tls_handshakes_total", "TLS handshakes that ended well.", { $0.handshakes }),
            ("martlet_tls_handshakes_resumed_total", "Of these, how many resumed a session.", { $0.handshakesResumed }),
            ("martlet_tls_handshakes_failed_total", "TLS handshakes that failed.", { $0.handshakesFailed }),
        ]
        for total in totals {
            metrics.observe(total.name, total.help, kind: .counter, labels: ["listener"]) {
                listeners().map { Sample(Double(total.field($0.statistics)), labels: [$0.name]) }
            }
        }
    }

    private static func register(_ metrics: Metrics, _ certificates: BrokerCertificates) {
        metrics.observe(
            "martlet_certificate_expiration_timestamp_seconds",
            "When the first certificate of this kind expires, since the Unix epoch: ca, server, client for those seen last, crl for revocation lists.",
            labels: ["kind"]
        ) {
            certificates.firstExpiries.map { Sample(Double($0.notAfterMs) / 1000, labels: [$0.kind.rawValue]) }
        }
        metrics.observe(
            "martlet_certificate_reloads_total", "Certificate files that were read again because they changed.",
            kind: .counter, labels: ["outcome"]
        ) {
            let counts = certificates.reloads
            return [
                Sample(Double(counts.succeeded), labels: ["succeeded"]), Sample(Double(counts.failed), labels: ["failed"]),
            ]
        }
        metrics.observe(
            "martlet_certificate_files_unusable", "1 while changed certificate files cannot be used and older ones are in force."
        ) { certificates.problem == nil ? 0 : 1 }
    }
}
