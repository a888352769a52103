// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a certificate file says, for metrics, health and the command line.

/// Questions about the first certificate of a PEM file.
package enum CertificateFile {
    /// The certificate's content.
    package static func summary(_ path: String) throws(TransportError) -> PeerCertificate {
        try TLSIdentity.certificates(in: path, what: "certificate")[0].summary
    }

    /// The certificate's last moment, in milliseconds since the epoch.
    package static func expiryMs(_ path: String) throws(TransportError) -> Int64 {
        try summary(path).notAfterMs
    }

    /// A few lines for a person.
    package static func describe(_ path: String) throws(TransportError) -> String {
        let certificate = try summary(path)
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
        lines.append("  serial   \(certificate.serial)")
        return lines.joined(separator: "\n")
    }
}
