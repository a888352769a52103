// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what of share groups can be configured: the broker's settings, and a group's own.
//
// Names, defaults and bounds are Kafka's (4.2; those of dead letters KIP-1191's). A group's settings override the broker's.

import Bytes

package struct ShareConfiguration: Equatable, Sendable {
    /// `group.share.heartbeat.interval.ms`
    package var heartbeatIntervalMs: Int32 = 5_000
    /// `group.share.session.timeout.ms`
    package var sessionTimeoutMs: Int64 = 45_000
    /// `group.share.max.size`; GROUP_MAX_SIZE_REACHED.
    package var membersMax = 200
    /// `group.share.record.lock.duration.ms`
    package var recordLockDurationMs: Int64 = 30_000
    /// `group.share.min.record.lock.duration.ms` and `.max.`: what a group, or a worker, may ask for.
    package var minRecordLockDurationMs: Int64 = 15_000
    package var maxRecordLockDurationMs: Int64 = 60_000
    /// `group.share.delivery.count.limit`
    package var deliveryCountLimit: Int16 = 5
    /// `group.share.partition.max.record.locks`
    package var partitionMaxRecordLocks = 2_000
    /// `group.share.max.share.sessions`; SHARE_SESSION_LIMIT_REACHED.
    package var shareSessionsMax = 2_000
    /// `errors.deadletterqueue.topic.name.prefix`: dead-letter topics must begin so.
    package var deadLetterTopicPrefix = "dlq."
    /// `errors.deadletterqueue.auto.create.topics.enable`
    package var createsDeadLetterTopics = true

    /// `group.share.max.groups`, which was Kafka's until 4.0 (10 there); GROUP_MAX_SIZE_REACHED.
    package var groupsMax = 10_000
    /// Bytes of a group id or member id; INVALID_GROUP_ID, INVALID_REQUEST.
    package var groupIdBytesMax = 1_024
    /// Partitions that a share session, or a worker, may name; INVALID_REQUEST.
    package var partitionsPerSessionMax = 10_000

    package init() {}
}

