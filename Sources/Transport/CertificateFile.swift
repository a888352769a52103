// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a certificate file says, for metrics, health and the command line.

import Bytes

/// Questions about the first certificate of a PEM file.
package enum CertificateFile {
    /// The certificate's content.
    package static func summary(_ path: String) throws(TransportError) -> PeerCertificate {
        try TLSIdentity.certificates(in: path, what: "certificate")[0].summary
    }

    /// Whose the certificates of a file are; none if it cannot be read.
    package static func subjects(of path: String) -> [String] {
        let certificates = try? TLSIdentity.certificates(in: path, what: "certificate")
        return (certificates ?? []).map(\.summary.subject)
    }

    /// The certificate's last moment, in milliseconds since the epoch.
    package static func expiryMs(_ path: String) throws(TransportError) -> Int64 {
        try summary(path).notAfterMs
    }

    /// Whether a server may use it; false also if it cannot be read.
    package static func isServers(_ path: String) -> Bool {
        guard let certificates = try? TLSIdentity.certificates(in: path, what: "certificate") else { return false }
        return certificates[0].usages.server
    }

    /// A few lines for a person.
    package static func describe(
        _ path: String, nowMs: Int64 = SystemClock().nowMs()
    ) throws(TransportError) -> String {
        let whole = try TLSIdentity.certificates(in: path, what: "certificate")[0]
        let certificate = whole.summary
        let names = certificate.alternativeNames.map { name in
            switch name {
            case .dns(let text), .address(let text), .uri(let text), .email(let text): text
            }
        }
        var lines = [
            "\(path)", "  subject  \(certificate.subject)", "  issuer   \(certificate.issuer)",
        ]
        if !names.isEmpty { lines.append("  names    \(names.joined(separator: ", "))") }
        lines.append(
            "  valid    \(dateText(certificate.notBeforeMs)) to \(dateText(certificate.notAfterMs))"
        )
        lines.append("  state    \(state(certificate, nowMs: nowMs))")
        let (kind, bits) = whole.keyKind
        let digest = whole.signatureDigest.map { ", signed with \($0)" } ?? ""
        lines.append("  key      \(kind), \(bits) bits\(digest)")
        let usages = whole.usages
        let uses = (usages.server ? ["server"] : []) + (usages.client ? ["client"] : [])
        lines.append("  for      \(whole.isAuthority ? "signing (CA)" : uses.joined(separator: ", "))")
        lines.append("  serial   \(certificate.serial)")
        return lines.joined(separator: "\n")
    }

    private static func state(_ certificate: PeerCertificate, nowMs: Int64) -> String {
        if certificate.notBeforeMs > nowMs { return "not valid yet" }
        let left = certificate.notAfterMs - nowMs
        if left <= 0 { return "EXPIRED" }
        let days = left / 86_400_000
        return days >= 2 ? "good for \(days) more days" : "good for \(left / 3_600_000) more hours"
    }
}
