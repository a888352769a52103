// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: one log message as one line of text.
//
// What peers send ends up here (client ids, topic names, certificate subjects), so nothing in it may end the line, move a
// terminal's cursor or reorder what is shown: control and direction characters are written as escapes, in values and in
// messages alike. Nor may it look like a field of the line: a message in which it could is written in quotes, as values
// are. A plain value, built and rendered once.

import Logging

struct LogLine {
    private let timeMs: Int64
    private let level: Logger.Level
    private let label: String
    private let message: String
    private var fields: [(key: String, value: String)] = []

    init(timeMs: Int64, level: Logger.Level, label: String, message: String) {
        self.timeMs = timeMs
        self.level = level
        self.label = label
        self.message = message
    }

    mutating func add(_ key: String, _ value: String) {
        fields.append((key, value))
    }

    mutating func add(_ metadata: Logger.Metadata) {
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { add(key, value.description) }
    }

    /// The line with its newline, no longer than `bytesMax` bytes.
    func rendered(_ format: LogFormat, bytesMax: Int) -> String {
        switch format {
        case .text: Self.cut(text, to: bytesMax - 1) + "\n"
        case .json: json(bytesMax: bytesMax - 1) + "\n"
        }
    }

    private var text: String {
        var line = "\(Timestamp.iso8601(timeMs)) \(level.rawValue) \(label): "
        line += Self.canForge(message) ? "\"\(JSONText.escaped(message))\"" : JSONText.escaped(message, quotes: false)
        for (key, value) in fields {
            line += " \(JSONText.escaped(key, quotes: false))="
            line += Self.isPlain(value) ? value : "\"\(JSONText.escaped(value))\""
        }
        return line
    }

    /// Cutting an object in the middle would make it unreadable, so too long ones lose their fields, then their message's end.
    private func json(bytesMax: Int) -> String {
        let head = "{\"time\":\"\(Timestamp.iso8601(timeMs))\",\"level\":\"\(level.rawValue)\",\"module\":\"\(label)\","
        let body = JSONText.escaped(message)
        var whole = head + "\"message\":\"\(body)\""
        for (key, value) in fields {
            whole += ",\"\(JSONText.escaped(key))\":\"\(JSONText.escaped(value))\""
        }
        if whole.utf8.count < bytesMax { return whole + "}" }
        let frame = head.utf8.count + "\"message\":\"\",\"cut\":true}".utf8.count
        // An escape takes at most six bytes for each byte of the message; cutting before escaping keeps them whole.
        let kept = JSONText.escaped(Self.cut(message, to: max(0, (bytesMax - frame) / 6)))
        return head + "\"message\":\"\(kept)\",\"cut\":true}"
    }

    /// The longest prefix of whole scalars within `bytesMax` bytes.
    private static func cut(_ text: String, to bytesMax: Int) -> String {
        guard text.utf8.count > bytesMax else { return text }
        var end = text.utf8.index(text.startIndex, offsetBy: bytesMax)
        while String.Index(end, within: text.unicodeScalars) == nil { end = text.utf8.index(before: end) }
        return String(text[..<end])
    }

    /// Whether something in a message could be read as `key=value`, or could begin a quotation that swallows a field.
    private static func canForge(_ message: String) -> Bool {
        var quotes = 0
        for byte in message.utf8 {
            if byte == UInt8(ascii: "=") || byte == UInt8(ascii: "\\") { return true }
            if byte == UInt8(ascii: "\"") { quotes += 1 }
        }
        return !quotes.isMultiple(of: 2)
    }

    /// Whether a value needs no quotes in a text line.
    private static func isPlain(_ value: String) -> Bool {
        !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c && $0 != 0x3d }
    }
}
