// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what is wrong with a certificate, its key and its chain, before anybody connects.
//
// Reads the files it is given, or looks at what a `TLSContext` has read, and answers with findings in words; it decides
// nothing and changes nothing. `martlet certs verify` and `martlet doctor` print them; a broker that runs asks before it
// takes new files.

import Glibc

/// One thing that is, or will be, wrong.
package struct CertificateFinding: Equatable, Sendable {
    package enum Severity: String, Sendable { case error, warning }

    /// What kind of thing, for programs.
    package enum Kind: String, Sendable, CaseIterable {
        case unreadable = "file-unreadable"
        case keyMismatch = "key-mismatch"
        case keyMode = "key-readable-by-others"
        case expired = "certificate-expired"
        case notYetValid = "certificate-not-yet-valid"
        case expiresSoon = "certificate-expires-soon"
        case chain = "chain-incomplete"
        case usage = "wrong-usage"
        case names = "name-not-covered"
        case weakKey = "weak-key"
        case weakSignature = "weak-signature"
        case noAuthority = "not-an-authority"
    }

    /// Which of the files it is about.
    package enum Subject: Sendable { case certificate, key, authority }

    package var kind: Kind
    package var severity: Severity
    package var subject: Subject
    package var what: String
    package var next: String
}

/// A certificate to be looked at, with what it is to be used for.
package struct CertificateCheck {
    package enum Purpose: String, Sendable { case server, client }

    package var certificateFile: String
    package var keyFile: String?
    package var authorityFile: String?
    package var purpose: Purpose
    /// Names and addresses that a server is reached by.
    package var hosts: [String] = []

    private static let rsaBitsMin = 2048
    private static let ecBitsMin = 224
    private static let weakDigests: Set<String> = ["MD2", "MD4", "MD5", "SHA1"]
    private static let soonMs: Int64 = 48 * 3600 * 1000
    /// Whoever lives for less is renewed so late that 48 hours would be a warning all the time.
    private static let shortLifeMs: Int64 = 6 * 24 * 3600 * 1000

    package init(certificateFile: String, keyFile: String?, authorityFile: String?, purpose: Purpose) {
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.authorityFile = authorityFile
        self.purpose = purpose
    }

    /// How long before its end a warning is due: 48 hours, or the last quarter of a life of less than six days.
    package static func warningMs(from beginMs: Int64, to endMs: Int64) -> Int64 {
        let lifeMs = endMs - beginMs
        return lifeMs > shortLifeMs ? soonMs : lifeMs / 4
    }

    package func findings(nowMs: Int64) -> [CertificateFinding] {
        var found: [CertificateFinding] = []
        let authorities = authorityFile.flatMap { read($0, "CA certificate", .authority, &found) } ?? []
        check(authorities, nowMs, &found)
        // What is no key needs no other mode.
        let isKey = keyFile.map { TLSIdentity.holdsKey($0) } ?? false
        if let keyFile, isKey { checkMode(keyFile, &found) }
        guard let chain = read(certificateFile, "certificate", .certificate, &found), let leaf = chain.first else {
            if let keyFile { checkKeyAlone(keyFile, &found) }
            return found
        }
        checkKey(leaf, &found)
        return found + faults(of: chain, authorities, nowMs: nowMs)
    }

    /// What is wrong with certificates that were read before, the leaf first; nothing of keys.
    func faults(of chain: [X509Certificate], _ authorities: [X509Certificate], nowMs: Int64) -> [CertificateFinding] {
        guard let leaf = chain.first else { return [] }
        var found: [CertificateFinding] = []
        check(leaf, of: .certificate, nowMs, &found)
        checkUse(leaf, &found)
        checkChain(leaf, Array(chain.dropFirst()), authorities, nowMs, &found)
        return found
    }

    private func read(
        _ file: String, _ what: String, _ subject: CertificateFinding.Subject, _ found: inout [CertificateFinding]
    ) -> [X509Certificate]? {
        do throws(TransportError) {
            return try TLSIdentity.certificates(in: file, what: what)
        } catch {
            let parts = Self.split(error.message)
            found.append(
                CertificateFinding(kind: .unreadable, severity: .error, subject: subject, what: parts.what, next: parts.next))
            return nil
        }
    }

    /// Errors of this module are written `what is wrong; what to do`.
    private static func split(_ message: String) -> (what: String, next: String) {
        guard let end = message.lastIndex(of: ";" as Character) else { return (message, "name another file") }
        return (String(message[..<end]), String(message[message.index(after: end)...].drop { $0 == " " }))
    }

    /// A private key that others may read is everybody's.
    private func checkMode(_ file: String, _ found: inout [CertificateFinding]) {
        if let finding = Self.modeFinding(file, what: "private key") { found.append(finding) }
    }

    /// Says if others may read a file that is nobody else's to read. `what` names it.
    static func modeFinding(_ file: String, what: String) -> CertificateFinding? {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a C string for the duration of the call.
        guard unsafe stat(file, &status) == 0, status.st_mode & 0o044 != 0 else { return nil }
        let isWorld = status.st_mode & 0o004 != 0
        let mode = String(status.st_mode & 0o777, radix: 8)
        return CertificateFinding(
            kind: .keyMode, severity: isWorld ? .error : .warning, subject: .key,
            what: "\(what) \(file): \(isWorld ? "everybody" : "its group") may read it (mode 0\(mode))",
            next: "chmod \(isWorld ? "0600" : "0600, unless the group is the broker's own,") \(file)")
    }

    private func check(_ authorities: [X509Certificate], _ nowMs: Int64, _ found: inout [CertificateFinding]) {
        for authority in authorities {
            var own: [CertificateFinding] = []
            check(authority, of: .authority, nowMs, &own)
            // One that has a successor beside it is only old.
            let hasOther = authorities.contains { $0.notAfterMs > nowMs && $0.isAuthority }
            for index in own.indices where own[index].kind == .expired && hasOther {
                own[index].severity = .warning
                own[index].next = "remove it from the file; others in it are good"
            }
            found += own
        }
    }

    private func check(
        _ certificate: X509Certificate, of subject: CertificateFinding.Subject, _ nowMs: Int64,
        _ found: inout [CertificateFinding]
    ) {
        let file = (subject == .authority ? authorityFile : certificateFile) ?? ""
        let whose = "\(subject == .authority ? "CA certificate" : "certificate") \(file) (\(certificate.summary.subject))"
        func add(_ kind: CertificateFinding.Kind, _ severity: CertificateFinding.Severity, _ what: String, _ next: String) {
            found.append(
                CertificateFinding(kind: kind, severity: severity, subject: subject, what: "\(whose): \(what)", next: next))
        }
        let (begin, end) = (certificate.notBeforeMs, certificate.notAfterMs)
        if end <= nowMs {
            add(.expired, .error, "it expired on \(dateText(end))", "renew it")
        } else if begin > nowMs {
            add(.notYetValid, .error, "it is not valid before \(dateText(begin))",
                "set this machine's clock right if that is past, or wait")
        } else if end - nowMs < Self.warningMs(from: begin, to: end) {
            add(.expiresSoon, .warning, "it expires within \((end - nowMs) / 3_600_000 + 1) hours", "renew it")
        }
        let (name, bits) = certificate.keyKind
        if name.hasPrefix("RSA"), bits < Self.rsaBitsMin {
            add(.weakKey, .error, "its RSA key has \(bits) bits", "make one of 2048 bits or more, or on P-256")
        } else if name == "EC", bits < Self.ecBitsMin {
            add(.weakKey, .error, "its key has \(bits) bits", "make one on P-256")
        } else if name == "DSA" {
            add(.weakKey, .error, "it has a DSA key, which TLS 1.3 does not use", "make one on P-256")
        }
        // Nobody checks the signature that a root has put under itself.
        let isRoot = certificate.isSigned(by: certificate)
        if !isRoot, let digest = certificate.signatureDigest, Self.weakDigests.contains(digest) {
            add(.weakSignature, .error, "it is signed with \(digest)", "have it signed with SHA-256")
        }
        if subject == .authority, !certificate.isAuthority, !isRoot {
            let own = (try? TLSIdentity.certificates(in: certificateFile, what: "certificate"))?.first
            let isOwn = own?.pem == certificate.pem
            add(
                .noAuthority, .warning,
                isOwn ? "it is no CA, but the certificate itself: no other one is trusted" : "it is no CA: only this one certificate is trusted",
                "name the CA's certificate")
        }
    }

    private func checkKeyAlone(_ keyFile: String, _ found: inout [CertificateFinding]) {
        do throws(TransportError) {
            _ = try TLSIdentity.key(in: keyFile)
        } catch {
            let parts = Self.split(error.message)
            found.append(CertificateFinding(kind: .unreadable, severity: .error, subject: .key, what: parts.what, next: parts.next))
        }
    }

    private func checkKey(_ leaf: X509Certificate, _ found: inout [CertificateFinding]) {
        guard let keyFile else { return }
        do throws(TransportError) {
            _ = try TLSIdentity.load(TLSOptions(certificateFile: certificateFile, keyFile: keyFile))
        } catch {
            let parts = Self.split(error.message)
            found.append(
                CertificateFinding(
                    kind: error.code == .keyMismatch ? .keyMismatch : .unreadable, severity: .error, subject: .key,
                    what: parts.what, next: parts.next))
        }
    }

    private func checkUse(_ leaf: X509Certificate, _ found: inout [CertificateFinding]) {
        let whose = "certificate \(certificateFile)"
        let isMeant = purpose == .server ? leaf.usages.server : leaf.usages.client
        if !isMeant {
            found.append(
                CertificateFinding(
                    kind: .usage, severity: .error, subject: .certificate,
                    what: "\(whose): it is not meant for a \(purpose.rawValue) (extended key usage)",
                    next: "issue one with the usage \(purpose.rawValue)Auth"))
        }
        for host in hosts where !leaf.covers(host) {
            found.append(
                CertificateFinding(
                    kind: .names, severity: .error, subject: .certificate,
                    what: "\(whose): it does not name \(host), which clients use\(Self.nearMiss(leaf, host))",
                    next: "issue one with \(host) among its alternative names"))
        }
    }

    /// What looks as if it named the host, and does not.
    private static func nearMiss(_ leaf: X509Certificate, _ host: String) -> String {
        let summary = leaf.summary
        if isNumericAddress(host), summary.alternativeNames.contains(.dns(host)) {
            return " (it has it as a DNS name, where clients do not look for an address)"
        }
        return summary.commonName?.lowercased() == host.lowercased()
            ? " (its common name does, at which clients do not look)" : ""
    }

    private func checkChain(
        _ leaf: X509Certificate, _ chain: [X509Certificate], _ authorities: [X509Certificate], _ nowMs: Int64,
        _ found: inout [CertificateFinding]
    ) {
        // Times and usage have findings of their own; here the time is one at which the certificate is good.
        let timeMs = min(max(nowMs, leaf.notBeforeMs), leaf.notAfterMs - 1000)
        let isMeant = purpose == .server ? leaf.usages.server : leaf.usages.client
        guard !authorities.isEmpty, isMeant,
            let fault = leaf.chainFault(
                through: chain, trusted: authorities, isServer: purpose == .server, nowMs: timeMs)
        else { return }
        found.append(
            CertificateFinding(
                kind: .chain, severity: .error, subject: .certificate,
                what: "certificate \(certificateFile): it does not lead to a CA of \(authorityFile ?? ""): \(fault.reason)\(Self.place(of: fault, leaf))",
                next: Self.advice(fault, leaf, chain)))
    }

    /// Which certificate of the chain is at fault.
    private static func place(of fault: X509Certificate.ChainFault, _ leaf: X509Certificate) -> String {
        guard let last = fault.last else { return "" }
        if fault.isIssuerMissing { return " (\(last.summary.issuer), which signed \(last.summary.subject))" }
        return last.pem == leaf.pem ? "" : " (\(last.summary.subject))"
    }

    private static func advice(_ fault: X509Certificate.ChainFault, _ leaf: X509Certificate, _ chain: [X509Certificate]) -> String {
        if leaf.isAuthority, !chain.isEmpty { return "put the certificate itself first, then those of the CAs" }
        if fault.isIssuerMissing || leaf.isSigned(by: leaf) {
            return "put the intermediate certificates after it into the same file, leaf first, or name its CA"
        }
        if let last = fault.last, last.pem != leaf.pem { return "have a successor of \(last.summary.subject), and put it there instead" }
        return "have another one issued"
    }
}
