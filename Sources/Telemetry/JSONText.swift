// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: strings inside JSON.
//
// The little JSON that the broker writes (log lines, readiness, the ready file) is put together by hand; this is the one
// place that escapes. It escapes more than RFC 8259 asks for: see `escaped`.

package enum JSONText {
    /// The text in quotes, as a JSON string.
    package static func quoted(_ text: String) -> String { "\"\(escaped(text))\"" }

    /// Escapes what JSON reserves, and everything that could steer a terminal or reorder what it shows.
    package static func escaped(_ text: String) -> String { escaped(text, quotes: true) }

    /// `quotes` false leaves `"` and `\` alone, for text that is not in quotes.
    static func escaped(_ text: String, quotes: Bool) -> String {
        let isSafe = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c }
        if isSafe { return text }
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22 where quotes: escaped += "\\\""
            case 0x5c where quotes: escaped += "\\\\"
            case 0x0a: escaped += "\\n"
            case 0x0d: escaped += "\\r"
            case 0x09: escaped += "\\t"
            // C0, DEL, C1; line and paragraph separators; everything that changes the direction of text.
            case 0..<0x20, 0x7f...0x9f, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069:
                let digits = String(scalar.value, radix: 16)
                escaped += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}
