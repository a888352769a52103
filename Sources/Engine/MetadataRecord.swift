// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the records of the internal metadata log (`__martlet_metadata-0`).
//
// Keyed records, the last one of a key wins, an absent value deletes: topics by name, the next block of producer ids,
// the levels of features, access rules and passwords, quotas, and the configuration of brokers, groups and client metrics
// by name. Keys start with a kind byte, values with a version byte; all integers are big endian, strings
// have a 16-bit length. docs/storage-format.md describes the same.

import Bytes
import NIOCore

enum MetadataRecord: Equatable {
    case topic(TopicRecord)
    case topicDeleted(name: String)
    /// Producer ids below this number may have been given out.
    case producerIds(next: Int64)
    case features(FeatureRecord)
    case access(AccessRecord)
    /// Without overrides: deleted.
    case configuration(ConfigurationResource, overrides: [String: String])
    case quota(QuotaChange)

    struct FeatureRecord: Equatable {
        var epoch: Int64
        /// By Kafka's name.
        var levels: [String: Int16]
    }

    struct TopicRecord: Equatable {
        var name: String
        var id: TopicId
        var partitions: Int32
        var isInternal: Bool
        var overrides: [String: String]
    }

    private enum Kind: UInt8 {
        case topic = 1
        case producerIds = 2
        case features = 6
        case accessRule = 32
        case credential = 33
        case configuration = 4
        case quota = 48
    }

    private static let valueVersion: UInt8 = 1

    /// The key and value to append; a nil value is a tombstone.
    func encoded() -> (key: [UInt8], value: [UInt8]?) {
        switch self {
        case .topic(let topic):
            var value = ByteBuffer()
            value.writeInteger(Self.valueVersion)
            value.writeInteger(topic.id.high)
            value.writeInteger(topic.id.low)
            value.writeInteger(topic.partitions)
            value.writeInteger(UInt8(topic.isInternal ? 1 : 0))
            value.writeOverrides(topic.overrides)
            return (Self.topicKey(topic.name), Array(buffer: value))
        case .topicDeleted(let name):
            return (Self.topicKey(name), nil)
        case .producerIds(let next):
            var value = ByteBuffer()
            value.writeInteger(Self.valueVersion)
            value.writeInteger(next)
            return ([Kind.producerIds.rawValue], Array(buffer: value))
        case .features(let record):
            var value = ByteBuffer()
            value.writeInteger(Self.valueVersion)
            value.writeInteger(record.epoch)
            value.writeInteger(UInt16(record.levels.count))
            for (name, level) in record.levels.sorted(by: { $0.key < $1.key }) {
                value.writeText(name)
                value.writeInteger(level)
            }
            return ([Kind.features.rawValue], Array(buffer: value))
        case .access(let record):
            return record.encoded()
        case .quota(let change): return QuotaRecord.encoded(change)
        case .configuration(let resource, let overrides):
            let key = [Kind.configuration.rawValue, resource.kind.rawValue] + Array(resource.name.utf8)
            guard !overrides.isEmpty else { return (key, nil) }
            var value = ByteBuffer()
            value.writeInteger(Self.valueVersion)
            value.writeOverrides(overrides)
            return (key, Array(buffer: value))
        }
    }

    /// nil for a record this version does not know, or that is damaged.
    init?(key: ByteBuffer, value: ByteBuffer?) {
        var key = key
        guard let kind = key.readInteger(as: UInt8.self).flatMap(Kind.init(rawValue:)) else { return nil }
        switch kind {
        case .topic:
            let name = String(buffer: key)
            guard topicNameProblem(name) == nil else { return nil }
            guard var value else {
                self = .topicDeleted(name: name)
                return
            }
            guard let topic = Self.readTopic(name, &value) else { return nil }
            self = .topic(topic)
        case .producerIds:
            guard var value, value.readInteger(as: UInt8.self) == Self.valueVersion,
                let next = value.readInteger(as: Int64.self), (0...Int64.max >> 1).contains(next)
            else { return nil }
            self = .producerIds(next: next)
        case .features:
            guard var value, let record = Self.readFeatures(&value) else { return nil }
            self = .features(record)
        case .accessRule, .credential:
            guard let record = AccessRecord(kind: kind.rawValue, key: key, value: value) else { return nil }
            self = .access(record)
        case .quota:
            guard let change = QuotaRecord.decode(key: key, value: value) else { return nil }
            self = .quota(change)
        case .configuration:
            guard let kind = key.readInteger(as: UInt8.self).flatMap(ConfigurationResource.Kind.init(rawValue:)) else {
                return nil
            }
            let resource = ConfigurationResource(kind, String(buffer: key))
            guard var value else {
                self = .configuration(resource, overrides: [:])
                return
            }
            guard value.readInteger(as: UInt8.self) == Self.valueVersion, let overrides = value.readOverrides(),
                !overrides.isEmpty
            else { return nil }
            self = .configuration(resource, overrides: overrides)
        }
    }

    private static func readFeatures(_ value: inout ByteBuffer) -> FeatureRecord? {
        guard value.readInteger(as: UInt8.self) == valueVersion,
            let epoch = value.readInteger(as: Int64.self), (0...Int64.max >> 1).contains(epoch),
            let count = value.readInteger(as: UInt16.self)
        else { return nil }
        var record = FeatureRecord(epoch: epoch, levels: [:])
        for _ in 0..<count {
            guard let name = value.readText(), let level = value.readInteger(as: Int16.self) else { return nil }
            record.levels[name] = level
        }
        return record
    }

    private static func topicKey(_ name: String) -> [UInt8] { [Kind.topic.rawValue] + Array(name.utf8) }

    private static func readTopic(_ name: String, _ value: inout ByteBuffer) -> TopicRecord? {
        guard value.readInteger(as: UInt8.self) == valueVersion,
            let high = value.readInteger(as: UInt64.self), let low = value.readInteger(as: UInt64.self),
            let partitions = value.readInteger(as: Int32.self), let isInternal = value.readInteger(as: UInt8.self),
            (1...Int32(Limits.partitionsPerTopic)).contains(partitions), let overrides = value.readOverrides()
        else { return nil }
        return TopicRecord(
            name: name, id: TopicId(high: high, low: low), partitions: partitions, isInternal: isInternal != 0,
            overrides: overrides)
    }
}

extension ByteBuffer {
    fileprivate mutating func writeOverrides(_ overrides: [String: String]) {
        writeInteger(UInt16(overrides.count))
        for (name, setting) in overrides.sorted(by: { $0.key < $1.key }) {
            writeText(name)
            writeText(setting)
        }
    }

    fileprivate mutating func readOverrides() -> [String: String]? {
        guard let count = readInteger(as: UInt16.self) else { return nil }
        var overrides: [String: String] = [:]
        for _ in 0..<count {
            guard let name = readText(), let setting = readText() else { return nil }
            overrides[name] = setting
        }
        return overrides
    }

    fileprivate mutating func writeText(_ text: String) {
        writeInteger(UInt16(text.utf8.count))
        writeString(text)
    }

    fileprivate mutating func readText() -> String? {
        guard let length = readInteger(as: UInt16.self) else { return nil }
        return readString(length: Int(length))
    }
}
