// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what the broker is, under the names of Kafka's broker configuration.
//
// For tools that look it up: every value is true here. None can be changed while the broker runs; those that can are
// the broker-level names of the topic configuration.

import Engine
import KafkaWire
import Logging

struct BrokerSetting: Sendable {
    typealias Kind = TopicConfigurationKey.Kind

    var name: String
    var kind: Kind
    /// Kafka's, or what cannot be otherwise here; nil: must be set, or may be missing.
    var defaultValue: String?
    var documentation: String
    var value: @Sendable (Exchange) -> String?

    init(
        _ name: String, _ kind: Kind, _ defaultValue: String?, _ documentation: String,
        _ value: @escaping @Sendable (Exchange) -> String?
    ) {
        self.name = name
        self.kind = kind
        self.defaultValue = defaultValue
        self.documentation = documentation
        self.value = value
    }

    /// What is always so.
    private static func fixed(_ name: String, _ kind: Kind, _ value: String, _ documentation: String) -> BrokerSetting {
        BrokerSetting(name, kind, value, documentation) { _ in value }
    }

    /// What others have told the engine for this.
    private static func told(
        _ name: String, _ kind: Kind, _ defaultValue: String?, _ documentation: String
    ) -> BrokerSetting {
        BrokerSetting(name, kind, defaultValue, documentation) {
            $0.engine.configuration.otherSettings[name] ?? defaultValue
        }
    }

    private static func number(
        _ name: String, _ kind: Kind, _ defaultValue: Int64, _ documentation: String,
        _ value: @escaping @Sendable (EngineConfiguration) -> Int64
    ) -> BrokerSetting {
        BrokerSetting(name, kind, "\(defaultValue)", documentation) { "\(value($0.engine.configuration))" }
    }

    static let all: [BrokerSetting] = identity + topics + groups + transactions + limits

    private static let identity: [BrokerSetting] = [
        BrokerSetting("advertised.listeners", .string, nil, "The address that clients are told.") {
            "PLAINTEXT://\($0.advertisedAddress.host):\($0.advertisedAddress.port)"
        },
        BrokerSetting("broker.id", .int, "-1", "The number of this broker.") { "\($0.engine.configuration.nodeId)" },
        BrokerSetting("broker.rack", .string, nil, "The rack of this broker.") { _ in nil },
        fixed("inter.broker.protocol.version", .string, "4.0-IV3", "The version whose protocol is spoken."),
        told("listeners", .list, "PLAINTEXT://:9092", "Where the broker listens."),
        BrokerSetting("log.dir", .string, "/tmp/kafka-logs", "Where records are kept.") {
            $0.engine.configuration.logDirectory
        },
        BrokerSetting("log.dirs", .string, nil, "Where records are kept.") { $0.engine.configuration.logDirectory },
        BrokerSetting("node.id", .int, nil, "The number of this broker.") { "\($0.engine.configuration.nodeId)" },
        BrokerSetting("process.roles", .list, "", "What this process is.") { _ in "broker,controller" },
        told("allow.everyone.if.no.acl.found", .boolean, "false", "Whether what no access rule speaks of is free to all."),
        told("authorizer.opa.url", .string, nil, "The external policy that decides instead of access rules."),
        told("ssl.client.auth", .string, "none", "Whether TLS clients must show a certificate."),
        told("ssl.principal.mapping.rules", .string, "DEFAULT", "What is made of the name of a client's certificate."),
        told("ssl.principal.source", .list, "subject", "Which name of a client's certificate is its principal."),
        told("super.users", .string, "", "Principals that may do everything."),
    ]

    private static let topics: [BrokerSetting] = [
        BrokerSetting("auto.create.topics.enable", .boolean, "true", "Whether asking for a missing topic creates it.") {
            "\($0.engine.configuration.autoCreateTopics)"
        },
        fixed("default.replication.factor", .int, "1", "Replicas of a partition: there is one broker."),
        fixed("delete.topic.enable", .boolean, "true", "Whether topics can be deleted."),
        fixed("log.retention.hours", .int, "168", "Not looked at: log.retention.ms is always set."),
        BrokerSetting("log.retention.minutes", .int, nil, "Not looked at: log.retention.ms is always set.") { _ in nil },
        fixed("log.roll.hours", .int, "168", "Not looked at: log.roll.ms is always set."),
        number("log.retention.check.interval.ms", .long, 300_000, "How often retention is applied.") {
            $0.housekeeping.retentionCheckMs
        },
        number("num.partitions", .int, 1, "Partitions of a topic that is created without saying how many.") {
            Int64($0.defaultPartitions)
        },
        fixed("remote.log.storage.system.enable", .boolean, "false", "Whether segments are tiered."),
    ]

