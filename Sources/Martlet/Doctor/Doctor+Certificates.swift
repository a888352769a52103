// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the doctor looks at certificates, keys, revocation lists and passwords.

import Bytes
import Glibc
import Transport

extension Doctor {
    mutating func examineCertificates() {
        examineRevocationLists()
        if let file = configuration.tls.certificate {
            var check = CertificateCheck(
                certificateFile: file, keyFile: configuration.tls.key, authorityFile: nil, purpose: .server)
            check.hosts = configuration.namedHosts
            for finding in check.findings(nowMs: clock.nowMs()) { add(finding, settings: ("tls.cert", "tls.key", "tls.ca")) }
            examineAuthority(serverFile: file)
            examineAuthorityKey(DevelopmentCertificates(directory: Self.parent(of: absolute(file))).authorityKeyFile)
            examineTogether(file)
            return
        }
        let own = DevelopmentCertificates(directory: absolute(configuration.certificateDirectory))
        examineAuthority(serverFile: own.serverCertificateFile, isOwn: true)
        guard let status = FileStatus(own.directory) else {
            // It and those above it that are missing are made.
            var above = Self.parent(of: own.directory)
            while above != "/", FileStatus(above) == nil { above = Self.parent(of: above) }
            guard FileStatus(above)?.isDirectory == true, FileStatus.allows(above, W_OK | X_OK) else {
                return add(
                    "certs-unusable", .error, "\(own.directory) does not exist, and cannot be made in \(above)", setting: "certs",
                    next: "a directory that the broker's user may write in; or your own files with tls.cert, tls.key and tls.ca")
            }
            return add(
                "no-certificates-yet", .note, "\(own.directory) does not exist: the first start makes an authority and certificates",
                setting: "certs", next: "nothing; or your own files with tls.cert, tls.key and tls.ca")
        }
        guard status.isDirectory, FileStatus.allows(own.directory, R_OK | W_OK | X_OK) else {
            let why = status.isDirectory ? "this user may not write in \(own.directory) (mode \(status.octal), owner \(status.owner))" : "\(own.directory) is a file"
            return add(
                "certs-unusable", FileStatus("\(own.directory)/server.pem") == nil ? .error : .warning, "\(why), where certificates are made and renewed", setting: "certs",
                next: "a directory of the broker's user; or your own files with tls.cert, tls.key and tls.ca")
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
        examineAuthorityKey(own.authorityKeyFile)
        if isReachable {
            add(
                "own-authority", .note, "the key of the authority lies beside what it signs, in \(own.directory)",
                setting: "tls.cert", next: "certificates of your organisation's authority, once others depend on this broker")
        }
    }

    private mutating func examineAuthorityKey(_ file: String) {
        guard let status = FileStatus(file), status.mode & 0o077 != 0 else { return }
        add(
            "key-readable-by-others", .error,
            "the authority's key \(file) can be \(status.mode & 0o022 != 0 ? "changed" : "read") by others (mode \(status.octal)): they can be anybody",
            next: "chmod 0600 \(file)")
    }

    /// What the TLS library says of the files as a whole, if no single one has been found bad.
    private mutating func examineTogether(_ file: String) {
        guard configuration.tls.key != nil, !findings.contains(where: { $0.severity == .error && $0.setting?.hasPrefix("tls.") == true })
        else { return }
        do throws(TransportError) {
            _ = try TLSContext.server(
                TLSOptions(
                    authorityFile: configuration.tls.authority, certificateFile: file, keyFile: configuration.tls.key))
        } catch {
            add("certificates-unusable", .error, error.message, setting: "tls.cert", next: "files that fit together")
        }
    }

    /// A list that has expired, or that a CA lacks, keeps out every client of that CA.
    private mutating func examineRevocationLists() {
        guard let file = configuration.tls.revocationLists else { return }
        let setting = "ssl.crl.location"
        let lists: [RevocationListSummary]
        do throws(TransportError) {
            lists = try RevocationListSummary.read(file)
        } catch {
            return add("file-unreadable", .error, error.message, setting: setting, next: "a PEM file with the lists of the CAs in tls.ca")
        }
        let nowMs = clock.nowMs()
        for list in lists {
            if list.issuedMs > nowMs {
                add(
                    "revocation-list-not-yet-valid", .error, "the revocation list of \(list.issuer) is of the future: its clients are refused until then",
                    setting: setting, next: "set the clock of this machine, or of the CA, right")
            }
            guard let expiry = CertificateExpiry(list), expiry.isNear(nowMs: nowMs) else { continue }
            let isOver = expiry.notAfterMs <= nowMs
            add(
                isOver ? "revocation-list-expired" : "revocation-list-expires-soon", isOver ? .error : .warning,
                expiry.text(nowMs: nowMs), setting: setting, next: "a file with the CA's next list; it is taken while the broker runs")
        }
        let authority = configuration.tls.authority
            ?? DevelopmentCertificates(directory: absolute(configuration.certificateDirectory)).authorityFile
        for name in CertificateFile.subjects(of: authority) where !lists.contains(where: { $0.issuer == name }) {
            add(
                "revocation-list-missing", .warning, "\(file) has no list of \(name): every client certificate that it signed is refused",
                setting: setting, next: "add that CA's list; nothing if it signs only other CAs")
        }
    }

    /// The authority signs clients' certificates; the broker's own need not be below it, and one of its making is not.
    private mutating func examineAuthority(serverFile: String, isOwn: Bool = false) {
        guard let file = configuration.tls.authority else { return }
        let check = CertificateCheck(certificateFile: serverFile, keyFile: nil, authorityFile: file, purpose: .server)
        for finding in check.findings(nowMs: clock.nowMs()) {
            if finding.subject == .authority { add(finding, settings: ("tls.cert", "tls.key", "tls.ca")) }
            if finding.kind == .chain, !isOwn {
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
            next: besideTheConfiguration(finding) ?? finding.next)
    }

    /// A file that is where the configuration is, not where the broker is started.
    private func besideTheConfiguration(_ finding: CertificateFinding) -> String? {
        let named = switch finding.subject {
        case .certificate: configuration.tls.certificate
        case .key: configuration.tls.key
        case .authority: configuration.tls.authority
        }
        guard finding.kind == .unreadable, let configFile, let named, !named.hasPrefix("/"), FileStatus(named) == nil else { return nil }
        let path = "\(Self.parent(of: absolute(configFile)))/\(named)"
        return FileStatus(path) == nil ? nil : "\(path): paths count from where the broker is started, not from its configuration"
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
            guard let weakness = PasswordWeakness(of: password) else { continue }
            add(
                weakness.id, weakness == .known ? .error : .warning, "password file \(file): it is \(weakness)",
                next: PasswordWeakness.advice)
        }
    }
}
