// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: puts a configuration together.
//
// Precedence: a flag beats a variable, a variable beats the file, the file beats the default. Every value that is
// refused is named with where it was written. Reads the file and nothing else; the environment is passed in.

import Engine

/// Fills a configuration from the outside of the process.
package struct ConfigurationLoader {
    package private(set) var configuration: Configuration
    /// What does not stop the broker but is probably not meant, one line each.
    package private(set) var warnings: [String] = []

    /// Where each key that was set was set: `martlet.yaml:3`, a variable, or a flag.
    package private(set) var origins: [String: String] = [:]
    /// The values of the file, for comparing it with a later one.
    package private(set) var configFile: String?
    /// Everything that is wrong, if it is not the first mistake that ends the loading.
    package private(set) var problems: [ConfigurationError] = []
    private var isCollecting = false

    package init(_ defaults: Configuration) {
        configuration = defaults
    }

    /// All sources in order, with every mistake in `problems`. `arguments` are what followed the subcommand: flags of the table and
    /// `--config FILE`.
    package static func load(
        defaults: Configuration, arguments: [String], environment: [(name: String, value: String)]
    ) -> ConfigurationLoader {
        var loader = ConfigurationLoader(defaults)
        loader.isCollecting = true
        do throws(ConfigurationError) {
            let flags = try parse(arguments)
            let variable = environment.first { $0.name == configVariable }?.value
            if let path = flags.config ?? variable {
                do throws(ConfigurationError) {
                    try loader.readFile(path)
                } catch {
                    loader.problems.append(error)
                }
            }
            try loader.readEnvironment(environment)
            try loader.apply(flags)
            try loader.check()
        } catch {
            loader.problems.append(error)
        }
        return loader
    }

    /// The configuration, unless something is wrong with it: then all of that is the error.
    package func accepted() throws(ConfigurationError) -> Configuration {
        guard let first = problems.first else { return configuration }
        guard problems.count > 1 else { throw first }
        throw ConfigurationError(
            problems.map(\.description).joined(separator: "; and "), isUsage: problems.contains(where: \.isUsage))
    }

    private mutating func apply(_ flags: Flags) throws(ConfigurationError) {
        for (setting, value) in flags.values {
            try apply(setting, value, origin: "`\(setting.flag)`", place: setting.flag, isUsage: true)
        }
    }

    private mutating func apply(
        _ setting: Setting, _ value: String, origin: String, place: String, isUsage: Bool = false
    ) throws(ConfigurationError) {
        origins[setting.key] = place
        do throws(ConfigurationError) {
            try setting.apply(value, to: &configuration, origin: origin, isUsage: isUsage)
        } catch {
            try mistake(error)
        }
    }

    mutating func mistake(_ error: ConfigurationError) throws(ConfigurationError) {
        guard isCollecting else { throw error }
        problems.append(error)
    }

    package static let configFlag = "--config"
    package static let configVariable = "MARTLET_CONFIG"

    private mutating func readFile(_ path: String) throws(ConfigurationError) {
        configFile = path
        try readYAML(try ConfigurationFile.read(path), name: path)
    }

    /// `name` is how errors call the text.
    package mutating func readYAML(_ text: String, name: String) throws(ConfigurationError) {
        let document: YAMLDocument
        do {
            document = try YAMLDocument(text)
        } catch {
            throw ConfigurationError("\(name):\(error.line): \(error.message)")
        }
        for entry in document.entries {
            guard let setting = Settings.named(entry.key) else {
                let foreign = ForeignSettings.hint(for: entry.key)
                let question = foreign.isEmpty
                    ? Suggestion.question(for: entry.key, among: Self.known(entry.key, "listener.name.", ".", \.key)) : foreign
                try mistake(
                    ConfigurationError(
                        "unknown key `\(entry.key)` at \(name):\(entry.line)"
                            + (question.isEmpty ? "; see docs/configuration.md for all keys" : question)))
                continue
            }
            let place = "\(name):\(entry.line)"
            guard entry.values.count == 1 || setting.separator != nil else {
                try mistake(ConfigurationError("`\(entry.key)` at \(place) has one value, not a list of \(entry.values.count)"))
                continue
            }
            let value = entry.values.joined(separator: setting.separator ?? ",")
            try apply(setting, value, origin: "`\(entry.key)` at \(place)", place: place)
        }
    }

    package mutating func readEnvironment(
        _ environment: [(name: String, value: String)]
    ) throws(ConfigurationError) {
        let mine = environment.filter { $0.name.hasPrefix("MARTLET_") }
        guard !mine.isEmpty else { return }
        for (name, value) in mine where name != Self.configVariable {
            guard let setting = Settings.variable(name) else {
                warnings += Self.warning(about: name)
                continue
            }
            // Kubernetes sets MARTLET_PORT=tcp://… in every pod when a service is called `martlet`.
            if value.hasPrefix("tcp://") {
                warnings.append("the variable \(name)=\(value) describes a Kubernetes service and is ignored")
                continue
            }
            try apply(setting, value, origin: "`\(name)`", place: name)
        }
    }

    /// Something else may use the prefix too; only what looks like a slip is pointed out.
    private static func warning(about name: String) -> [String] {
        let prefix = "MARTLET_"
        let known = Settings.all.map { String($0.variable.dropFirst(prefix.count)) }
        guard let closest = Suggestion.closest(to: String(name.dropFirst(prefix.count)), among: known) else { return [] }
        return ["the variable \(name) is not known and ignored; did you mean `\(prefix)\(closest)`?"]
    }

    /// What may have been meant by something that is not known.
    private static func known(
        _ text: String, _ prefix: String, _ separator: Character, _ spelling: (Setting) -> String
    ) -> [String] {
        guard text.hasPrefix(prefix), let name = ListenerSettings.name(text.dropFirst(prefix.count).prefix { $0 != separator })
        else { return Settings.all.map(spelling) }
        return ListenerSettings.all(of: name).map(spelling)
    }

    private struct Flags {
        var config: String?
        var values: [(setting: Setting, value: String)] = []
    }

    private static func parse(_ arguments: [String]) throws(ConfigurationError) -> Flags {
        var flags = Flags()
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            let parts = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = String(parts[0])
            let given = parts.count == 2 ? String(parts[1]) : nil
            if name == configFlag {
                flags.config = if let given { given } else { try value(of: name, "file", from: &rest) }
                continue
            }
            guard let setting = Settings.flagged(name) else { throw unknown(argument, name) }
            let value = if let given { given }
                else if setting.isSwitch { switchValue(from: &rest) }
                else { try value(of: name, setting.form, from: &rest) }
            flags.values.append((setting, value))
        }
        return flags
    }

    /// A switch is on by itself, but `--ephemeral false` is what other programs take too.
    private static func switchValue(from rest: inout ArraySlice<String>) -> String {
        guard let value = rest.first, ["true", "false"].contains(value.lowercased()) else { return "true" }
        rest.removeFirst()
        return value
    }

    private static func value(
        of flag: String, _ form: String, from rest: inout ArraySlice<String>
    ) throws(ConfigurationError) -> String {
        // A negative number is a value, another flag is not.
        guard let value = rest.first, !value.hasPrefix("--") else {
            throw ConfigurationError("`\(flag)` needs a value: \(flag) \(form)", isUsage: true)
        }
        rest.removeFirst()
        return value
    }

    private static func unknown(_ argument: String, _ name: String) -> ConfigurationError {
        guard name.hasPrefix("-") else {
            return ConfigurationError("unexpected `\(argument)`; see --help for what can be set", isUsage: true)
        }
        let question = Suggestion.question(
            for: name, among: known(name, "--listener-name-", "-", \.flag) + [configFlag])
        return ConfigurationError(
            "unknown flag `\(name)`" + (question.isEmpty ? "; see --help for all flags" : question), isUsage: true)
    }
}
