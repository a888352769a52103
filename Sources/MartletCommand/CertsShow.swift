// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet certs show` and `martlet certs verify`.

import ArgumentParser
import Bytes
import Martlet
import Transport

struct CertsShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show what certificates say and when they expire.")

    @OptionGroup var directory: CertsCommand.Directory

    @Argument(help: "Certificate files (PEM); without any, those of the directory.")
    var files: [String] = []

    func run() throws {
        let own = DevelopmentCertificates(directory: directory.path)
        let shown = try files.isEmpty
            ? reported { () throws(TransportError) in
                try [own.authorityFile] + own.issuedNames().map { "\(own.directory)/\($0).pem" }
            } : files
        for file in shown {
            Terminal.print(try reported { () throws(TransportError) in try CertificateFile.describe(file) })
        }
    }
}

struct CertsVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check that certificates are good for what they are for.",
        discussion: """
            Without a file: all of the directory, and that nobody else may read the keys
            in it, the CA's above all. Checks dates, that the key belongs to
            the certificate and is nobody else's to read, the chain up to the CA, the
            use, names, and weak keys and signatures. The status is 0 if all is well, 1
            with warnings only, 2 with errors.

              martlet certs verify --purpose server --host broker.example.org \\
                  --key tls.key --ca ca.crt tls.crt
            """)

    @OptionGroup var directory: CertsCommand.Directory

    @Argument(help: "A certificate file (PEM), leaf first.")
    var file: String?

    @Option(help: ArgumentHelp("Its private key.", valueName: "file"))
    var key: String?

    @Option(help: ArgumentHelp("The CA certificates it must lead to.", valueName: "file"))
    var ca: String?

    @Option(help: "What it is for: server or client; by default what it says.")
    var purpose: Purpose?

    @Option(name: .customLong("host"), help: "A name or address that it must cover; may be repeated.")
    var hosts: [String] = []

    enum Purpose: String, ExpressibleByArgument, CaseIterable { case server, client }

    func validate() throws {
        guard file != nil || (key == nil && ca == nil) else {
            throw ValidationError("--key and --ca belong to a certificate file: name it")
        }
    }

    func run() throws {
        let checks = try file.map { [try check($0, key: key, ca: ca)] } ?? ofDirectory()
        var findings = try file == nil
            ? reported { () throws(TransportError) in try DevelopmentCertificates(directory: directory.path).exposedSecrets() } : []
        for check in checks {
            for finding in check.findings(nowMs: SystemClock().nowMs()) where !findings.contains(finding) {
                findings.append(finding)
            }
        }
        for finding in findings {
            Terminal.print("\(finding.severity.rawValue) \(finding.kind.rawValue): \(finding.what)\n  next: \(finding.next)")
        }
        let errors = findings.count { $0.severity == .error }
        Terminal.print("\(checks.count) certificates checked, \(errors) errors, \(findings.count - errors) warnings")
        if errors > 0 { throw ExitCode(2) }
        if !findings.isEmpty { throw ExitCode(1) }
    }

    private func ofDirectory() throws -> [CertificateCheck] {
        let own = DevelopmentCertificates(directory: directory.path)
        let names = try reported { () throws(TransportError) in try own.issuedNames() }
        return try names.map {
            try check("\(own.directory)/\($0).pem", key: "\(own.directory)/\($0).key", ca: own.authorityFile)
        }
    }

    private func check(_ file: String, key: String?, ca: String?) throws -> CertificateCheck {
        let wanted: CertificateCheck.Purpose
        switch purpose {
        case .server: wanted = .server
        case .client: wanted = .client
        case nil: wanted = CertificateFile.isServers(file) ? .server : .client
        }
        var check = CertificateCheck(certificateFile: file, keyFile: key, authorityFile: ca, purpose: wanted)
        check.hosts = hosts
        return check
    }
}
