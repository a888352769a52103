// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet certs issue` and `martlet certs renew`.

import ArgumentParser
import Martlet
import Telemetry
import Transport

/// `--pkcs12` and its password.
struct PKCS12Arguments: ParsableArguments {
    @Flag(help: "Also write NAME.p12 with certificate, key and CA, for Java and browsers.")
    var pkcs12 = false

    @Option(help: ArgumentHelp(
        "A file whose first line is the password of NAME.p12; without it one is made and written to NAME.p12.password.",
        valueName: "file"))
    var passwordFile: String?

    func validate() throws {
        guard passwordFile == nil || pkcs12 else { throw ValidationError("--password-file is for --pkcs12") }
    }

    var password: String? {
        get throws {
            guard let passwordFile else { return nil }
            let password = try TextFile.firstLine(of: passwordFile)
            guard !password.isEmpty else { throw CommandError("\(passwordFile): its first line is empty; write the password there") }
            return password
        }
    }
}

struct CertsIssue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Make one more certificate: for a client, or with --host for a server.")

    @OptionGroup var directory: CertsCommand.Directory

    @Argument(help: "The common name; a client's principal becomes User:CN=<name>. Names the files too.")
    var name: String

    @Option(name: .customLong("host"), help: "Make it a server's, for this name or address; may be repeated.")
    var hosts: [String] = []

    @Option(help: "How many days it is good for.")
    var days = CertificateAuthority.Validity.leafDays

    @OptionGroup var pkcs12: PKCS12Arguments

    func validate() throws {
        guard (1...CertificateAuthority.Validity.authorityDays).contains(days) else {
            throw ValidationError("--days must be from 1 to \(CertificateAuthority.Validity.authorityDays)")
        }
        guard DevelopmentCertificates.isFileName(name), !["ca", "server", "client"].contains(name) else {
            throw ValidationError("`\(JSONText.escaped(name))` cannot name a new certificate's files; choose another name")
        }
    }

    func run() throws {
        let files = DevelopmentCertificates(directory: directory.path)
        let password = try pkcs12.password
        try reported { () throws(TransportError) in
            let authority = try CertificateAuthority.load(
                certificateFile: files.authorityFile, keyFile: files.authorityKeyFile)
            let minted = hosts.isEmpty
                ? try authority.mintClient(commonName: name, days: days)
                : try authority.mintServer(hosts: hosts, days: days)
            try files.write(minted, name: name)
            if pkcs12.pkcs12 { try files.writePKCS12(minted, name: name, password: password) }
        }
        var made = ["\(name).pem", "\(name).key"]
        if pkcs12.pkcs12 { made.append("\(name).p12") }
        if pkcs12.pkcs12, password == nil { made.append("\(name).p12.password") }
        Terminal.print("made \(made.map { "\(files.directory)/\($0)" }.joined(separator: " and "))")
    }
}

struct CertsRenew: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew", abstract: "Make successors of certificates that soon expire.",
        discussion: """
            Without names: of all below this directory's authority that are in the last
            third of their time. A successor has the same name, hosts, use and length of
            life, and a new key; a NAME.p12 beside it is made anew if its password is in
            NAME.p12.password. Suited to a daily timer.
            """)

    @OptionGroup var directory: CertsCommand.Directory

    @Argument(help: "Renew these, whether it is time or not.")
    var names: [String] = []

    @Flag(help: "Renew all, whether it is time or not.")
    var all = false

    func run() throws {
        let files = DevelopmentCertificates(directory: directory.path)
        let renewed = try reported { () throws(TransportError) in
            let issued = try files.issuedNames()
            if let stranger = names.first(where: { !issued.contains($0) }) {
                throw TransportError(
                    .notFound, "\(files.directory)/\(stranger).pem is no certificate of \(files.authorityFile); "
                        + (issued.isEmpty ? "none is" : "those are: \(issued.joined(separator: ", "))"))
            }
            var renewed: [String] = []
            for name in names.isEmpty ? issued : names {
                let isDue = try files.isDue(name)
                guard all || !names.isEmpty || isDue else { continue }
                let minted = try files.renew(name)
                renewed.append(name)
                let secret = "\(files.directory)/\(name).p12.password"
                if let password = try? TextFile.firstLine(of: secret) {
                    try files.writePKCS12(minted, name: name, password: password)
                }
            }
            return renewed
        }
        Terminal.print(
            renewed.isEmpty ? "nothing has to be renewed yet" : "renewed in \(files.directory): \(renewed.joined(separator: ", "))")
    }
}
