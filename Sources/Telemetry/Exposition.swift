// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: Prometheus' text exposition format, version 0.0.4.
//
// Pure functions that append lines to a string: HELP and TYPE once a family, then one line a sample. Label values and help
// may hold anything; what the format reserves is escaped here and nowhere else.

package enum Exposition {
    /// What an HTTP answer says its content is.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// The label value of the series that stands for all combinations past the bound.
    package static let overflowLabel = "other"

    static func head(_ name: String, kind: MetricKind, help: String, into text: inout String) {
        text += "# HELP \(name) \(escape(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    }

    static func sample(_ name: String, labels: String, value: String, into text: inout String) {
        text += name
        if !labels.isEmpty { text += "{\(labels)}" }
        text += " \(value)\n"
    }

    /// `a="1",b="2"`, escaped, without the braces.
    static func labels(_ names: [String], _ values: [String]) -> String {
        zip(names, values).map { "\($0)=\"\(escape($1, quotes: true))\"" }.joined(separator: ",")
    }

    /// Whole numbers without a fraction; infinities and NaN as the format spells them.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        // Beyond 2^53 a Double is a whole number but printing it as one would claim precision it lacks.
        if value == value.rounded(), value.magnitude < 9_007_199_254_740_992 { return String(Int64(value)) }
        return value.description
    }

    /// Metric and label names: letters, digits and `_`, not starting with a digit. The format also allows `:` in metric
    /// names, but keeps it for recording rules.
    static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(48...57).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122, 95: true
            default: false
            }
        }
    }

    private static func escape(_ text: String, quotes: Bool) -> String {
        let mustEscape = text.utf8.contains { $0 == 0x5c || $0 == 0x0a || (quotes && $0 == 0x22) }
        guard mustEscape else { return text }
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
