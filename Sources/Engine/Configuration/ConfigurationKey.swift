// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one key of a group's or of client metrics' configuration, and the tables of them.
//
// Names, types and bounds are Apache Kafka's (GroupConfig, ClientMetricsConfigs). Every key that is accepted has its
// effect; every other key is refused by name.

package struct ConfigurationKey: Sendable {
    package var name: String
    package var kind: TopicConfigurationKey.Kind
    package var documentation: String
    /// What the broker sets for the same thing, as Kafka calls it; nil if nothing.
    package var brokerName: String?
    package var defaultValue: @Sendable (GroupConfiguration, ShareConfiguration) -> String
}

/// What a group may have of its own (KIP-848, KIP-932).
package enum GroupConfigurationKeys {
    package static let sessionTimeout = "consumer.session.timeout.ms"
    package static let heartbeatInterval = "consumer.heartbeat.interval.ms"

    package static let all: [ConfigurationKey] = [
        ConfigurationKey(
            name: heartbeatInterval, kind: .int,
            documentation: "How often a member of this consumer group is to say that it is there, in milliseconds.",
            brokerName: "group.consumer.heartbeat.interval.ms", defaultValue: { groups, _ in "\(groups.consumerHeartbeatIntervalMs)" }),
        ConfigurationKey(
            name: sessionTimeout, kind: .int,
            documentation: "How long a member of this consumer group may be silent before it is removed, in milliseconds.",
            brokerName: "group.consumer.session.timeout.ms", defaultValue: { groups, _ in "\(groups.consumerSessionTimeoutMs)" }),
    ] + ShareGroupSettings.keys

    /// Throws `invalidConfiguration` for what a group cannot have.
    static func check(
        _ overrides: [String: String], _ groups: GroupConfiguration, _ shares: ShareConfiguration
    ) throws(EngineError) {
        for name in overrides.keys.sorted() where !all.contains(where: { $0.name == name }) {
            throw EngineError(
                .invalidConfiguration,
                "Unknown group config name: \(name)" + Suggestion.question(for: name, among: all.map(\.name)))
        }
        _ = try ShareGroupSettings(overrides.filter { ShareGroupSettings.names.contains($0.key) }, shares)
        let interval = try number(heartbeatInterval, overrides, groups.consumerHeartbeatIntervalMs)
        let timeout = try number(sessionTimeout, overrides, groups.consumerSessionTimeoutMs)
        try check(interval, heartbeatInterval, groups.consumerHeartbeatIntervals, "heartbeat.interval.ms")
        try check(timeout, sessionTimeout, groups.consumerSessionTimeouts, "session.timeout.ms")
        guard timeout > interval else {
            throw EngineError(.invalidConfiguration, "\(sessionTimeout) must be greater than \(heartbeatInterval)")
        }
    }

    private static func number(
        _ name: String, _ overrides: [String: String], _ usual: Int32
    ) throws(EngineError) -> Int32 {
        guard let text = overrides[name] else { return usual }
        guard let value = Int32(text), value >= 1 else {
            throw EngineError(.invalidConfiguration, "Invalid value \(text) for configuration \(name): Not a number of type INT above 0")
        }
        return value
    }

    private static func check(
        _ value: Int32, _ name: String, _ range: ClosedRange<Int32>, _ what: String
    ) throws(EngineError) {
        if value < range.lowerBound {
            throw EngineError(
                .invalidConfiguration, "\(name) must be greater than or equal to group.consumer.min.\(what), \(range.lowerBound)")
        }
        if value > range.upperBound {
            throw EngineError(
                .invalidConfiguration, "\(name) must be less than or equal to group.consumer.max.\(what), \(range.upperBound)")
        }
    }
}

/// What a subscription to clients' metrics has (KIP-714).
package enum ClientMetricsKeys {
    package static let metrics = "metrics"
    package static let interval = "interval.ms"
    package static let match = "match"
    package static let intervals: ClosedRange<Int32> = 100...3_600_000
    package static let usualIntervalMs: Int32 = 300_000
    /// What a pattern may look at.
    package static let parameters = [
        "client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address",
        "client_source_port",
    ]

    package static let all: [ConfigurationKey] = [
        ConfigurationKey(
            name: interval, kind: .int, documentation: "How often a client pushes its metrics, in milliseconds.",
            brokerName: nil, defaultValue: { _, _ in "\(usualIntervalMs)" }),
        ConfigurationKey(
            name: match, kind: .list,
            documentation: "Which clients: patterns such as client_id=orders-.*; all must match. None: every client.",
            brokerName: nil, defaultValue: { _, _ in "" }),
        ConfigurationKey(
            name: metrics, kind: .list,
            documentation: "Prefixes of the metrics to push, or * for all. None: nothing is pushed.", brokerName: nil,
            defaultValue: { _, _ in "" }),
    ]

    /// Throws `invalidRequest` or `invalidConfiguration`, as Kafka does, for what cannot be.
    static func check(_ overrides: [String: String]) throws(EngineError) {
        for name in overrides.keys.sorted() where !all.contains(where: { $0.name == name }) {
            throw EngineError(
                .invalidRequest,
                "Unknown client metrics configuration: \(name)" + Suggestion.question(for: name, among: all.map(\.name)))
        }
        if let text = overrides[interval] {
            guard let value = Int32(text) else {
                throw EngineError(
                    .invalidConfiguration, "Invalid value \(text) for configuration \(interval): Not a number of type INT")
            }
            guard intervals.contains(value) else {
                throw EngineError(
                    .invalidRequest,
                    "Invalid value \(value) for \(interval), interval must be between 100 and 3600000 (1 hour)")
            }
        }
        _ = try patterns(overrides)
    }

    /// The patterns of a subscription, by parameter.
    package static func patterns(_ overrides: [String: String]) throws(EngineError) -> [String: ClientPattern] {
        var patterns: [String: ClientPattern] = [:]
        for part in items(overrides[match] ?? "") {
            let sides = part.split(separator: "=", omittingEmptySubsequences: false).map { $0.trimmingSpaces() }
            guard sides.count == 2, parameters.contains(sides[0]), let pattern = ClientPattern(sides[1]) else {
                throw EngineError(.invalidConfiguration, "Illegal client matching pattern: \(part)")
            }
            patterns[sides[0]] = pattern
        }
        return patterns
    }

    /// The items of a list, without the spaces around them.
    package static func items(_ list: String) -> [String] {
        list.split(separator: ",").map { $0.trimmingSpaces() }.filter { !$0.isEmpty }
    }
}

extension Substring {
    fileprivate func trimmingSpaces() -> String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
