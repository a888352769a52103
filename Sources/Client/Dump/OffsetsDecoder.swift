// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: records of `__consumer_offsets` as the JSON that Kafka's dump tool prints of them.
//
// Commits (keys of version 0 and 1) are decoded; other kinds of records are named and skipped, as that tool does with
// kinds it does not know. Stateless.

import NIOCore
import Records

enum OffsetsDecoder {
    /// What to print of the key, and of the value if anything.
    static func texts(_ record: Record) -> (key: String, payload: String?) {
        guard var key = record.key, let version: Int16 = key.readInteger() else {
            return ("Error at offset \(record.offset), skipping. The record has no key that says what it is.", nil)
        }
        guard version == 0 || version == 1 else {
            return ("Unknown record type \(version) at offset \(record.offset), skipping.", nil)
        }
        guard let group = text(&key), let topic = text(&key), let partition: Int32 = key.readInteger() else {
            return ("Error at offset \(record.offset), skipping. The key is cut short.", nil)
        }
        let data = "{\"group\":\(quoted(group)),\"topic\":\(quoted(topic)),\"partition\":\(partition)}"
        let keyText = "{\"type\":\"\(version)\",\"data\":\(data)}"
        guard let value = record.value else { return (keyText, "<DELETE>") }
        guard let payload = committed(value) else {
            return ("Error at offset \(record.offset), skipping. The value is cut short or of a version above 3.", nil)
        }
        return (keyText, payload)
    }

    private static func committed(_ value: ByteBuffer) -> String? {
        var value = value
        guard let version: Int16 = value.readInteger(), (0...3).contains(version),
            let offset: Int64 = value.readInteger()
        else { return nil }
        var fields = ["\"offset\":\(offset)"]
        if version >= 3 {
            guard let epoch: Int32 = value.readInteger() else { return nil }
            fields.append("\"leaderEpoch\":\(epoch)")
        }
        guard let metadata = text(&value), let timestamp: Int64 = value.readInteger() else { return nil }
        fields += ["\"metadata\":\(quoted(metadata))", "\"commitTimestamp\":\(timestamp)"]
        if version == 1 {
            guard let expiry: Int64 = value.readInteger() else { return nil }
            fields.append("\"expireTimestamp\":\(expiry)")
        }
        return "{\"version\":\"\(version)\",\"data\":{\(fields.joined(separator: ","))}}"
    }

    private static func text(_ bytes: inout ByteBuffer) -> String? {
        guard let length: Int16 = bytes.readInteger(), length >= 0 else { return nil }
        return bytes.readString(length: Int(length))
    }

    private static func quoted(_ text: String) -> String {
        var escaped = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": escaped += "\\\""
            case "\\": escaped += "\\\\"
            case _ where scalar.value < 32 || scalar.value == 127:
                let digits = String(scalar.value, radix: 16)
                escaped += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped + "\""
    }
}
