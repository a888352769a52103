// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet certs`: the development authority and certificates below it.

import ArgumentParser
import Martlet
import Transport

struct CertsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs", abstract: "Make, renew, show and check certificates.",
        discussion: """
            An authority of your own in a directory, and certificates below it, good for
            a week. `martlet dev` renews its own; `martlet certs renew` in a timer
            renews the others, and the broker takes what has changed by itself.

              martlet certs init --host broker.example.org
              martlet certs issue orders              a client: User:CN=orders
              martlet certs issue java --pkcs12       and a file that Java reads
              martlet certs renew                     those in their last third
              martlet certs verify                    keys, chains, dates and names
            """,
        subcommands: [
            CertsInitialise.self, CertsIssue.self, CertsRenew.self, CertsShow.self, CertsVerify.self,
        ], defaultSubcommand: CertsShow.self)

    struct Directory: ParsableArguments {
        @Option(name: .customLong("certs"), help: "Where the certificates are.")
        var path = "certs"
    }
}

struct CertsInitialise: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make an authority, a server's and a client's certificate, if missing.",
        discussion: """
            The server's certificate is for localhost, this machine's name and each
            --host. For a name that it lacks it is made anew, and keeps the names that
            it has; without server.pem it begins anew.
            """)

    @OptionGroup var directory: CertsCommand.Directory

    @Option(name: .customLong("host"), help: "A name or address that clients use for the broker; may be repeated.")
    var hosts: [String] = []

    func run() throws {
        let certificates = try reported {
            () throws(TransportError) in
            try DevelopmentCertificates.ensure(directory: directory.path, extraHosts: hosts)
        }
        guard !certificates.minted.isEmpty else { return Terminal.print("\(directory.path) has all it needs already") }
        Terminal.print("made in \(directory.path): \(certificates.minted.joined(separator: ", "))")
        guard !certificates.serverHosts.isEmpty else { return }
        Terminal.print("server.pem is for \(certificates.serverHosts.joined(separator: ", "))")
        if !certificates.keptHosts.isEmpty {
            Terminal.print("of these, the one before had: \(certificates.keptHosts.joined(separator: ", "))")
        }
    }
}

/// Runs what can fail on files and turns the failure into the command's.
@discardableResult
func reported<Value>(_ body: () throws(TransportError) -> Value) throws(CommandError) -> Value {
    do {
        return try body()
    } catch {
        throw CommandError(error.message)
    }
}
