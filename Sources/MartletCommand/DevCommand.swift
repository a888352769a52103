// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet dev`.

import ArgumentParser
import Martlet

struct DevCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev",
        abstract: "Start a broker for development.",
        usage: "martlet dev [--port <port>] [--data <directory>] [--ephemeral] [--check] [<settings>]",
        discussion: """
            Listens on 127.0.0.1:9092, creates topics on first use, makes certificates
            in certs/ and keeps records in data/. Every setting is a flag, a variable
            (MARTLET_DATA for --data) and a key of the file that --config names;
            docs/configuration.md explains. --check says whether a broker would start,
            with every mistake and its line, and starts none. SIGHUP makes a running
            one read its file and certificates again.

            SETTINGS:
            \(ConfigurationReference.help(defaults: .development))
            """)

    /// Flags of the table of settings; read by `ConfigurationLoader`, because the table is the one place that knows them.
    @Argument(parsing: .allUnrecognized, help: .hidden)
    var settings: [String] = []

    func run() throws {
        try BrokerProcess.run(.dev, arguments: settings)
    }
}
