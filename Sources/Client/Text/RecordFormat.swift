// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: prints records as a person asked for, with kcat's placeholders.
//
// A value, parsed once. Keys and values are printed byte for byte, except in JSON, where bytes that
// are no UTF-8 become U+FFFD.

import NIOCore
import Records

/// How records are printed.
package struct RecordFormat: Sendable {
    private enum Part: Sendable {
        case bytes(ByteBuffer)
        case topic, partition, offset, timestamp, key, keyLength, value, valueLength, headers
    }

    private var parts: [Part] = []
    private let isJSON: Bool

    /// What can stand in a format; for help texts.
    package static let help = """
        %t topic, %p partition, %o offset, %T timestamp in ms, %k key, %K its length, %s value, \
        %S its length, %h headers, %% a percent sign; \\n, \\t, \\0, \\\\ and \\xff; or the word \
        json for one JSON object a line
        """

    /// Reads a format; `json` is one object a line.
    package init(_ text: String) throws(ClientError) {
        isJSON = text == "json"
        guard !isJSON else { return }
        var literal = ByteBuffer()
        var rest = Substring(text)
        while let character = rest.popFirst() {
            switch character {
            case "%":
                guard let part = try Self.part(rest.popFirst(), in: text) else {
                    literal.writeString("%")
                    continue
                }
                if literal.readableBytes > 0 { parts.append(.bytes(literal)) }
                literal = ByteBuffer()
                parts.append(part)
            case "\\": literal.writeInteger(try Self.escape(&rest, in: text))
            default: literal.writeString(String(character))
            }
        }
        if literal.readableBytes > 0 { parts.append(.bytes(literal)) }
    }

    /// nil for `%%`.
    private static func part(
        _ character: Character?, in text: String
    ) throws(ClientError) -> Part? {
        switch character {
        case "%": nil
        case "t": .topic
        case "p": .partition
        case "o": .offset
        case "T": .timestamp
        case "k": .key
        case "K": .keyLength
        case "s": .value
        case "S": .valueLength
        case "h": .headers
        default:
            throw ClientError(
                .invalidArgument,
                """
                format '\(text)': %\(character.map(String.init) ?? "") is not known; known are \
                \(help)
                """
            )
        }
    }

    private static func escape(
        _ rest: inout Substring, in text: String
    ) throws(ClientError) -> UInt8 {
        switch rest.popFirst() {
        case "n": return UInt8(ascii: "\n")
        case "t": return UInt8(ascii: "\t")
        case "r": return UInt8(ascii: "\r")
        case "0": return 0
        case "\\": return UInt8(ascii: "\\")
        case "x":
            let digits = rest.prefix(2)
            if digits.count == 2, let value = UInt8(digits, radix: 16) {
                rest.removeFirst(2)
                return value
            }
        default: break
        }
        throw ClientError(
            .invalidArgument,
            "format '\(text)' has an unknown escape; known are \\n \\t \\r \\0 \\\\ \\xff")
    }

    /// Appends one record as text.
    package func write(_ found: ReadRecord, into buffer: inout ByteBuffer) {
        guard !isJSON else { return writeJSON(found, into: &buffer) }
        let record = found.record
        for part in parts {
            switch part {
            case .bytes(let literal): buffer.writeImmutableBuffer(literal)
            case .topic: buffer.writeString(found.topic)
            case .partition: buffer.writeString("\(found.partition)")
            case .offset: buffer.writeString("\(record.offset)")
            case .timestamp: buffer.writeString("\(record.timestamp)")
            case .key: if let key = record.key { buffer.writeImmutableBuffer(key) }
            case .keyLength: buffer.writeString("\(record.key?.readableBytes ?? -1)")
            case .value: if let value = record.value { buffer.writeImmutableBuffer(value) }
            case .valueLength: buffer.writeString("\(record.value?.readableBytes ?? -1)")
            case .headers: Self.write(record.headers, into: &buffer)
            }
        }
    }

    private static func write(_ headers: [RecordHeader], into buffer: inout ByteBuffer) {
        for (index, header) in headers.enumerated() {
            if index > 0 { buffer.writeString(",") }
            buffer.writeString("\(header.key)=")
            buffer.writeImmutableBuffer(header.value ?? ByteBuffer(string: "NULL"))
        }
    }

    private func writeJSON(_ found: ReadRecord, into buffer: inout ByteBuffer) {
        let record = found.record
        buffer.writeString("{\"topic\":")
        Self.writeQuoted(found.topic, into: &buffer)
        buffer.writeString(",\"partition\":\(found.partition),\"offset\":\(record.offset)")
        buffer.writeString(",\"timestamp\":\(record.timestamp),\"key\":")
        Self.writeQuoted(record.key, into: &buffer)
        buffer.writeString(",\"value\":")
        Self.writeQuoted(record.value, into: &buffer)
        buffer.writeString(",\"headers\":[")
        for (index, header) in record.headers.enumerated() {
            buffer.writeString(index > 0 ? ",{\"key\":" : "{\"key\":")
            Self.writeQuoted(header.key, into: &buffer)
            buffer.writeString(",\"value\":")
            Self.writeQuoted(header.value, into: &buffer)
            buffer.writeString("}")
        }
        buffer.writeString("]}\n")
    }

    private static func writeQuoted(_ bytes: ByteBuffer?, into buffer: inout ByteBuffer) {
        guard let bytes else {
            buffer.writeString("null")
            return
        }
        writeQuoted(String(buffer: bytes), into: &buffer)
    }

    /// A JSON string (RFC 8259, section 7).
    private static func writeQuoted(_ text: String, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): buffer.writeString("\\\"")
            case UInt8(ascii: "\\"): buffer.writeString("\\\\")
            case UInt8(ascii: "\n"): buffer.writeString("\\n")
            case UInt8(ascii: "\r"): buffer.writeString("\\r")
            case UInt8(ascii: "\t"): buffer.writeString("\\t")
            case 0..<32:
                let digits = String(byte, radix: 16)
                buffer.writeString("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
            default: buffer.writeInteger(byte)
            }
        }
        buffer.writeInteger(UInt8(ascii: "\""))
    }
}
