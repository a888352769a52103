// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what the doctor found.

import Telemetry

/// One mistake, or one to come, and what to change.
package struct DoctorFinding: Equatable, Sendable {
    package enum Severity: String, Sendable, CaseIterable {
        /// It does not work, or it is open to everybody.
        case error
        /// It works, and should not stay as it is.
        case warning
        /// Worth knowing.
        case note
    }

    /// What kind of thing, for programs; stable.
    package var id: String
    package var severity: Severity
    package var what: String
    /// The setting to change, if one is.
    package var setting: String?
    /// Where that was set: `martlet.yaml:3`, a variable or a flag; `default` if nowhere.
    package var place: String?
    /// The new value, or what to do.
    package var next: String

    package init(id: String, severity: Severity, what: String, setting: String? = nil, place: String? = nil, next: String) {
        self.id = id
        self.severity = severity
        self.what = what
        self.setting = setting
        self.place = place
        self.next = next
    }

    package var text: String {
        let change = setting.map { "\($0) (\(place ?? "default")): " } ?? ""
        return "\(severity.rawValue) \(id): \(JSONText.escaped(what))\n  next: \(JSONText.escaped(change + next))"
    }

    /// For those who look for a mistake in a file, as one line.
    package var line: String {
        guard id != Self.ofConfiguration else { return JSONText.escaped(what) }
        return JSONText.escaped("\(what); \(setting.map { "\($0) (\(place ?? "default")): " } ?? "")\(next)")
    }

    /// What cannot be read as a configuration says by itself where and what to do.
    static let ofConfiguration = "configuration"

    package var json: String {
        let fields = [
            ("id", id), ("severity", severity.rawValue), ("what", what), ("setting", setting), ("place", place), ("next", next),
        ]
        let members = fields.map { "\"\($0)\":\($1.map(JSONText.quoted) ?? "null")" }
        return "{\(members.joined(separator: ","))}"
    }
}
