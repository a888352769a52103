// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: a YAML file as keys, values and lines.
//
// The broker's settings are flat, so a document is a list of keys with their values and where they were written; nested
// mappings are joined with dots, so that both of these are `log.retention.ms`:
//     log.retention.ms: 60000            log: { retention.ms: 60000 }
// What settings never need (anchors, aliases, several documents, mappings in lists) is refused with its line
// rather than guessed at. The pull parser underneath is libyaml's; it is owned by `YAMLEventReader`.

/// The settings that a YAML document holds.
struct YAMLDocument: Equatable {
    struct Entry: Equatable {
        var key: String
        /// One for a plain value, several for a list.
        var values: [String]
        /// Counted from 1.
        var line: Int
    }

    /// What is wrong, and on which line.
    struct Problem: Error, Equatable {
        var line: Int
        var message: String
    }

    /// Deeper nesting cannot be a setting.
    static let depthMax = 8

    private(set) var entries: [Entry] = []

    init(_ text: String) throws(Problem) {
        let reader = YAMLEventReader(text)
        guard try reader.next().kind == .streamStart else { return }
        let first = try reader.next()
        guard first.kind == .documentStart else { return }
        let root = try reader.next()
        switch root.kind {
        case .mappingStart: try readMapping(reader, prefix: "", depth: 1)
        case .scalar where root.text.isEmpty: break
        default: throw Problem(line: root.line, message: "settings are written as `key: value`")
        }
        _ = try reader.next()
        let end = try reader.next()
        guard end.kind == .streamEnd else {
            throw Problem(line: end.line, message: "only one document is read; remove the line `---` and what follows")
        }
        try refuseDuplicates()
    }

    private mutating func readMapping(_ reader: YAMLEventReader, prefix: String, depth: Int) throws(Problem) {
        guard depth <= Self.depthMax else {
            throw Problem(line: reader.line, message: "settings are not nested this deep")
        }
        while true {
            let name = try reader.next()
            if name.kind == .mappingEnd { return }
            guard name.kind == .scalar, !name.text.isEmpty else {
                throw Problem(line: name.line, message: "a setting's key is a plain word")
            }
            let key = prefix + name.text
            let value = try reader.next()
            switch value.kind {
            case .scalar: entries.append(Entry(key: key, values: [try Self.text(value, of: key)], line: name.line))
            case .sequenceStart: entries.append(Entry(key: key, values: try readList(reader, key), line: name.line))
            case .mappingStart: try readMapping(reader, prefix: key + ".", depth: depth + 1)
            default: throw Problem(line: value.line, message: "`\(key)` has no plain value; anchors are not read")
            }
        }
    }

    private func readList(_ reader: YAMLEventReader, _ key: String) throws(Problem) -> [String] {
        var values: [String] = []
        while true {
            let value = try reader.next()
            switch value.kind {
            case .sequenceEnd: return values
            case .scalar: values.append(try Self.text(value, of: key))
            default: throw Problem(line: value.line, message: "the list `\(key)` may hold plain values only")
            }
        }
    }

    private static func text(_ event: YAMLEventReader.Event, of key: String) throws(Problem) -> String {
        guard event.isQuoted || !["", "~", "null"].contains(event.text) else {
            throw Problem(line: event.line, message: "`\(key)` has no value; give it one or remove the line")
        }
        return event.text
    }

    private func refuseDuplicates() throws(Problem) {
        var lines: [String: Int] = [:]
        for entry in entries {
            if let line = lines.updateValue(entry.line, forKey: entry.key) {
                throw Problem(line: entry.line, message: "`\(entry.key)` was set on line \(line) already; keep one of them")
            }
        }
    }
}
