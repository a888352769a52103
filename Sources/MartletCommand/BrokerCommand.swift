// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: `martlet dev` and `martlet serve`: the two sets of defaults a broker starts from.
//
// Their flags are those of the table of settings, which `ConfigurationLoader` reads. A plain start therefore goes around the
// argument parser, whose tree of all commands costs more than a millisecond of a start that should take few; the parser
// still answers `--help`, and knows both commands for that.

import Martlet

enum BrokerCommand: String {
    case dev, serve

    var defaults: Configuration {
        switch self {
        case .dev: .development
        case .serve: .production
        }
    }

    /// The command that these arguments start, unless they ask for help; and what follows its name.
    static func plainStart(_ arguments: [String]) -> (command: BrokerCommand, settings: [String])? {
        guard let command = arguments.first.flatMap(BrokerCommand.init(rawValue:)) else { return nil }
        let settings = Array(arguments.dropFirst())
        let asksForHelp = settings.contains { ["-h", "--help", "-help", "help", "--version"].contains($0) }
        return asksForHelp ? nil : (command, settings)
    }
}
