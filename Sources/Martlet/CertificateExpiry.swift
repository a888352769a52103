// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: when a certificate that matters here expires, and when to say so.
//
// A plain value. A warning comes 48 hours ahead, or in the last quarter of the time of a certificate that lives for less
// than eight days: whoever renews in the last third is not warned of what works.

import Telemetry
import Transport

struct CertificateExpiry: Equatable, Sendable {
    enum Kind: String, Sendable, CaseIterable {
        /// An authority that clients' certificates are checked against.
        case authority = "ca"
        case server
        /// The last certificate that a client showed.
        case client
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

    func isNear(nowMs: Int64) -> Bool {
        notAfterMs - nowMs < min(Limits.certificateWarningMs, (notAfterMs - notBeforeMs) / 4)
    }

    /// What to tell whoever can do something about it.
    func text(nowMs: Int64) -> String {
        let (whose, next) =
            switch kind {
            case .authority: ("the CA certificate", "put its successor into the CA file beside it")
            case .server: ("the broker's certificate", "replace its files")
            case .client: ("the client certificate", "renew it")
            }
        let verb = notAfterMs <= nowMs ? "expired" : "expires"
        return "\(whose) (\(subject)) \(verb) at \(Timestamp.iso8601(notAfterMs)); \(next)"
    }
}
