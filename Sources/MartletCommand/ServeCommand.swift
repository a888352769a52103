// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet serve`.

import ArgumentParser
import Martlet

struct ServeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Start a broker with production defaults.",
        usage: "martlet serve [--config <file>] [--check] [<settings>]",
        discussion: """
            Topics are created by request only, and a new group waits for its members.
            Connections without TLS are accepted from this machine only, unless
            `plaintext` says otherwise. Every setting is a flag, a variable
            (MARTLET_DATA for --data) and a key of the file that --config names;
            docs/configuration.md explains. --check says whether a broker would start
            and clients could use it, with every mistake and its line, and starts none:
            what `martlet doctor` finds. SIGHUP makes a running one read its file and
            certificates again.

            SETTINGS:
            \(ConfigurationReference.help(defaults: .production))
            """)

    /// As in `DevCommand`.
    @Argument(parsing: .allUnrecognized, help: .hidden)
    var settings: [String] = []

    func run() throws {
        try BrokerProcess.run(.serve, arguments: settings)
    }
}
