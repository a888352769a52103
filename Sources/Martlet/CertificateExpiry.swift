// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: when a certificate, or a revocation list, that matters here expires, and when to say so.
//
// A plain value. A warning comes 48 hours ahead, or in the last quarter of the time of what lives for less than six days:
// whoever renews in the last third is not warned of what works.

import Telemetry
import Transport

struct CertificateExpiry: Equatable, Sendable {
    enum Kind: String, Sendable, CaseIterable {
        /// An authority that clients' certificates are checked against.
        case authority = "ca"
        case server
        /// The last certificate that a client showed.
        case client
        /// What an authority has taken back: when it is too old, none of its clients is let in.
        case revocations = "crl"
    }

    let kind: Kind
    let subject: String
    let serial: String
    let notBeforeMs: Int64
    let notAfterMs: Int64

    init(_ kind: Kind, _ certificate: PeerCertificate) {
        self.kind = kind
        subject = certificate.subject
        serial = certificate.serial
        notBeforeMs = certificate.notBeforeMs
        notAfterMs = certificate.notAfterMs
    }

    /// nil if the list is good for ever.
    init?(_ list: RevocationListSummary) {
        guard let nextMs = list.nextMs else { return nil }
        kind = .revocations
        subject = list.issuer
        serial = "\(list.issuer) \(nextMs)"
        notBeforeMs = list.issuedMs
        notAfterMs = nextMs
    }

    func isNear(nowMs: Int64) -> Bool {
        notAfterMs - nowMs < CertificateCheck.warningMs(from: notBeforeMs, to: notAfterMs)
    }

    /// What to tell whoever can do something about it.
    func text(nowMs: Int64) -> String {
        let (whose, next) =
            switch kind {
            case .authority: ("the CA certificate", "put its successor into the CA file beside it")
            case .server: ("the broker's certificate", "replace its files")
            case .client: ("the client certificate", "renew it")
            case .revocations:
                ("the revocation list", "from then on every client certificate of that CA is refused: put its next list into ssl.crl.location")
            }
        let verb = notAfterMs <= nowMs ? "expired" : "expires"
        return "\(whose) (\(subject)) \(verb) at \(Timestamp.iso8601(notAfterMs)); \(next)"
    }
}