/// A group's own settings, as GROUP resources have them.
package struct ShareGroupSettings: Equatable, Sendable {
    package enum OffsetReset: Equatable, Sendable {
        case latest
        case earliest
        case byDuration(ms: Int64)
    }

    package static let lockDuration = "share.record.lock.duration.ms"
    package static let offsetReset = "share.auto.offset.reset"
    package static let isolationLevel = "share.isolation.level"
    package static let deliveryCountLimit = "share.delivery.count.limit"
    package static let maxRecordLocks = "share.partition.max.record.locks"
    package static let deadLetterTopic = "errors.deadletterqueue.topic.name"
    package static let copiesRecord = "errors.deadletterqueue.copy.record.enable"
    package static let names = keys.map(\.name)

    static let keys: [ConfigurationKey] = [
        ConfigurationKey(
            name: copiesRecord, kind: .boolean,
            documentation: "Whether a dead letter of this share group has the key, value and headers of its record.",
            brokerName: nil, defaultValue: { _, _ in "true" }),
        ConfigurationKey(
            name: deadLetterTopic, kind: .string,
            documentation: "Where this share group's records go that are rejected or delivered too often; empty: nowhere.",
            brokerName: nil, defaultValue: { _, _ in "" }),
        ConfigurationKey(
            name: offsetReset, kind: .string,
            documentation: "Where this share group begins: latest, earliest or by_duration:<ISO 8601 duration>.",
            brokerName: nil, defaultValue: { _, _ in "latest" }),
        ConfigurationKey(
            name: deliveryCountLimit, kind: .int,
            documentation: "How often this share group delivers a record before it gives it up.",
            brokerName: "group.share.delivery.count.limit", defaultValue: { _, shares in "\(shares.deliveryCountLimit)" }),
        ConfigurationKey(
            name: isolationLevel, kind: .string,
            documentation: "Which records this share group reads: read_committed or read_uncommitted.",
            brokerName: nil, defaultValue: { _, _ in "read_uncommitted" }),
        ConfigurationKey(
            name: maxRecordLocks, kind: .int,
            documentation: "How many records of a partition this share group has in flight at most.",
            brokerName: "group.share.partition.max.record.locks",
            defaultValue: { _, shares in "\(shares.partitionMaxRecordLocks)" }),
        ConfigurationKey(
            name: lockDuration, kind: .int,
            documentation: "How long a record is locked for the consumer that acquired it, in milliseconds.",
            brokerName: "group.share.record.lock.duration.ms",
            defaultValue: { _, shares in "\(shares.recordLockDurationMs)" }),
    ]

    package var rules = SharePartition.Rules()
    package var reset = OffsetReset.latest
    package var isReadCommitted = false
    package var deadLetterTopicName = ""
    package var copiesDeadRecord = true

    /// Throws `invalidConfiguration` naming the key, for one that is unknown or a value that is refused.
    package init(_ values: [String: String], _ broker: ShareConfiguration) throws(EngineError) {
        rules.lockDurationMs = broker.recordLockDurationMs
        rules.deliveryCountLimit = sabotaged("deliverForEver") ? 100 : broker.deliveryCountLimit
        rules.maxRecordLocks = broker.partitionMaxRecordLocks
        for (name, value) in values { try set(name, value, broker) }
        rules.hasDeadLetters = !deadLetterTopicName.isEmpty
    }

    /// Reads dead letters from their beginning, and leaves those that it does not want as often as it likes.
    static let redrive: ShareGroupSettings = {
        var settings = ShareGroupSettings(ShareConfiguration())
        settings.reset = .earliest
        settings.rules.deliveryCountLimit = .max
        settings.rules.maxRecordLocks = 100_000
        return settings
    }()

    private mutating func set(_ name: String, _ value: String, _ broker: ShareConfiguration) throws(EngineError) {
        func number(_ range: ClosedRange<Int64>) throws(EngineError) -> Int64 {
            guard let number = Int64(value), range.contains(number) else {
                throw Self.refusal(name, value, "must lie between \(range.lowerBound) and \(range.upperBound)")
            }
            return number
        }
        switch name {
        case Self.lockDuration:
            rules.lockDurationMs = try number(broker.minRecordLockDurationMs...broker.maxRecordLockDurationMs)
        case Self.deliveryCountLimit: rules.deliveryCountLimit = Int16(try number(2...10))
        case Self.maxRecordLocks: rules.maxRecordLocks = Int(try number(100...10_000))
        case Self.isolationLevel:
            guard value == "read_committed" || value == "read_uncommitted" else {
                throw Self.refusal(name, value, "must be read_committed or read_uncommitted")
            }
            isReadCommitted = value == "read_committed"
        case Self.offsetReset:
            guard let reset = OffsetReset(value) else {
                throw Self.refusal(name, value, "must be latest, earliest or by_duration:<ISO 8601 duration>")
            }
            self.reset = reset
        case Self.deadLetterTopic:
            guard value.isEmpty || (topicNameProblem(value) == nil && value.hasPrefix(broker.deadLetterTopicPrefix)) else {
                throw Self.refusal(name, value, "must be a topic name that begins with \(broker.deadLetterTopicPrefix)")
            }
            deadLetterTopicName = value
        case Self.copiesRecord:
            guard let flag = Bool(value) else { throw Self.refusal(name, value, "must be true or false") }
            copiesDeadRecord = flag
        default:
            throw EngineError(.invalidConfiguration, "unknown group configuration key \(name)")
        }
    }

    private static func refusal(_ name: String, _ value: String, _ problem: String) -> EngineError {
        EngineError(.invalidConfiguration, "invalid value \(value) for \(name): \(problem)")
    }
}

extension ShareGroupSettings.OffsetReset {
    init?(_ text: String) {
        switch text {
        case "latest": self = .latest
        case "earliest": self = .earliest
        default:
            guard text.hasPrefix("by_duration:"), let ms = Self.milliseconds(text.dropFirst("by_duration:".count)) else {
                return nil
            }
            self = .byDuration(ms: ms)
        }
    }

    /// An ISO 8601 duration of days, hours, minutes and seconds (`P1DT2H3M4.5S`); nil if it is none, or negative.
    private static func milliseconds(_ text: Substring) -> Int64? {
        guard text.first == "P", text.count > 1 else { return nil }
        var total = 0.0
        var number = ""
        var isTime = false
        var hasPart = false
        for character in text.dropFirst() {
            if character == "T", !isTime, number.isEmpty {
                isTime = true
                continue
            }
            if character.isNumber || character == "." {
                number.append(character)
                continue
            }
            let unit: Double
            switch (character, isTime) {
            case ("D", false): unit = 86_400_000
            case ("H", true): unit = 3_600_000
            case ("M", true): unit = 60_000
            case ("S", true): unit = 1_000
            default: return nil
            }
            guard let value = Double(number), value < 1e12 else { return nil }
            total += value * unit
            number = ""
            hasPart = true
        }
        return number.isEmpty && hasPart ? Int64(total) : nil
    }
}
