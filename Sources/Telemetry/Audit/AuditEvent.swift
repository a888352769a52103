// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: something that happened and that somebody may have to account for, and its line of JSON.
//
// Names come from peers: everything is escaped, and cut where it is long. There is no field for a secret, a record or its key.

/// Who did it, and from where.
package struct AuditSubject: Sendable, Equatable {
    package var principal: String
    package var address: String
    package var port: Int
    /// `kafka`, `grpc`, `http`, `tls`.
    package var wire: String
    package var listener: String
    package var clientId: String?

    package init(
        principal: String, address: String, port: Int, wire: String, listener: String, clientId: String? = nil
    ) {
        self.principal = principal
        self.address = address
        self.port = port
        self.wire = wire
        self.listener = listener
        self.clientId = clientId
    }
}

package struct AuditEvent: Sendable {
    package enum Kind: String, Sendable {
        /// An access rule, or none, allowed or denied something.
        case access
        /// Somebody said who it is.
        case login
        /// Something that is kept was changed.
        case change
    }

    package enum Outcome: String, Sendable {
        case allowed, denied, succeeded, failed
    }

    /// What a text may have in bytes before it is cut.
    static let textBytesMax = 1024
    /// Entries of `before` and of `after` that are shown.
    static let stateEntriesMax = 100

    package var kind: Kind
    package var subject: AuditSubject
    /// What was asked for: an operation of access rules, a mechanism of logins, a request.
    package var operation: String
    package var resource: String?
    package var name: String?
    package var outcome: Outcome
    /// The rule that decided; put into words when it is written.
    package var rule: (any CustomStringConvertible & Sendable)?
    /// Why it failed.
    package var cause: String?
    /// What was changed, as it was and as it is; nil: it was not, or is not there.
    package var before: [String: String]?
    package var after: [String: String]?
    /// How many events alike this one stands for, if they were summarised.
    var count: Int?

    package init(
        _ kind: Kind, _ subject: AuditSubject, _ operation: String, resource: String? = nil, name: String? = nil,
        _ outcome: Outcome, rule: (any CustomStringConvertible & Sendable)? = nil, cause: String? = nil, before: [String: String]? = nil,
        after: [String: String]? = nil
    ) {
        self.kind = kind
        self.subject = subject
        self.operation = operation
        self.resource = resource
        self.name = name
        self.outcome = outcome
        self.rule = rule
        self.cause = cause
        self.before = before
        self.after = after
    }

    /// About what it holds in memory; a rule it shares with the table of rules.
    var footprint: Int {
        let who = subject.principal.utf8.count + subject.listener.utf8.count + (subject.clientId?.utf8.count ?? 0)
        let what = operation.utf8.count + (resource?.utf8.count ?? 0) + (name?.utf8.count ?? 0) + (cause?.utf8.count ?? 0)
        return 512 + who + what + Self.footprint(before) + Self.footprint(after)
    }

    private static func footprint(_ state: [String: String]?) -> Int {
        guard let state else { return 0 }
        return state.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count + 64 }
    }

    /// One line, without its end.
    package func line(timeMs: Int64) -> String {
        var line = "{\"time\":\"\(Timestamp.iso8601(timeMs))\",\"event\":\"\(kind.rawValue)\""
        func add(_ key: String, _ text: String?) {
            guard let text else { return }
            line += ",\"\(key)\":\"\(Self.text(text))\""
        }
        add("principal", subject.principal)
        add("address", subject.address)
        line += ",\"port\":\(subject.port)"
        add("protocol", subject.wire)
        add("listener", subject.listener)
        add("clientId", subject.clientId)
        add("operation", operation)
        add("resource", resource)
        add("name", name)
        add("outcome", outcome.rawValue)
        add("rule", rule?.description)
        add("cause", cause)
        if let count { line += ",\"count\":\(count)" }
        if kind == .change {
            line += ",\"before\":\(Self.object(before)),\"after\":\(Self.object(after))"
        }
        return line + "}"
    }

    private static func object(_ state: [String: String]?) -> String {
        guard let state else { return "null" }
        var entries = state.sorted { $0.key < $1.key }.prefix(stateEntriesMax).map {
            "\"\(text($0.key))\":\"\(text($0.value))\""
        }
        if state.count > stateEntriesMax { entries.append("\"…\":\"\(state.count - stateEntriesMax) more\"") }
        return "{" + entries.joined(separator: ",") + "}"
    }

    private static func text(_ text: String) -> String {
        guard text.utf8.count > textBytesMax else { return JSONText.escaped(text) }
        return JSONText.escaped(String(decoding: text.utf8.prefix(textBytesMax), as: UTF8.self) + "…")
    }
}
