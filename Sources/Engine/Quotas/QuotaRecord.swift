// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the record of one quota in the metadata log.
//
//   key: kind, user, client id, address (each absent, others, or a name), what is limited; value: version, the limit
//
// One record a quota, so that changes of different ones need not know of each other. `MetadataRecord` has the kinds.

import NIOCore

enum QuotaRecord {
    static let kind: UInt8 = 48
    private static let version: UInt8 = 1

    private enum Form: UInt8 {
        case absent = 0
        case others = 1
        case named = 2
    }

    static func encoded(_ change: QuotaChange) -> KeyedRecord {
        var key = ByteBuffer(integer: kind)
        for name in [change.entity.user, change.entity.clientId, change.entity.ip] {
            switch name {
            case nil: key.writeInteger(Form.absent.rawValue)
            case .others: key.writeInteger(Form.others.rawValue)
            case .named(let name):
                key.writeInteger(Form.named.rawValue)
                key.writeInteger(UInt16(name.utf8.count))
                key.writeString(name)
            }
        }
        key.writeString(change.key.rawValue)
        let value = change.value.map { limit in
            var value = ByteBuffer(integer: version)
            value.writeInteger(limit.bitPattern)
            return Array(buffer: value)
        }
        return (Array(buffer: key), value)
    }

    /// `key` without its kind; nil for what is damaged or of another version.
    static func decode(key: ByteBuffer, value: ByteBuffer?) -> QuotaChange? {
        var key = key
        guard let user = readName(&key), let clientId = readName(&key), let ip = readName(&key),
            let what = QuotaKey(rawValue: String(buffer: key))
        else { return nil }
        let entity = QuotaEntity(user: user, clientId: clientId, ip: ip)
        guard var value else { return QuotaChange(entity, what, nil) }
        guard value.readInteger(as: UInt8.self) == version, let bits = value.readInteger(as: UInt64.self),
            value.readableBytes == 0
        else { return nil }
        let limit = Double(bitPattern: bits)
        return limit > 0 ? QuotaChange(entity, what, limit) : nil
    }

    /// Outer nil: damaged.
    private static func readName(_ key: inout ByteBuffer) -> QuotaEntity.Name?? {
        switch key.readInteger(as: UInt8.self).flatMap(Form.init(rawValue:)) {
        case nil: return nil
        case .absent: return .some(nil)
        case .others: return .some(.others)
        case .named:
            guard let length = key.readInteger(as: UInt16.self), let name = key.readString(length: Int(length)) else {
                return nil
            }
            return .some(.named(name))
        }
    }
}
