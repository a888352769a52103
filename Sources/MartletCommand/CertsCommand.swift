// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet certs`: the development authority and certificates below it.

import ArgumentParser
import Martlet
import Transport

struct CertsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs", abstract: "Make and show certificates for development.",
        subcommands: [Initialise.self, Issue.self, Show.self], defaultSubcommand: Show.self)

    struct Directory: ParsableArguments {
        @Option(name: .customLong("certs"), help: "Where the certificates are.")
        var path = "certs"
    }

    struct Initialise: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "init", abstract: "Make an authority, a server's and a client's certificate, if missing.")

        @OptionGroup var directory: Directory

        @Option(name: .customLong("host"), help: "A name or address that clients use for the broker; may be repeated.")
        var hosts: [String] = []

        func run() throws {
            let certificates = try reported {
                () throws(TransportError) in
                try DevelopmentCertificates.ensure(directory: directory.path, extraHosts: hosts)
            }
            Terminal.print(
                certificates.minted.isEmpty
                    ? "\(directory.path) has all it needs already"
                    : "made in \(directory.path): \(certificates.minted.joined(separator: ", "))")
        }
    }

    struct Issue: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "issue", abstract: "Make one more certificate: for a client, or with --host for a server.")

        @OptionGroup var directory: Directory

        @Argument(help: "The common name; a client's principal becomes User:CN=<name>. Names the files too.")
        var name: String

        @Option(name: .customLong("host"), help: "Make it a server's, for this name or address; may be repeated.")
        var hosts: [String] = []

        @Option(help: "How many days it is good for.")
        var days = CertificateAuthority.Validity.leafDays

        func validate() throws {
            guard (1...CertificateAuthority.Validity.authorityDays).contains(days) else {
                throw ValidationError("--days must be from 1 to \(CertificateAuthority.Validity.authorityDays)")
            }
            let isFileName = !name.isEmpty && !name.hasPrefix(".") && !name.contains("/" as Character)
            guard isFileName, !["ca", "server", "client"].contains(name) else {
                throw ValidationError("`\(name)` cannot name a new certificate's files; choose another name")
            }
        }

        func run() throws {
            let files = DevelopmentCertificates(directory: directory.path)
            try reported { () throws(TransportError) in
                let authority = try CertificateAuthority.load(
                    certificateFile: files.authorityFile, keyFile: files.authorityKeyFile)
                let minted = hosts.isEmpty
                    ? try authority.mintClient(commonName: name, days: days)
                    : try authority.mintServer(hosts: hosts, days: days)
                try files.write(minted, name: name)
            }
            Terminal.print("made \(files.directory)/\(name).pem and \(files.directory)/\(name).key")
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show what certificates say and when they expire.")

        @OptionGroup var directory: Directory

        @Argument(help: "Certificate files (PEM); without any, those of the directory.")
        var files: [String] = []

        func run() throws {
            let own = DevelopmentCertificates(directory: directory.path)
            let shown = files.isEmpty
                ? [own.authorityFile, own.serverCertificateFile, own.clientCertificateFile] : files
            for file in shown {
                Terminal.print(try reported { () throws(TransportError) in try CertificateFile.describe(file) })
            }
        }
    }
}

/// Runs what can fail on files and turns the failure into the command's.
@discardableResult
private func reported<Value>(_ body: () throws(TransportError) -> Value) throws(CommandError) -> Value {
    do {
        return try body()
    } catch {
        throw CommandError(error.message)
    }
}
