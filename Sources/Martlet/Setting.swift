// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: one row of the table of settings.
//
// A setting is known by one key. Its flag and its variable follow from the key by rule, so that whoever knows one
// knows all three: `log.retention.ms`, `--log-retention-ms`, `MARTLET_LOG_RETENTION_MS`.

import NIOCore
import Engine
import PolicyClient

/// Something of the configuration that users can set.
package struct Setting: Sendable {
    /// Why a value was refused: completes the sentence "`key` must be …".
    struct Refusal: Error {
        var expected: String
    }

    package let key: String
    /// What a value looks like, for help.
    package let form: String
    package let help: String
    /// Given without a value it means `true`.
    package let isSwitch: Bool
    /// What stands between several values; nil: it has only one.
    let separator: String?
    let read: @Sendable (inout Configuration, String) throws(Refusal) -> Void
    /// The value in a configuration, as it would be written; empty if it is not set.
    package let show: @Sendable (Configuration) -> String

    private init(
        key: String, form: String, help: String, isSwitch: Bool = false, separator: String? = nil,
        read: @escaping @Sendable (inout Configuration, String) throws(Refusal) -> Void,
        show: @escaping @Sendable (Configuration) -> String
    ) {
        self.key = key
        self.form = form
        self.help = help
        self.isSwitch = isSwitch
        self.separator = separator
        self.read = read
        self.show = show
    }

    package var flag: String { "--" + key.replacing(".", with: "-") }
    package var variable: String { "MARTLET_" + key.replacing(".", with: "_").uppercased() }

    /// Whether SIGHUP puts it in force.
    package var isReloadable: Bool { Settings.reloadable.contains(key) }

    /// Gives `target` the value that `source` has.
    func copy(from source: Configuration, to target: inout Configuration) throws(ConfigurationError) {
        try apply(show(source), to: &target, origin: "`\(key)`")
    }

    /// Sets the value, which was found at `origin` (a flag, a variable, or a key at a line of a file).
    func apply(
        _ text: String, to configuration: inout Configuration, origin: String, isUsage: Bool = false
    ) throws(ConfigurationError) {
        do {
            try read(&configuration, text)
        } catch {
            throw ConfigurationError("\(origin) must be \(error.expected), not `\(text)`", isUsage: isUsage)
        }
    }
}

extension Setting {
    typealias Field<Value> = any WritableKeyPath<Configuration, Value> & Sendable

    static func text(_ key: String, _ form: String, _ help: String, _ field: Field<String>) -> Setting {
        Setting(key: key, form: form, help: help) { (configuration, text) throws(Refusal) in
            guard !text.isEmpty else { throw Refusal(expected: "a \(form)") }
            configuration[keyPath: field] = text
        } show: {
            $0[keyPath: field]
        }
    }

    static func text(_ key: String, _ form: String, _ help: String, _ field: Field<String?>) -> Setting {
        Setting(key: key, form: form, help: help) { (configuration, text) throws(Refusal) in
            guard !text.isEmpty else { throw Refusal(expected: "a \(form)") }
            configuration[keyPath: field] = text
        } show: {
            $0[keyPath: field] ?? ""
        }
    }

    static func number<Number: FixedWidthInteger & Sendable>(
        _ key: String, _ form: String, _ help: String, _ field: Field<Number>, in range: ClosedRange<Number>
    ) -> Setting {
        Setting(key: key, form: form, help: help) { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try whole(text, in: range, of: key)
        } show: {
            String($0[keyPath: field])
        }
    }

    static func number(
        _ key: String, _ form: String, _ help: String, _ field: Field<Int?>, in range: ClosedRange<Int>
    ) -> Setting {
        Setting(key: key, form: form, help: help) { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try whole(text, in: range, of: key)
        } show: {
            $0[keyPath: field].map { String($0) } ?? ""
        }
    }

    static func toggle(_ key: String, _ help: String, _ field: Field<Bool>) -> Setting {
        Setting(key: key, form: "true|false", help: help, isSwitch: true) { (configuration, text) throws(Refusal) in
            switch text.lowercased() {
            case "true", "yes", "on", "1": configuration[keyPath: field] = true
            case "false", "no", "off", "0": configuration[keyPath: field] = false
            default: throw Refusal(expected: "true or false")
            }
        } show: {
            $0[keyPath: field] ? "true" : "false"
        }
    }

    static func choice<Value>(_ key: String, _ help: String, _ field: Field<Value>) -> Setting
    where Value: RawRepresentable<String> & CaseIterable & Sendable {
        Setting(key: key, form: form(of: Value.self), help: help) { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try one(text)
        } show: {
            $0[keyPath: field].rawValue
        }
    }

    /// What a listener may have of its own.
    static func ownChoice<Value>(_ key: String, _ help: String, _ field: Field<Value?>) -> Setting
    where Value: RawRepresentable<String> & CaseIterable & Sendable {
        Setting(key: key, form: form(of: Value.self), help: help, isSwitch: false) { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try one(text)
        } show: {
            $0[keyPath: field]?.rawValue ?? ""
        }
    }

