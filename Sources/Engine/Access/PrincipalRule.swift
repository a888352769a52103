// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one rule of `ssl.principal.mapping.rules`: how it is written, and what it makes of a name.
//
// As in Kafka, what is replaced is every match within the name, once all of it was found to match; so a pattern that
// matches the empty text at the end too replaces that too. `$1` in a replacement is a group, also when fewer digits
// than are written make its number; a group that the pattern does not have is text.

enum PrincipalRule: Equatable, Sendable {
    case unchanged
    case replacement(CapturingPattern, [Part], Letters)

    enum Letters: Equatable, Sendable {
        case asTheyAre, lower, upper
    }

    /// A piece of a replacement.
    enum Part: Equatable, Sendable {
        case text(String)
        case group(Int)
    }

    /// Matches within one name; more than this are nobody's name.
    private static let matchesMax = 64

    /// nil: another rule is to be asked.
    func apply(_ name: String) -> String? {
        guard case .replacement(let pattern, let parts, let letters) = self else { return name }
        guard pattern.matches(name), let replaced = Self.replace(pattern, parts, in: Array(name.utf8)) else { return nil }
        return switch letters {
        case .asTheyAre: replaced
        case .lower: replaced.lowercased()
        case .upper: replaced.uppercased()
        }
    }

    private static func replace(_ pattern: CapturingPattern, _ parts: [Part], in name: [UInt8]) -> String? {
        var result: [UInt8] = []
        var kept = 0
        var start = 0
        for _ in 0..<matchesMax {
            guard start <= name.count, let match = pattern.firstMatch(in: name, from: start) else {
                return String(decoding: result + name[kept...], as: UTF8.self)
            }
            result += name[kept..<match[0]]
            for part in parts {
                switch part {
                case .text(let text): result += text.utf8
                case .group(let number) where match[2 * number] >= 0 && match[2 * number + 1] >= 0:
                    result += name[match[2 * number]..<match[2 * number + 1]]
                case .group: break
                }
            }
            guard result.count <= PrincipalMapping.nameBytesMax else { return nil }
            kept = match[1]
            start = match[1] > match[0] ? match[1] : match[1] + 1
        }
        return nil
    }
}

// MARK: - Reading

extension PrincipalRule {
    static func parse(_ text: String) throws(PrincipalMapping.Invalid) -> [PrincipalRule] {
        guard text.utf8.count <= TopicPattern.bytesMax else {
            throw PrincipalMapping.Invalid(description: "they are longer than \(TopicPattern.bytesMax) bytes")
        }
        var rules: [PrincipalRule] = []
        var rest = text[...]
        while true {
            rest = rest.drop { $0.isWhitespace }
            guard !rest.isEmpty else { break }
            let written = rest
            let rule = try next(&rest)
            rest = rest.drop { $0.isWhitespace }
            guard rest.isEmpty || rest.first == "," else {
                throw PrincipalMapping.Invalid(description: "`\(rest)` follows a rule without a comma, in `\(written)`")
            }
            rest = rest.dropFirst()
            if let rule { rules.append(rule) }
            guard rules.count <= PrincipalMapping.rulesMax else {
                throw PrincipalMapping.Invalid(description: "there are more than \(PrincipalMapping.rulesMax)")
            }
        }
        return rules
    }

    /// nil: an empty rule, which is ignored.
    private static func next(_ rest: inout Substring) throws(PrincipalMapping.Invalid) -> PrincipalRule? {
        if rest.first == "," { return nil }
        if rest.hasPrefix("DEFAULT") {
            rest = rest.dropFirst("DEFAULT".count)
            return .unchanged
        }
        let written = rest
        guard rest.hasPrefix("RULE:") else {
            throw PrincipalMapping.Invalid(description: "`\(written)` is neither DEFAULT nor RULE:pattern/replacement/")
        }
        rest = rest.dropFirst("RULE:".count)
        guard let pattern = upToSlash(&rest), let replacement = upToSlash(&rest) else {
            throw PrincipalMapping.Invalid(description: "`\(written)` is not RULE:pattern/replacement/ with both slashes")
        }
        var letters = Letters.asTheyAre
        if rest.first == "L" { letters = .lower }
        if rest.first == "U" { letters = .upper }
        if letters != .asTheyAre { rest = rest.dropFirst() }
        do {
            let compiled = try CapturingPattern(pattern)
            return .replacement(compiled, try parts(replacement, compiled), letters)
        } catch let error as TopicPatternError {
            throw PrincipalMapping.Invalid(description: "the pattern `\(pattern)` cannot be used: \(error)")
        } catch let error as PrincipalMapping.Invalid {
            throw error
        } catch {
            throw PrincipalMapping.Invalid(description: "the pattern `\(pattern)` cannot be used: \(error)")
        }
    }

    /// What is before the next slash that no backslash precedes; both are left behind.
    private static func upToSlash(_ rest: inout Substring) -> String? {
        var part = ""
        while let letter = rest.popFirst() {
            if letter == "/" { return part }
            part.append(letter)
            if letter == "\\" {
                guard let escaped = rest.popFirst() else { return nil }
                part.append(escaped)
            }
        }
        return nil
    }

    /// Java's syntax of replacements, with Kafka's leniency for groups that there are not.
    private static func parts(
        _ text: String, _ pattern: CapturingPattern
    ) throws(PrincipalMapping.Invalid) -> [Part] {
        var parts: [Part] = []
        var plain = ""
        var rest = text[...]
        while let letter = rest.popFirst() {
            switch letter {
            case "\\":
                if let escaped = rest.popFirst() { plain.append(escaped) }
            case "$":
                guard let number = try group(&rest, pattern, text) else {
                    plain.append("$")
                    continue
                }
                parts += [.text(plain), .group(number)]
                plain = ""
            default: plain.append(letter)
            }
        }
        return (parts + [.text(plain)]).filter { $0 != .text("") }
    }

    /// What follows a `$`; nil: it is text.
    private static func group(
        _ rest: inout Substring, _ pattern: CapturingPattern, _ text: String
    ) throws(PrincipalMapping.Invalid) -> Int? {
        if rest.first == "{", let end = rest.firstIndex(of: "}") {
            let name = String(rest[..<end].dropFirst())
            guard let number = pattern.groupNames[name] else {
                throw PrincipalMapping.Invalid(
                    description: "the replacement `\(text)` names a group \(name) that is not there")
            }
            rest = rest[end...].dropFirst()
            return number
        }
        guard let digit = rest.first, digit.isASCII, var number = digit.wholeNumberValue else {
            throw PrincipalMapping.Invalid(
                description: "a $ in the replacement `\(text)` has no number; write \\$ for a $")
        }
        guard number <= pattern.groupCount else {
            guard pattern.groupCount > 0 else {
                throw PrincipalMapping.Invalid(description: "the replacement `\(text)` has a group, and its pattern none")
            }
            return nil
        }
        rest = rest.dropFirst()
        while let next = rest.first, next.isASCII, let value = next.wholeNumberValue,
            number * 10 + value <= pattern.groupCount
        {
            number = number * 10 + value
            rest = rest.dropFirst()
        }
        return number
    }
}
