// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet user`: add, list, remove.

import ArgumentParser
import Client
import Glibc
import Martlet
import Security
import Telemetry

struct UserCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "user", abstract: "Add, list and remove users, who log in with passwords.",
        discussion: """
            Users log in with SASL (SCRAM-SHA-256, SCRAM-SHA-512, PLAIN) over Kafka's protocol, and with
            `authorization: Basic` over gRPC; the broker's sasl.enabled.mechanisms says how. What they may
            do is said by `martlet acl`.

              martlet user add alice                       asks for the password
              martlet user add alice --password-file F     takes it from a file
              martlet user list

            As long as a broker has no user, this machine may add the first one without logging in.
            """,
        subcommands: [Add.self, List.self, Remove.self], defaultSubcommand: List.self)

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a user, or set the password of one.",
            discussion: "The password is asked for, or read from a file; what is sent cannot be turned back into it.")

        @Argument(help: "The user's name; the principal is User:<name>.")
        var name: String

        @Option(help: ArgumentHelp("A file with the password in its first line, `-` for standard input.", valueName: "file"))
        var passwordFile: String?

        @Option(
            name: .customLong("mechanism"),
            help: "SCRAM-SHA-256 or SCRAM-SHA-512; may be repeated. Both if not given.")
        var mechanisms: [MechanismArgument] = []

        @Option(help: "Rounds of hashing, 4096 to 16384: how dear each guess is.")
        var iterations: Int32 = 8_192

        @OptionGroup(title: "Connection") var client: ClientArguments

        func validate() throws {
            guard !name.isEmpty else { throw ValidationError("the name is empty") }
            guard !name.hasPrefix("User:") else {
                throw ValidationError("a user's name goes without User:, which the principal has: \(name.dropFirst("User:".count))")
            }
            guard ScramCredential.iterations.contains(iterations) else {
                throw ValidationError("--iterations is 4096 to 16384")
            }
            guard passwordFile != "-" || client.userPasswordFile != "-" else {
                throw ValidationError("standard input has only one password; put the other one into a file")
            }
        }

        func run() throws {
            let administration = try UserAdministration(client.options())
            let password = try Password.read(from: passwordFile, asking: "New password of \(name): ", twice: true)
            try administration.set(
                name, password: password, mechanisms: MechanismArgument.chosen(mechanisms), iterations: iterations)
            if let weakness = PasswordWeakness(of: password, user: name) {
                Terminal.write(
                    "warning: the password of \(JSONText.escaped(name)) is \(weakness); better \(PasswordWeakness.advice)\n",
                    to: STDERR_FILENO)
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List users and how they can log in.")

        @Flag(help: "As JSON, one object a line.")
        var json = false

        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            let users = try UserAdministration(client.options()).list()
            if json {
                for user in users {
                    let credentials = user.credentials.map {
                        #"{"mechanism":"\#($0.mechanism)","iterations":\#($0.iterations)}"#
                    }.joined(separator: ",")
                    Terminal.print(#"{"user":\#(JSONText.quoted(user.name)),"credentials":[\#(credentials)]}"#)
                }
                return
            }
            var table = TextTable(["USER", "MECHANISM", "ITERATIONS"])
            for user in users {
                for credential in user.credentials {
                    table.add([user.name, credential.mechanism, "\(credential.iterations)"])
                }
            }
            table.print(ifEmpty: "no users")
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove a user's passwords.",
            discussion: "The user's access rules stay; connections that are open stay until they have to log in again.")

        @Argument(help: "The user's name.")
        var name: String

        @Option(name: .customLong("mechanism"), help: "Only this one; may be repeated.")
        var mechanisms: [MechanismArgument] = []

        @OptionGroup(title: "Connection") var client: ClientArguments

        func run() throws {
            try UserAdministration(client.options()).remove(name, mechanisms: mechanisms.map(\.mechanism))
        }
    }
}

/// `--mechanism`.
enum MechanismArgument: String, ExpressibleByArgument, CaseIterable {
    case sha256 = "SCRAM-SHA-256"
    case sha512 = "SCRAM-SHA-512"

    var mechanism: ScramMechanism { self == .sha256 ? .sha256 : .sha512 }

    static func chosen(_ arguments: [MechanismArgument]) -> [ScramMechanism] {
        arguments.isEmpty ? ScramMechanism.allCases : arguments.map(\.mechanism)
    }
}
