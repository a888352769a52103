// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: subjects that a person wrote as other tools print them, which no principal is called.
//
// A principal's name is compared letter by letter, and certificates name their owner as Kafka has it (RFC 2253): `CN=ann,O=Example`.
// OpenSSL prints `O = Example, CN = ann` or `/O=Example/CN=ann`. A rule about either is about nobody.

package enum SubjectSpelling {
    /// How Kafka has a subject that is spelled in another way; nil if it is spelled so, or is no subject.
    ///
    /// Only the spelling is looked at, not what an attribute says: escapes and unknown attributes stay as they are.
    package static func corrected(_ name: String) -> String? {
        let isPath = name.hasPrefix("/")
        let parts = isPath ? split(name.dropFirst(), at: "/") : split(name[...], at: ",")
        var attributes: [String] = []
        for part in parts {
            guard let attribute = attribute(part) else { return nil }
            attributes.append(attribute)
        }
        guard attributes.contains(where: isCommonName) else { return nil }
        // OpenSSL begins with the country, Kafka with the common name.
        let isBackwards = attributes.count > 1 && !isCommonName(attributes[0]) && isCommonName(attributes[attributes.count - 1])
        let joined = attributes.joined(separator: ",")
        guard isPath || joined != name else { return nil }
        return isBackwards ? attributes.reversed().joined(separator: ",") : joined
    }

    /// `CN=ann` of ` cn = ann`; nil if that is no attribute with its value.
    private static func attribute(_ text: Substring) -> String? {
        guard let equals = text.firstIndex(of: "=") else { return nil }
        let key = trimmed(text[..<equals])
        let value = trimmed(text[text.index(after: equals)...])
        guard let first = key.first, first.isASCII, first.isLetter || first.isNumber, !value.isEmpty,
            key.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "." || $0 == "-") })
        else { return nil }
        return "\(key.uppercased())=\(value)"
    }

    private static func isCommonName(_ attribute: String) -> Bool { attribute.hasPrefix("CN=") }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " }
        while text.last == " ", !text.hasSuffix("\\ ") { text.removeLast() }
        return text
    }

    /// At separators that are not escaped.
    private static func split(_ text: Substring, at separator: Character) -> [Substring] {
        var parts: [Substring] = []
        var start = text.startIndex
        var isEscaped = false
        for index in text.indices {
            if !isEscaped, text[index] == separator {
                parts.append(text[start..<index])
                start = text.index(after: index)
            }
            isEscaped = !isEscaped && text[index] == "\\"
        }
        return parts + [text[start...]]
    }
}