    private static let groups: [BrokerSetting] = [
        number("group.consumer.heartbeat.interval.ms", .int, 5_000, "How often members say that they are there.") {
            Int64($0.groups.consumerHeartbeatIntervalMs)
        },
        number("group.consumer.max.heartbeat.interval.ms", .int, 15_000, "Longest interval that a group may have.") {
            Int64($0.groups.consumerHeartbeatIntervals.upperBound)
        },
        number("group.consumer.max.session.timeout.ms", .int, 60_000, "Longest timeout that a consumer group may have.") {
            Int64($0.groups.consumerSessionTimeouts.upperBound)
        },
        number("group.consumer.min.heartbeat.interval.ms", .int, 5_000, "Shortest interval that a group may have.") {
            Int64($0.groups.consumerHeartbeatIntervals.lowerBound)
        },
        number("group.consumer.min.session.timeout.ms", .int, 45_000, "Shortest timeout that a consumer group may have.") {
            Int64($0.groups.consumerSessionTimeouts.lowerBound)
        },
        number("group.consumer.session.timeout.ms", .int, 45_000, "How long a member of a consumer group may be silent.") {
            Int64($0.groups.consumerSessionTimeoutMs)
        },
        BrokerSetting("group.coordinator.rebalance.protocols", .list, "classic,consumer", "The protocols of groups.") { _ in
            ApiTable.served.contains { $0.key == .consumerGroupHeartbeat } ? "classic,consumer" : "classic"
        },
        number("group.initial.rebalance.delay.ms", .int, 3_000, "How long a new group waits for more members.") {
            $0.groups.initialRebalanceDelayMs
        },
        number("group.max.session.timeout.ms", .int, 1_800_000, "Longest session timeout a member may ask for.") {
            Int64($0.groups.maxSessionTimeoutMs)
        },
        number("group.max.size", .int, Int64(Int32.max), "Members that a group may have.") { Int64($0.groups.membersMax) },
        number("group.min.session.timeout.ms", .int, 6_000, "Shortest session timeout a member may ask for.") {
            Int64($0.groups.minSessionTimeoutMs)
        },
        number("offset.metadata.max.bytes", .int, 4_096, "Longest metadata of a committed offset.") {
            Int64($0.groups.offsetMetadataMax)
        },
        number("offsets.retention.check.interval.ms", .long, 600_000, "How often expired offsets are looked for.") {
            $0.groups.offsetsRetentionCheckIntervalMs
        },
        number("offsets.retention.minutes", .int, 10_080, "How long offsets of a group without members are kept.") {
            $0.groups.offsetsRetentionMs / 60_000
        },
        fixed("offsets.topic.num.partitions", .int, "1", "Partitions of __consumer_offsets."),
        fixed("offsets.topic.replication.factor", .int, "1", "Replicas of __consumer_offsets."),
        fixed("offsets.topic.segment.bytes", .int, Engine.internalSegmentBytes, "Segments of __consumer_offsets."),
    ]

    private static let transactions: [BrokerSetting] = [
        number(
            "transaction.abort.timed.out.transaction.cleanup.interval.ms", .int, 10_000,
            "How often timed out transactions are looked for."
        ) { $0.transactions.cleanUpIntervalMs },
        number("transaction.max.timeout.ms", .int, 900_000, "Longest timeout of a transaction.") {
            Int64($0.transactions.maxTimeoutMs)
        },
        fixed("transaction.state.log.min.isr", .int, "1", "Replicas that must have a record of __transaction_state."),
        fixed("transaction.state.log.num.partitions", .int, "1", "Partitions of __transaction_state."),
        fixed("transaction.state.log.replication.factor", .int, "1", "Replicas of __transaction_state."),
        fixed("transaction.state.log.segment.bytes", .int, Engine.internalSegmentBytes, "Segments of __transaction_state."),
        number("transactional.id.expiration.ms", .int, 604_800_000, "When an unused transactional id is forgotten.") {
            $0.transactions.idExpirationMs
        },
    ]

    private static let limits: [BrokerSetting] = [
        fixed("fetch.max.bytes", .int, "\(Limits.fetchBytes)", "Most bytes of one answer to Fetch."),
        told("max.connection.creation.rate", .int, "\(Int32.max)", "Connections that a listener accepts a second."),
        told("connections.max.idle.ms", .long, "600000", "After how long a connection without requests is closed."),
        told("max.connections", .int, "\(Int32.max)", "Connections open at once."),
        told("max.connections.per.ip", .int, "\(Int32.max)", "Connections open at once from one address."),
        told("max.connections.per.ip.overrides", .string, "", "The same for some addresses."),
        fixed("max.request.partition.size.limit", .int, "\(Limits.partitionsPerDescription)",
            "Most partitions of one answer to DescribeTopicPartitions."),
        told("num.network.threads", .int, "3", "Event loop threads."),
        told("quota.window.num", .int, "11", "Windows of time over which rates of quotas are taken."),
        told("quota.window.size.seconds", .int, "1", "How long each of them is."),
        told("queued.max.request.bytes", .long, "-1", "Bytes of unfinished requests."),
        fixed("socket.request.max.bytes", .int, "\(Limits.requestBytes)", "Largest request."),
        fixed("telemetry.max.bytes", .int, "\(Limits.telemetryBytes)", "Most bytes of metrics that a client may push at once."),
    ]

    /// The parts of the broker that log, as resources of type BROKER_LOGGER have them.
    static let loggers = ["Engine", "GRPCServer", "HTTPServer", "KafkaServer", "Martlet", "Storage", "Transport", "root"]

    /// In Kafka's words.
    static func level(_ level: Logger.Level) -> String {
        switch level {
        case .trace: "TRACE"
        case .debug: "DEBUG"
        case .info, .notice: "INFO"
        case .warning: "WARN"
        case .error: "ERROR"
        case .critical: "FATAL"
        }
    }
}