    private static func form<Value: RawRepresentable<String> & CaseIterable>(of _: Value.Type) -> String {
        Value.allCases.map(\.rawValue).joined(separator: "|")
    }

    private static func one<Value: RawRepresentable<String> & CaseIterable>(_ text: String) throws(Refusal) -> Value {
        if let value = Value(rawValue: text.lowercased()) { return value }
        let names = Value.allCases.map(\.rawValue)
        throw Refusal(expected: names.dropLast().joined(separator: ", ") + " or " + (names.last ?? ""))
    }

    /// Several of them, in the order in which they were given.
    static func choices<Value>(_ key: String, _ help: String, _ field: Field<[Value]>) -> Setting
    where Value: RawRepresentable<String> & CaseIterable & Sendable {
        let form = Value.allCases.map(\.rawValue).joined(separator: ",")
        return Setting(key: key, form: form, help: help, separator: ",") { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try several(text)
        } show: {
            $0[keyPath: field].map(\.rawValue).joined(separator: ",")
        }
    }

    /// Those of a listener of its own; an empty list is written `none`.
    static func ownMechanisms(_ key: String, _ help: String, _ field: Field<[Configuration.SASLMechanism]?>) -> Setting {
        let form = Configuration.SASLMechanism.allCases.map(\.rawValue).joined(separator: ",") + "|none"
        return Setting(key: key, form: form, help: help, separator: ",") { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = text.lowercased() == "none" ? [] : try several(text)
        } show: {
            guard let mechanisms = $0[keyPath: field] else { return "" }
            return mechanisms.isEmpty ? "none" : mechanisms.map(\.rawValue).joined(separator: ",")
        }
    }

    private static func several<Value: RawRepresentable<String> & CaseIterable>(_ text: String) throws(Refusal) -> [Value] {
        var values: [Value] = []
        for name in text.split(separator: ",") {
            let name = name.filter { $0 != " " }.lowercased()
            guard let value = Value.allCases.first(where: { $0.rawValue.lowercased() == name }) else {
                throw Refusal(expected: "some of " + Value.allCases.map(\.rawValue).joined(separator: ", "))
            }
            values.append(value)
        }
        return values
    }

    /// Separated by semicolons, because names of certificates have commas in them. Kafka refuses what is no principal too.
    static func principals(_ key: String, _ help: String, _ field: Field<[String]>) -> Setting {
        Setting(key: key, form: "User:name;…", help: help, separator: ";") { (configuration, text) throws(Refusal) in
            let kind = "User:"
            let names = text.split(separator: ";").compactMap { name in
                name.lastIndex { $0 != " " }.map { String(name[...$0].drop { $0 == " " }) }
            }
            if let wrong = names.first(where: { !$0.hasPrefix(kind) || $0.utf8.count == kind.utf8.count }) {
                let meant = wrong.contains(":" as Character) ? "" : "; perhaps `\(kind)\(wrong)` is meant"
                throw Refusal(expected: "principals such as User:admin;User:CN=root,O=Example\(meant)")
            }
            configuration[keyPath: field] = names
        } show: {
            $0[keyPath: field].joined(separator: ";")
        }
    }

    /// The name of a topic.
    static func topic(_ key: String, _ help: String, _ field: Field<String?>) -> Setting {
        Setting(key: key, form: "topic", help: help) { (configuration, text) throws(Refusal) in
            if let problem = topicNameProblem(text) { throw Refusal(expected: "a topic's name (\(problem))") }
            configuration[keyPath: field] = text
        } show: {
            $0[keyPath: field] ?? ""
        }
    }

    /// A `file://` URL, as Kafka has it where there could be others.
    static func fileURL(_ key: String, _ help: String, _ field: Field<String?>) -> Setting {
        let scheme = "file://"
        return Setting(key: key, form: "file:///…", help: help) { (configuration, text) throws(Refusal) in
            guard text.hasPrefix(scheme + "/") else {
                throw Refusal(expected: "a URL such as file:///etc/martlet/jwks.json")
            }
            configuration[keyPath: field] = String(text.dropFirst(scheme.count))
        } show: {
            $0[keyPath: field].map { scheme + $0 } ?? ""
        }
    }

    static func policyURL(_ key: String, _ help: String, _ field: Field<String?>) -> Setting {
        Setting(key: key, form: "http://…", help: help, isSwitch: false) { (configuration, text) throws(Refusal) in
            guard PolicyAddress(text) != nil else {
                throw Refusal(
                    expected: "a URL such as http://127.0.0.1:8181/v1/data/kafka/authz/allow, one with https,"
                        + " or http://unix:/run/opa.sock:/v1/data/kafka/authz/allow")
            }
            configuration[keyPath: field] = text
        } show: {
            $0[keyPath: field] ?? ""
        }
    }

