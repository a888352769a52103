// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of the metadata log about who may do what, and what is kept of passwords.
//
//   rule        key: kind, the rule itself; value: version
//   credential  key: kind, mechanism, user; value: version, iterations, salt, stored key, server key
//
// `MetadataRecord` has the kinds and hands these bytes over. Strings and byte strings have a 16-bit length.

import NIOCore
import Security

enum AccessRecord: Equatable {
    case rule(AccessRule, isPresent: Bool)
    /// Absent: deleted.
    case credential(CredentialKey, ScramCredential?)

    static let ruleKind: UInt8 = 32
    static let credentialKind: UInt8 = 33
    private static let version: UInt8 = 1

    func encoded() -> KeyedRecord {
        var key = ByteBuffer()
        var value: ByteBuffer?
        switch self {
        case .rule(let rule, let isPresent):
            key.writeInteger(Self.ruleKind)
            for number in [rule.resource.rawValue, rule.pattern.rawValue, rule.operation.rawValue, rule.permission.rawValue] {
                key.writeInteger(number)
            }
            for text in [rule.name, rule.principal, rule.host] { key.writeField(text.utf8) }
            value = isPresent ? ByteBuffer(integer: Self.version) : nil
        case .credential(let user, let credential):
            key.writeInteger(Self.credentialKind)
            key.writeInteger(user.mechanism.number)
            key.writeField(user.user.utf8)
            value = credential.map { credential in
                var value = ByteBuffer(integer: Self.version)
                value.writeInteger(credential.iterations)
                for bytes in [credential.salt, credential.storedKey, credential.serverKey] { value.writeField(bytes) }
                return value
            }
        }
        return (Array(buffer: key), value.map { Array(buffer: $0) })
    }

    /// `key` without its kind; nil for what is damaged or of another version.
    init?(kind: UInt8, key: ByteBuffer, value: ByteBuffer?) {
        var key = key
        var value = value
        if value != nil, value?.readInteger(as: UInt8.self) != Self.version { return nil }
        let record = kind == Self.ruleKind ? Self.rule(&key, value) : Self.credential(&key, &value)
        guard let record, key.readableBytes == 0, (value?.readableBytes ?? 0) == 0 else { return nil }
        self = record
    }

    private static func rule(_ key: inout ByteBuffer, _ value: ByteBuffer?) -> AccessRecord? {
        guard let resource = key.readInteger(as: Int8.self).flatMap(ResourceType.init),
            let pattern = key.readInteger(as: Int8.self).flatMap(ResourcePattern.init),
            let operation = key.readInteger(as: Int8.self).flatMap(AccessOperation.init),
            let permission = key.readInteger(as: Int8.self).flatMap(AccessPermission.init),
            let name = key.readFieldText(), let principal = key.readFieldText(), let host = key.readFieldText()
        else { return nil }
        return .rule(
            AccessRule(permission, principal, operation, resource, name, pattern: pattern, host: host),
            isPresent: value != nil)
    }

    private static func credential(_ key: inout ByteBuffer, _ value: inout ByteBuffer?) -> AccessRecord? {
        guard let mechanism = key.readInteger(as: Int8.self).flatMap(ScramMechanism.init(number:)),
            let user = key.readFieldText()
        else { return nil }
        let which = CredentialKey(user: user, mechanism: mechanism)
        guard value != nil else { return .credential(which, nil) }
        guard let iterations = value?.readInteger(as: Int32.self), iterations > 0, let salt = value?.readField(),
            let storedKey = value?.readField(), let serverKey = value?.readField(),
            storedKey.count == mechanism.digestBytes, serverKey.count == mechanism.digestBytes
        else { return nil }
        return .credential(
            which,
            ScramCredential(
                mechanism: mechanism, salt: salt, iterations: iterations, storedKey: storedKey, serverKey: serverKey))
    }
}

extension ByteBuffer {
    /// Callers bound names and salts far below 64 KiB (`Limits`).
    fileprivate mutating func writeField(_ bytes: some Collection<UInt8>) {
        writeInteger(UInt16(bytes.count))
        writeBytes(bytes)
    }

    fileprivate mutating func readField() -> [UInt8]? {
        readInteger(as: UInt16.self).flatMap { readBytes(length: Int($0)) }
    }

    fileprivate mutating func readFieldText() -> String? {
        readField().flatMap { String(validating: $0, as: UTF8.self) }
    }
}
