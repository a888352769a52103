// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the settings that a listener may have of its own.
//
// Their keys are made of Kafka's prefix and the name that the listener has in `listen`: `listener.name.team.tls.client.auth`,
// `--listener-name-team-tls-client-auth`, `MARTLET_LISTENER_NAME_TEAM_TLS_CLIENT_AUTH`. What a listener has not, the setting
// without the prefix says.

enum ListenerSettings {
    static let prefix = "listener.name."
    private static let nameLengthMax = 32

    /// A listener's name, as keys have it: lower case. nil: it cannot be one.
    static func name(_ text: some StringProtocol) -> String? {
        let isLegal = text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: false
            }
        }
        return isLegal && (1...nameLengthMax).contains(text.utf8.count) ? text.lowercased() : nil
    }

    /// All that the listener of this name may have.
    static func all(of name: String) -> [Setting] {
        let key = { (setting: String) in "\(prefix)\(name).\(setting)" }
        return [
            .ownChoice(key("plaintext"), "As plaintext, on this listener.", \.[listener: name].plaintext),
            .ownChoice(key("tls.client.auth"), "As tls.client.auth, on this listener.", \.[listener: name].clientAuthentication),
            .ownMechanisms(
                key("sasl.enabled.mechanisms"), "As sasl.enabled.mechanisms, on this listener; none: no logins.",
                \.[listener: name].saslMechanisms),
            .ownChoice(key("sasl.required"), "As sasl.required, on this listener.", \.[listener: name].saslRequired),
        ]
    }

    /// Those of all listeners that are named in either configuration.
    static func all(in configurations: Configuration...) -> [Setting] {
        let names = configurations.flatMap { $0.listen.compactMap(\.name) + $0.listenerRules.keys }
        return Set(names).sorted().flatMap(all(of:))
    }

    static func named(_ key: String) -> Setting? {
        found(in: key, prefix: prefix, separator: ".") { $0.key.dropFirst(prefix.count) }
    }

    static func flagged(_ flag: String) -> Setting? {
        found(in: flag, prefix: "--listener-name-", separator: "-") { $0.flag.dropFirst("--listener-name-".count) }
    }

    static func variable(_ name: String) -> Setting? {
        let prefix = "MARTLET_LISTENER_NAME_"
        return found(in: name, prefix: prefix, separator: "_") { $0.variable.dropFirst(prefix.count) }
    }

    /// The setting whose spelling has the same rest behind the listener's name.
    private static func found(
        in text: String, prefix: String, separator: Character, _ spelling: (Setting) -> Substring
    ) -> Setting? {
        guard text.hasPrefix(prefix) else { return nil }
        let rest = text.dropFirst(prefix.count)
        guard let end = rest.firstIndex(of: separator), let name = name(rest[..<end]) else { return nil }
        return all(of: name).first { spelling($0).drop { $0 != separator } == rest[end...] }
    }
}
