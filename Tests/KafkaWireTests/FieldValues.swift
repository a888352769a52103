// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: the fields of a message by name, as reflection sees them.

import Bytes
import NIOCore

@testable import KafkaWire

/// `name=value` of every plain field in `message` and in the structures inside it. An array of
/// plain values gives one for each. Values are spelled as in `golden/fields.txt`.
func fieldValues(of message: Any) -> Set<String> {
    var found: Set<String> = []
    for child in Mirror(reflecting: message).children {
        add(child.value, label: child.label ?? "", to: &found)
    }
    return found
}

private func add(_ value: Any, label: String, to found: inout Set<String>) {
    if let text = plainText(value) {
        found.insert("\(label)=\(text)")
        return
    }
    let mirror = Mirror(reflecting: value)
    switch mirror.displayStyle {
    case .optional, .collection:
        for child in mirror.children { add(child.value, label: label, to: &found) }
    default:
        found.formUnion(fieldValues(of: value))
    }
}

private func plainText(_ value: Any) -> String? {
    switch value {
    case let value as KafkaErrorCode: String(value.rawValue)
    case let value as TopicId: "id\(value.low)"
    case let value as ByteBuffer: String(buffer: value)
    case FetchResponse.Records.bytes(let bytes): String(buffer: bytes)
    case let value as Bool: String(value)
    case let value as Double: String(value)
    case let value as any FixedWidthInteger: String(value)
    case let value as String: value
    default: nil
    }
}
