// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a JSON text as values.
//
// For what a broker says of itself and a command reads again. Bounded in depth; numbers are doubles; whatever is no JSON is nil.

package indirect enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package init?(_ text: String) {
        var reader = JSONReader(bytes: Array(text.utf8))
        guard let value = reader.value(depth: 0), reader.isAtEnd else { return nil }
        self = value
    }

    package subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    package var text: String? { if case .string(let text) = self { text } else { nil } }

    package var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }
}

private struct JSONReader {
    private static let depthMax = 32

    let bytes: [UInt8]
    private var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool {
        mutating get {
            skipSpace()
            return position == bytes.count
        }
    }

    mutating func value(depth: Int) -> JSONValue? {
        guard depth < Self.depthMax, let first = peek() else { return nil }
        switch first {
        case UInt8(ascii: "{"): return object(depth)
        case UInt8(ascii: "["): return array(depth)
        case UInt8(ascii: "\""): return string().map { .string($0) }
        case UInt8(ascii: "t"): return take("true") ? .bool(true) : nil
        case UInt8(ascii: "f"): return take("false") ? .bool(false) : nil
        case UInt8(ascii: "n"): return take("null") ? .null : nil
        default: return number()
        }
    }

    private mutating func skipSpace() {
        while position < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[position]) { position += 1 }
    }

    private mutating func peek() -> UInt8? {
        skipSpace()
        return position < bytes.count ? bytes[position] : nil
    }

    private mutating func take(_ word: String) -> Bool {
        skipSpace()
        guard bytes[position...].starts(with: word.utf8) else { return false }
        position += word.utf8.count
        return true
    }

    private mutating func number() -> JSONValue? {
        let end = bytes[position...].firstIndex { !"+-0123456789.eE".utf8.contains($0) } ?? bytes.count
        defer { position = end }
        return Double(String(decoding: bytes[position..<end], as: UTF8.self)).map { .number($0) }
    }

    private mutating func array(_ depth: Int) -> JSONValue? {
        position += 1
        var elements: [JSONValue] = []
        if take("]") { return .array([]) }
        repeat {
            guard let element = value(depth: depth + 1) else { return nil }
            elements.append(element)
        } while take(",")
        return take("]") ? .array(elements) : nil
    }

    private mutating func object(_ depth: Int) -> JSONValue? {
        position += 1
        var members: [String: JSONValue] = [:]
        if take("}") { return .object([:]) }
        repeat {
            guard peek() == UInt8(ascii: "\""), let name = string(), take(":"), let member = value(depth: depth + 1) else {
                return nil
            }
            members[name] = member
        } while take(",")
        return take("}") ? .object(members) : nil
    }

    private mutating func string() -> String? {
        position += 1
        var text: [UInt8] = []
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(validating: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let scalar = escape() else { return nil }
                text += Array(String(scalar).utf8)
            case 0..<0x20: return nil
            default: text.append(byte)
            }
        }
        return nil
    }

    private mutating func escape() -> Unicode.Scalar? {
        guard position < bytes.count else { return nil }
        position += 1
        switch bytes[position - 1] {
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "u"):
            guard let high = unit() else { return nil }
            guard (0xd800..<0xdc00).contains(high) else { return Unicode.Scalar(high) }
            guard bytes[position...].starts(with: "\\u".utf8) else { return nil }
            position += 2
            guard let low = unit(), (0xdc00..<0xe000).contains(low) else { return nil }
            return Unicode.Scalar(0x10000 + (high - 0xd800) << 10 + (low - 0xdc00))
        case let byte where "\"\\/".utf8.contains(byte): return Unicode.Scalar(byte)
        default: return nil
        }
    }

    private mutating func unit() -> UInt32? {
        guard position + 4 <= bytes.count else { return nil }
        defer { position += 4 }
        return UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
    }
}
