// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the doctor looks at certificates, keys and passwords.

import Glibc
import Transport

extension Doctor {
    private static let passwordLengthMin = 12
    /// What is tried first, in lower case.
    private static let knownPasswords: Set<String> = [
        "password", "passw0rd", "password1", "changeit", "changeme", "change-me", "admin", "admin-secret", "administrator",
        "secret", "kafka", "martlet", "confluent", "123456", "12345678", "123456789", "1234567890", "123456789012", "qwerty",
        "qwertyuiop", "letmein", "welcome", "iloveyou", "test", "guest", "root", "default", "passwordpassword",
    ]

    mutating func examineCertificates() {
        if let file = configuration.tls.certificate {
            var check = CertificateCheck(
                certificateFile: file, keyFile: configuration.tls.key, authorityFile: nil, purpose: .server)
            check.hosts = hosts
            for finding in check.findings(nowMs: clock.nowMs()) { add(finding, settings: ("tls.cert", "tls.key", "tls.ca")) }
            examineAuthority(serverFile: file)
            return
        }
        let own = DevelopmentCertificates(directory: absolute(configuration.certificateDirectory))
        guard FileStatus(own.directory) != nil else {
            return add(
                "no-certificates-yet", .note, "\(own.directory) does not exist: the first start makes an authority and certificates",
                setting: "certs", next: "nothing; or your own files with tls.cert, tls.key and tls.ca")
        }
        for (name, purpose) in [("server", CertificateCheck.Purpose.server), ("client", .client)]
        where FileStatus("\(own.directory)/\(name).pem") != nil {
            let check = CertificateCheck(
                certificateFile: "\(own.directory)/\(name).pem", keyFile: "\(own.directory)/\(name).key",
                authorityFile: own.authorityFile, purpose: purpose)
            // Its names and dates are the broker's own care: it mints what is missing.
            let cared: [CertificateFinding.Kind] = [.names, .expired, .expiresSoon]
            for finding in check.findings(nowMs: clock.nowMs()) where !cared.contains(finding.kind) || finding.subject == .authority {
                add(finding, settings: ("certs", "certs", "certs"))
            }
        }
        if let status = FileStatus(own.authorityKeyFile), status.mode & 0o077 != 0 {
            add(
                "key-readable-by-others", .error,
                "the authority's key \(own.authorityKeyFile) can be read by others (mode \(status.octal)): they can be anybody",
                next: "chmod 0600 \(own.authorityKeyFile)")
        }
        if isReachable {
            add(
                "own-authority", .note, "the key of the authority lies beside what it signs, in \(own.directory)",
                setting: "tls.cert", next: "certificates of your organisation's authority, once others depend on this broker")
        }
    }

    /// The authority signs clients' certificates; the broker's own need not be below it.
    private mutating func examineAuthority(serverFile: String) {
        guard let file = configuration.tls.authority else { return }
        let check = CertificateCheck(certificateFile: serverFile, keyFile: nil, authorityFile: file, purpose: .server)
        for finding in check.findings(nowMs: clock.nowMs()) {
            if finding.subject == .authority { add(finding, settings: ("tls.cert", "tls.key", "tls.ca")) }
            if finding.kind == .chain {
                add(
                    "chain-incomplete", .warning, finding.what, setting: "tls.cert",
                    next: "\(finding.next); fine if clients trust another CA than the one of tls.ca")
            }
        }
    }

    private mutating func add(
        _ finding: CertificateFinding, settings: (certificate: String, key: String, authority: String)
    ) {
        let setting =
            switch finding.subject {
            case .certificate: settings.certificate
            case .key: settings.key
            case .authority: settings.authority
            }
        add(
            finding.kind.rawValue, finding.severity == .error ? .error : .warning, finding.what, setting: setting,
            next: finding.next)
    }

    /// Names and addresses that clients use: those that were chosen, not those that mean every address.
    private var hosts: [String] {
        let all = configuration.listeners.map(\.host) + (configuration.advertise.map { [$0.host] } ?? [])
        return all.filter { !["*", "0.0.0.0", "::", ""].contains($0) && !Address(host: $0).isLoopback }
    }

    mutating func examinePasswords(_ files: [String]) {
        for file in files {
            guard let status = FileStatus(file) else {
                add("file-unreadable", .error, "password file \(file): no such file", next: "name the right file")
                continue
            }
            if status.mode & 0o077 != 0 {
                add(
                    "password-readable-by-others", status.mode & 0o007 != 0 ? .error : .warning,
                    "password file \(file) can be read by \(status.mode & 0o007 != 0 ? "everybody" : "its group") (mode \(status.octal))",
                    next: "chmod 0600 \(file)")
            }
            guard let password = try? TextFile.firstLine(of: file) else {
                add("file-unreadable", .error, "password file \(file) cannot be read", next: "run this as its owner")
                continue
            }
            // What it is must not be told.
            if password.isEmpty || Self.knownPasswords.contains(password.lowercased()) {
                add("default-password", .error, "password file \(file): it is empty or one that everybody tries first", next: "24 random letters: openssl rand -base64 18")
            } else if password.count < Self.passwordLengthMin || Set(password).count < 5 {
                add(
                    "weak-password", .warning,
                    "password file \(file): shorter than \(Self.passwordLengthMin) letters, or of less than 5 different ones",
                    next: "24 random letters: openssl rand -base64 18")
            }
        }
    }
}