    /// Separated by commas.
    static func names(_ key: String, _ help: String, _ field: Field<[String]>) -> Setting {
        Setting(key: key, form: "name,…", help: help, separator: ",") { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = text.split(separator: ",").map { $0.filter { $0 != " " } }
        } show: {
            $0[keyPath: field].joined(separator: ",")
        }
    }

    /// Kafka's `ssl.principal.mapping.rules`.
    static func principalRules(_ key: String, _ help: String, _ field: Field<String>) -> Setting {
        Setting(key: key, form: "RULE:…/…/,…", help: help, separator: ",") { (configuration, text) throws(Refusal) in
            do throws(PrincipalMapping.Invalid) {
                _ = try PrincipalMapping(rules: text)
            } catch {
                throw Refusal(expected: "rules such as RULE:^CN=([^,]*),.*$/$1/L,DEFAULT (\(error))")
            }
            configuration[keyPath: field] = text
        } show: {
            $0[keyPath: field]
        }
    }

    static func address(_ key: String, _ help: String, _ field: Field<Address?>) -> Setting {
        Setting(key: key, form: "host:port", help: help) { (configuration, text) throws(Refusal) in
            configuration[keyPath: field] = try parsed(text)
        } show: {
            $0[keyPath: field]?.description ?? ""
        }
    }

    static func addresses(_ key: String, _ help: String, _ field: Field<[Address]>) -> Setting {
        Setting(key: key, form: "[name://]host:port,…", help: help, separator: ",") { (configuration, text) throws(Refusal) in
            var addresses: [Address] = []
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                addresses.append(try listener(part.filter { $0 != " " }))
            }
            configuration[keyPath: field] = addresses
        } show: {
            $0[keyPath: field].map { ($0.name.map { $0 + "://" } ?? "") + $0.description }.joined(separator: ",")
        }
    }

    /// An address, or one with a name: `team://0.0.0.0:9093`.
    private static func listener(_ text: String) throws(Refusal) -> Address {
        guard let range = text.firstRange(of: "://") else { return try parsed(text) }
        guard let name = ListenerSettings.name(text[..<range.lowerBound]) else {
            throw Refusal(expected: "addresses whose names are letters and digits, such as team://0.0.0.0:9093")
        }
        var address = try parsed(String(text[range.upperBound...]))
        address.name = name
        return address
    }

    static func origins(_ key: String, _ help: String, _ field: Field<[String]>) -> Setting {
        Setting(key: key, form: "origin,…", help: help, separator: ",") { (configuration, text) throws(Refusal) in
            var origins: [String] = []
            for part in text.split(separator: ",") {
                let origin = part.filter { $0 != " " }.lowercased()
                let host = origin.split(separator: "/", omittingEmptySubsequences: false)
                let isOrigin = host.count == 3 && (host[0] == "http:" || host[0] == "https:") && host[1].isEmpty
                    && !host[2].isEmpty
                guard isOrigin || origin == "*" else {
                    throw Refusal(expected: "origins such as https://example.org, or *")
                }
                origins.append(origin)
            }
            configuration[keyPath: field] = origins
        } show: {
            $0[keyPath: field].joined(separator: ",")
        }
    }

    /// Numbers by address; the last colon ends the address.
    static func counts(_ key: String, _ help: String, _ field: Field<[String: Int]>) -> Setting {
        Setting(key: key, form: "address:count,…", help: help, separator: ",") { (configuration, text) throws(Refusal) in
            var counts: [String: Int] = [:]
            for part in text.split(separator: ",") {
                let part = part.filter { $0 != " " }
                guard let colon = part.lastIndex(of: ":"), let count = Int(part[part.index(after: colon)...]), count >= 0,
                    let address = try? SocketAddress(ipAddress: String(part[..<colon].filter { !"[]".contains($0) }), port: 0),
                    let name = address.ipAddress
                else { throw Refusal(expected: "addresses and numbers such as 10.0.0.1:5,::1:100") }
                counts[name] = count
            }
            configuration[keyPath: field] = counts
        } show: {
            text($0[keyPath: field])
        }
    }

    static func text(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: ",")
    }

    private static func whole<Number: FixedWidthInteger>(
        _ text: String, in range: ClosedRange<Number>, of key: String
    ) throws(Refusal) -> Number {
        guard let value = Number(text), range.contains(value) else {
            let upper = range.upperBound == .max ? "" : " to \(range.upperBound)"
            let meant = UnitOfMeasure.value(of: text, for: key).flatMap { Number(exactly: $0) }
            let hint = meant.map { range.contains($0) ? ", such as \($0)" : "" } ?? ""
            throw Refusal(expected: "a whole number from \(range.lowerBound)\(upper)\(hint)")
        }
        return value
    }

    private static func parsed(_ text: String) throws(Refusal) -> Address {
        guard let address = Address(text) else { throw Refusal(expected: "an address such as 127.0.0.1:9092") }
        return address
    }
}
