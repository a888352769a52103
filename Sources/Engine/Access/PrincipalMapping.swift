// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who the owner of a certificate is: one of its names, put through the rules of
// `ssl.principal.mapping.rules`.
//
// Immutable, the same for both protocols, and outside of TLS: it is given the names of a certificate that was
// verified. Rules have Kafka's syntax and meaning (KIP-371): `DEFAULT`, or `RULE:pattern/replacement/` with an `L` or
// a `U` behind it, separated by commas; the first whose pattern matches all of the name decides; if there is none, the
// client is refused.

/// Which name of a certificate is its owner's.
package enum CertificateNameKind: String, Sendable, CaseIterable {
    /// The whole subject, as Kafka has it.
    case subject
    case cn
    /// The only URI of the certificate, if it is `spiffe://…`.
    case spiffe
    case uri
    case dns
    case email
}

/// The names of a certificate.
package struct CertificateNames: Equatable, Sendable {
    package var subject: String
    package var commonName: String?
    package var uris: [String]
    package var hosts: [String]
    package var emails: [String]

    package init(
        subject: String, commonName: String? = nil, uris: [String] = [], hosts: [String] = [], emails: [String] = []
    ) {
        self.subject = subject
        self.commonName = commonName
        self.uris = uris
        self.hosts = hosts
        self.emails = emails
    }

    fileprivate func name(_ source: CertificateNameKind) -> String? {
        switch source {
        case .subject: subject.isEmpty ? nil : subject
        case .cn: commonName
        // More than one URI is no SPIFFE certificate (X.509-SVID, section 2).
        case .spiffe: uris.count == 1 && uris[0].lowercased().hasPrefix("spiffe://") ? uris[0] : nil
        case .uri: uris.first
        case .dns: hosts.first
        case .email: emails.first
        }
    }
}

package struct PrincipalMapping: Sendable {
    /// What a person has to change.
    package struct Invalid: Error, Equatable, CustomStringConvertible {
        package var description: String
    }

    /// Why a certificate names nobody; for the log.
    package struct Nobody: Error, Equatable, CustomStringConvertible {
        package var description: String
    }

    /// Longer names are nobody's: the bound on the work of matching.
    package static let nameBytesMax = 2_048
    package static let rulesMax = 64
    package static let kafkaDefault = "DEFAULT"

    private let sources: [CertificateNameKind]
    private let rules: [PrincipalRule]

    /// `sources` in order of preference: the first that the certificate has.
    package init(sources: [CertificateNameKind] = [.subject], rules: String = kafkaDefault) throws(Invalid) {
        self.sources = sources
        self.rules = try PrincipalRule.parse(rules)
    }

    /// `User:` and a name.
    package func principal(of names: CertificateNames) throws(Nobody) -> String {
        guard let name = sources.lazy.compactMap({ names.name($0) }).first(where: { !$0.isEmpty }) else {
            let wanted = sources.map(\.rawValue).joined(separator: ", ")
            throw Nobody(description: "it has no name of the kinds in ssl.principal.source (\(wanted))")
        }
        guard name.utf8.count <= Self.nameBytesMax else {
            throw Nobody(description: "its name is longer than \(Self.nameBytesMax) bytes")
        }
        for rule in rules {
            guard let mapped = rule.apply(name) else { continue }
            guard !mapped.isEmpty else { throw Nobody(description: "ssl.principal.mapping.rules make an empty name of it") }
            return "User:\(mapped)"
        }
        throw Nobody(description: "no rule of ssl.principal.mapping.rules matches \(name)")
    }
}
