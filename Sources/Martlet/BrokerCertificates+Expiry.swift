// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: which certificates and revocation lists expire soon, for the log, `/readyz`, the health service and the metrics.

import Bytes
import Logging
import Telemetry
import Transport

extension BrokerCertificates {
    /// Of the broker, of the authorities, and of the clients that were seen; the first to expire of each kind first.
    func expiries() -> [CertificateExpiry] {
        let context = store.current
        let server = context.certificate.map { [CertificateExpiry(.server, $0)] } ?? []
        let authorities = context.authorities.map { CertificateExpiry(.authority, $0) }
        let clients = seenClients.all(nowMs: clock.nowMs()).map { CertificateExpiry(.client, $0) }
        let lists = context.revocationSummaries.compactMap { CertificateExpiry($0) }
        return server + authorities.sorted { $0.notAfterMs < $1.notAfterMs } + clients
            + lists.sorted { $0.notAfterMs < $1.notAfterMs }
    }

    /// When the first of each kind expires.
    var firstExpiries: [CertificateExpiry] {
        let all = expiries()
        return CertificateExpiry.Kind.allCases.compactMap { kind in all.first { $0.kind == kind } }
    }

    /// What `/readyz` warns of: files that cannot be used, and what expires soon.
    var warnings: [String] {
        let nowMs = clock.nowMs()
        let near = expiries().filter { $0.isNear(nowMs: nowMs) }
        var lines = problem.map { ["the certificates changed and cannot be used, the old ones stay in force: \($0)"] } ?? []
        lines += near.prefix(Limits.certificatesNamed).map { $0.text(nowMs: nowMs) }
        if near.count > Limits.certificatesNamed {
            lines.append("\(near.count - Limits.certificatesNamed) more certificates expire soon")
        }
        return lines
    }

    /// The same for the header of an answer: no names, which could be in any script.
    var healthWarning: String? {
        let nowMs = clock.nowMs()
        var parts: [String] = problem == nil ? [] : ["certificate files cannot be used"]
        let near = expiries().filter { $0.isNear(nowMs: nowMs) }
        for kind in CertificateExpiry.Kind.allCases {
            guard let first = near.first(where: { $0.kind == kind }) else { continue }
            let what = kind == .revocations ? "revocation list" : "\(kind.rawValue) certificate"
            parts.append("\(what) expires at \(Timestamp.iso8601(first.notAfterMs))")
        }
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }

    /// Says in the log what expires soon, each certificate once a day.
    func warnOfExpiry(logger: Logger) {
        let nowMs = clock.nowMs()
        let near = expiries().filter { $0.isNear(nowMs: nowMs) }
        let untold = takeUntold(near, nowMs: nowMs)
        for expiry in untold.prefix(Limits.certificatesNamed) {
            logger.warning("\(expiry.text(nowMs: nowMs))", metadata: ["kind": "\(expiry.kind.rawValue)", "serial": "\(expiry.serial)"])
        }
        if untold.count > Limits.certificatesNamed {
            logger.warning("\(untold.count - Limits.certificatesNamed) more certificates expire soon")
        }
    }
}
