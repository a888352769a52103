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
        case double
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
            documentation: "What happens to old records: delete whole segments when retention is over, compact (keep"
                + " the newest record of each key), or both.",
            brokerName: "log.cleanup.policy", problem: items("delete", "compact")),
        TopicConfigurationKey(
            name: "compression.gzip.level", kind: .int, defaultValue: "-1",
            documentation: "How hard gzip tries where compression.type is gzip: 1 to 9, or -1 for its default.",
            brokerName: "compression.gzip.level",
            problem: { $0 == "-1" ? nil : integer(in: 1...9)($0).map { "\($0), or be -1" } }),
        TopicConfigurationKey(
            name: "compression.lz4.level", kind: .int, defaultValue: "9",
            documentation: "How hard lz4 tries where compression.type is lz4; beyond 12 it does not try harder.",
            brokerName: "compression.lz4.level", problem: integer(in: 1...17)),
        TopicConfigurationKey(
            name: "compression.type", kind: .string, defaultValue: "producer",
            documentation: "How batches are stored: as the producer compressed them (producer), uncompressed, or"
                + " compressed anew with this codec if the producer used another.",
            brokerName: "compression.type",
            problem: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")),
        TopicConfigurationKey(
            name: "compression.zstd.level", kind: .int, defaultValue: "3",
            documentation: "How hard zstd tries where compression.type is zstd.",
            brokerName: "compression.zstd.level", problem: integer(in: -131_072...22)),
        TopicConfigurationKey(
            name: "delete.retention.ms", kind: .long, defaultValue: "86400000",
            documentation: "How long a tombstone can be read after compaction first met it, in milliseconds.",
            brokerName: "log.cleaner.delete.retention.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "file.delete.delay.ms", kind: .long, defaultValue: "0",
            documentation: "How long the files of deleted segments stay on the disk, in milliseconds.",
            brokerName: "log.segment.delete.delay.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "flush.messages", kind: .long, defaultValue: "9223372036854775807",
            documentation: "Records that may be acknowledged before they are durable; 1: none.",
            brokerName: "log.flush.interval.messages", problem: integer(in: 1...Int64.max)),
        TopicConfigurationKey(
            name: "flush.ms", kind: .long, defaultValue: "9223372036854775807",
            documentation: "How long a record may be acknowledged before it is durable, in milliseconds; the broker syncs"
                + " within three seconds in any case.",
            brokerName: "log.flush.interval.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "follower.replication.throttled.replicas", kind: .list, defaultValue: "",
            documentation: "Replicas whose fetching is throttled: there is no replication that could be.",
            brokerName: "follower.replication.throttled.replicas", problem: replicas),
        TopicConfigurationKey(
            name: "index.interval.bytes", kind: .int, defaultValue: "4096",
            documentation: "Bytes of log between two entries of the offset index.",
            brokerName: "log.index.interval.bytes", problem: integer(in: 0...Int64(Int32.max))),
        TopicConfigurationKey(
            name: "leader.replication.throttled.replicas", kind: .list, defaultValue: "",
            documentation: "Replicas whose being fetched is throttled: there is no replication that could be.",
            brokerName: "leader.replication.throttled.replicas", problem: replicas),
        TopicConfigurationKey(
            name: "local.retention.bytes", kind: .long, defaultValue: "-2",
            documentation: "What of a partition is kept here once it is in remote storage, which there is none of.",
            brokerName: "log.local.retention.bytes", problem: integer(in: -2...Int64.max)),
        TopicConfigurationKey(
            name: "local.retention.ms", kind: .long, defaultValue: "-2",
            documentation: "How long records are kept here once they are in remote storage, which there is none of.",
            brokerName: "log.local.retention.ms", problem: integer(in: -2...Int64.max)),
        TopicConfigurationKey(
            name: "max.compaction.lag.ms", kind: .long, defaultValue: "9223372036854775807",
            documentation: "How long a record may wait for compaction, in milliseconds.",
            brokerName: "log.cleaner.max.compaction.lag.ms", problem: integer(in: 1...Int64.max)),
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
            name: "min.cleanable.dirty.ratio", kind: .double, defaultValue: "0.5",
            documentation: "The share of bytes that were not compacted yet beyond which compaction begins.",
            brokerName: "log.cleaner.min.cleanable.ratio", problem: ratio),
        TopicConfigurationKey(
            name: "min.compaction.lag.ms", kind: .long, defaultValue: "0",
            documentation: "How long a record is safe from compaction, in milliseconds.",
            brokerName: "log.cleaner.min.compaction.lag.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "min.insync.replicas", kind: .int, defaultValue: "1",
            documentation: "Replicas that must have a record: one, the only one there is.",
            brokerName: "min.insync.replicas", problem: integer(in: 1...1)),
        TopicConfigurationKey(
            name: "preallocate", kind: .boolean, defaultValue: "false",
            documentation: "Whether segment files are made in their full size: they are not.",
            brokerName: "log.preallocate", problem: only("false", "files grow as they are written")),
        TopicConfigurationKey(
            name: "remote.log.copy.disable", kind: .boolean, defaultValue: "false",
            documentation: "Whether copying to remote storage is stopped: there is none.",
            brokerName: "remote.log.copy.disable", problem: only("false", "there is no remote storage")),
        TopicConfigurationKey(
            name: "remote.log.delete.on.disable", kind: .boolean, defaultValue: "false",
            documentation: "Whether what is in remote storage goes when that is disabled: there is none.",
            brokerName: "remote.log.delete.on.disable", problem: only("false", "there is no remote storage")),
        TopicConfigurationKey(
            name: "remote.storage.enable", kind: .boolean, defaultValue: "false",
            documentation: "Whether closed segments go to remote storage: there is none.",
            brokerName: "remote.storage.enable", problem: only("false", "there is no remote storage")),
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
            name: "segment.index.bytes", kind: .int, defaultValue: "10485760",
            documentation: "Size of an index at which its segment is closed and the next one begun.",
            brokerName: "log.index.size.max.bytes", problem: integer(in: 4...Int64(Int32.max))),
        TopicConfigurationKey(
            name: "segment.jitter.ms", kind: .long, defaultValue: "0",
            documentation: "How much sooner than after segment.ms a segment may be closed, so that not all are at once.",
            brokerName: "log.roll.jitter.ms", problem: integer(in: 0...Int64.max)),
        TopicConfigurationKey(
            name: "segment.ms", kind: .long, defaultValue: "604800000",
            documentation: "Age at which a segment is closed and the next one begun, in milliseconds.",
            brokerName: "log.roll.ms", problem: integer(in: 1...Int64.max)),
        TopicConfigurationKey(
            name: "unclean.leader.election.enable", kind: .boolean, defaultValue: "false",
            documentation: "Whether a replica that lacks records may lead: the only replica there is lacks none.",
            brokerName: "unclean.leader.election.enable", problem: oneOf("false", "true")),
    ]

    package static let named = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    private static func oneOf(_ values: String...) -> @Sendable (String) -> String? {
        { values.contains($0) ? nil : "must be \(values.joined(separator: " or "))" }
    }

    private static func only(_ value: String, _ why: String) -> @Sendable (String) -> String? {
        { $0 == value ? nil : "must be \(value): \(why)" }
    }

    private static func items(_ values: String...) -> @Sendable (String) -> String? {
        { text in
            let items = TopicConfiguration.list(text)
            if items.isEmpty { return "must name at least one of \(values.joined(separator: ", "))" }
            return items.allSatisfy(values.contains) ? nil : "must be a list of \(values.joined(separator: ", "))"
        }
    }

    private static let ratio: @Sendable (String) -> String? = {
        guard let value = Double($0), (0...1).contains(value) else { return "must be a number between 0 and 1" }
        return nil
    }

    /// Kafka's ThrottledReplicaListValidator.
    private static let replicas: @Sendable (String) -> String? = { text in
        let items = TopicConfiguration.list(text)
        if items.isEmpty || items == ["*"] { return nil }
        let isRight = items.allSatisfy { item in
            let parts = item.split(separator: ":", omittingEmptySubsequences: false)
            return parts.count == 2 && parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (48...57).contains($0) } }
        }
        return isRight ? nil : "must be * or a list of partition:broker"
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
    /// Records that may be acknowledged before they are durable.
    package private(set) var flushMessages = Int64.max
    /// How long they may be, in ms.
    package private(set) var flushMs = Int64.max

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
        guard log.minCompactionLagMs <= log.maxCompactionLagMs else {
            throw EngineError(
                .invalidConfiguration,
                "min.compaction.lag.ms, \(log.minCompactionLagMs), is more than max.compaction.lag.ms,"
                    + " \(log.maxCompactionLagMs)")
        }
    }

    /// The items of a list, as Kafka reads one: blanks around them do not count.
    package static func list(_ text: String) -> [String] {
        text.split(separator: ",").compactMap { item in
            let trimmed = item.drop { $0 == " " || $0 == "\t" }
            let end = trimmed.lastIndex { $0 != " " && $0 != "\t" }
            return end.map { String(trimmed[...$0]) }
        }
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
        let policy = Self.list(text("cleanup.policy"))
        log.deletes = policy.contains("delete")
        log.compacts = policy.contains("compact")
        log.segmentIndexBytes = Int(number("segment.index.bytes"))
        log.segmentJitterMs = number("segment.jitter.ms")
        log.deleteRetentionMs = number("delete.retention.ms")
        log.minCompactionLagMs = number("min.compaction.lag.ms")
        log.maxCompactionLagMs = number("max.compaction.lag.ms")
        log.minCleanableDirtyRatio = Double(text("min.cleanable.dirty.ratio")) ?? 0.5
        log.fileDeleteDelayMs = number("file.delete.delay.ms")
        flushMessages = number("flush.messages")
        flushMs = number("flush.ms")
        rules.requiresKeys = log.compacts
        rules.compression = compression(text("compression.type"), number)
        rules.maxMessageBytes = Int(number("max.message.bytes"))
        // Compressed records are looked into as Kafka does; what inflates beyond this is refused.
        rules.depth = .allRecords
        rules.decompressedBytesMax = max(Limits.decompressedBytes, 4 * rules.maxMessageBytes)
        rules.isLogAppendTime = text("message.timestamp.type") == "LogAppendTime"
        rules.timestampBeforeMaxMs = number("message.timestamp.before.max.ms")
        rules.timestampAfterMaxMs = number("message.timestamp.after.max.ms")
    }
    private func compression(_ name: String, _ number: (String) -> Int64) -> Compression? {
        switch name {
        case "uncompressed": Compression(.none)
        case "gzip": Compression(.gzip, level: Int32(number("compression.gzip.level")))
        case "snappy": Compression(.snappy)
        case "lz4": Compression(.lz4, level: min(12, Int32(number("compression.lz4.level"))))
        case "zstd": Compression(.zstd, level: Int32(number("compression.zstd.level")))
        default: nil
        }
    }
}
