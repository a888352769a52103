// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a topic's configuration: the table of keys, their defaults and checks, and the parsed values.
//
// Key names, types and defaults are Apache Kafka's (topic configuration, TopicConfig). Every key that is accepted has
// its effect; every other key is refused by name. The broker's own defaults override Kafka's.

import Records
import Storage

/// One key of the table.
package struct TopicConfigurationKey: Sendable {
    package enum Kind: String, Sendable {
        case boolean
        case int
        case long
        case string
        case list
    }

    package var name: String
    package var kind: Kind
    package var defaultValue: String
    package var documentation: String
    /// The broker-level name of the same setting, as Kafka calls it (a synonym in DescribeConfigs).
    package var brokerName: String
    /// Why the value is refused, or nil.
    var problem: @Sendable (String) -> String?

    package static let all: [TopicConfigurationKey] = [
        TopicConfigurationKey(
            name: "cleanup.policy", kind: .list, defaultValue: "delete",
            documentation: "What happens to old segments: delete them when retention is over.",
            brokerName: "log.cleanup.policy", problem: oneOf("delete")),
        TopicConfigurationKey(
            name: "compression.type", kind: .string, defaultValue: "producer",
            documentation: "How batches are stored: as the producer compressed them.",
            brokerName: "compression.type", problem: oneOf("producer")),
        TopicConfigurationKey(
            name: "index.interval.bytes", kind: .int, defaultValue: "4096",
            documentation: "Bytes of log between two entries of the offset index.",
            brokerName: "log.index.interval.bytes", problem: integer(in: 0...Int64(Int32.max))),
        TopicConfigurationKey(
            name: "max.message.bytes", kind: .int, defaultValue: "1048588",
            documentation: "Largest record batch that is accepted, in bytes.",
            brokerName: "message.max.bytes", problem: integer(in: 0...Int64(Int32.max))),
        TopicConfigurationKey(
            name: "message.timestamp.after.max.ms", kind: .long, defaultValue: "3600000",
            documentation: "How far a record's timestamp may lie in the future, in milliseconds.",
            brokerName: "log.message.timestamp.after.max.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "message.timestamp.before.max.ms", kind: .long, defaultValue: "9223372036854775807",
            documentation: "How far a record's timestamp may lie in the past, in milliseconds.",
            brokerName: "log.message.timestamp.before.max.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "message.timestamp.type", kind: .string, defaultValue: "CreateTime",
            documentation: "Whose time a record carries: CreateTime (the producer's) or LogAppendTime (the broker's).",
            brokerName: "log.message.timestamp.type", problem: oneOf("CreateTime", "LogAppendTime")),
        TopicConfigurationKey(
            name: "min.insync.replicas", kind: .int, defaultValue: "1",
            documentation: "Replicas that must have a record: one, the only one there is.",
            brokerName: "min.insync.replicas", problem: integer(in: 1...1)),
        TopicConfigurationKey(
            name: "retention.bytes", kind: .long, defaultValue: "-1",
            documentation: "Size of a partition beyond which old segments are deleted; -1 for no limit.",
            brokerName: "log.retention.bytes", problem: integer(in: -1...Int64.max)),
        TopicConfigurationKey(
            name: "retention.ms", kind: .long, defaultValue: "604800000",
            documentation: "Age beyond which segments are deleted, in milliseconds; -1 to keep them for ever.",
            brokerName: "log.retention.ms", problem: integer(in: -1...Int64.max)),
        TopicConfigurationKey(
            name: "segment.bytes", kind: .int, defaultValue: "1073741824",
            documentation: "Size at which a segment is closed and the next one begun.",
            brokerName: "log.segment.bytes", problem: integer(in: 14...Int64(Int32.max))),
        TopicConfigurationKey(
            name: "segment.ms", kind: .long, defaultValue: "604800000",
            documentation: "Age at which a segment is closed and the next one begun, in milliseconds.",
            brokerName: "log.roll.ms", problem: integer(in: 1...Int64.max)),
    ]

    package static let named = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    private static func oneOf(_ values: String...) -> @Sendable (String) -> String? {
        { values.contains($0) ? nil : "must be \(values.joined(separator: " or "))" }
    }

    private static func integer(in range: ClosedRange<Int64>) -> @Sendable (String) -> String? {
        {
            guard let value = Int64($0) else { return "must be a whole number" }
            return range.contains(value) ? nil : "must lie between \(range.lowerBound) and \(range.upperBound)"
        }
    }
}

/// Parsed values, and which of them the topic set itself.
package struct TopicConfiguration: Equatable, Sendable {
    /// What was set for this topic, by key.
    package private(set) var overrides: [String: String]
    /// What the broker sets for every topic.
    package private(set) var defaults: [String: String]

    package private(set) var log = LogConfiguration()
    /// What produced batches are held to.
    package private(set) var rules = BatchRules()

    /// Throws `invalidConfiguration` naming the key, for a key that is not in the table or a value it refuses.
    package init(overrides: [String: String], defaults: [String: String] = [:]) throws(EngineError) {
        guard overrides.count <= Limits.overridesPerTopic else {
            throw EngineError(.invalidConfiguration, "more than \(Limits.overridesPerTopic) configuration keys")
        }
        for (name, value) in overrides { try Self.check(name, value) }
        for (name, value) in defaults { try Self.check(name, value) }
        self.overrides = overrides
        self.defaults = defaults
        parse()
    }

    /// The value in force for a key of the table.
    package func value(of key: TopicConfigurationKey) -> String {
        overrides[key.name] ?? defaults[key.name] ?? key.defaultValue
    }

    static func check(_ name: String, _ value: String) throws(EngineError) {
        guard let key = TopicConfigurationKey.named[name] else {
            let question = Suggestion.question(for: name, among: TopicConfigurationKey.all.map(\.name))
            throw EngineError(.invalidConfiguration, "unknown topic configuration key \(name)\(question)")
        }
        if let problem = key.problem(value) {
            throw EngineError(.invalidConfiguration, "invalid value \(value) for \(name): \(problem)")
        }
    }

    private mutating func parse() {
        func text(_ name: String) -> String {
            guard let key = TopicConfigurationKey.named[name] else { preconditionFailure("no key \(name)") }
            return value(of: key)
        }
        func number(_ name: String) -> Int64 {
            guard let value = Int64(text(name)) else { preconditionFailure("\(name) was checked to be a number") }
            return value
        }
        log.segmentBytes = number("segment.bytes")
        log.segmentMs = number("segment.ms")
        log.indexIntervalBytes = Int(number("index.interval.bytes"))
        log.retentionMs = number("retention.ms")
        log.retentionBytes = number("retention.bytes")
        rules.maxMessageBytes = Int(number("max.message.bytes"))
        // Compressed records are looked into as Kafka does; what inflates beyond this is refused.
        rules.depth = .allRecords
        rules.decompressedBytesMax = max(Limits.decompressedBytes, 4 * rules.maxMessageBytes)
        rules.isLogAppendTime = text("message.timestamp.type") == "LogAppendTime"
        rules.timestampBeforeMaxMs = number("message.timestamp.before.max.ms")
        rules.timestampAfterMaxMs = number("message.timestamp.after.max.ms")
    }
}
