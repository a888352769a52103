// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what there is to say about an API beside its versions, for docs/kafka-support.md.

extension ApiTable {
    /// One line for people who choose or debug a client; empty if it is as in Kafka.
    package static func note(_ key: ApiKey) -> String { notes[key] ?? "" }

    private static let notes: [ApiKey: String] = [
        .produce: "0-12 advertised, because librdkafka compresses only if it sees 0 (KAFKA-18659)",
        .fetch: "fetch sessions are declined (session id 0), every fetch is a full one",
        .listOffsets: "earliest, latest, max timestamp, by time; earliest local is the earliest, nothing is tiered",
        .metadata: "creates missing topics where allowed and answers when they exist",
        .findCoordinator: "groups and transactional ids",
        .joinGroup: "classic groups, static members, cooperative rebalancing",
        .saslHandshake: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, as configured; ILLEGAL_SASL_STATE where none is",
        .saslAuthenticate: "with a session lifetime where one is configured (KIP-368)",
        .createTopics: "replication factor 1",
        .offsetForLeaderEpoch: "the only leader epoch is 0",
        .endTxn: "answered when the markers are durable",
        .describeConfigs: "topics, brokers, groups, client metrics, loggers",
        .alterConfigs: "topics, brokers, groups, client metrics",
        .alterReplicaLogDirs: "there is one directory: only moves to where a partition is succeed",
        .electLeaders: "ELECTION_NOT_NEEDED: the one broker leads everything",
        .incrementalAlterConfigs: "topics, brokers, groups, client metrics; durable, in force at once",
        .alterPartitionReassignments: "there is one broker: only moves to where a partition is succeed",
        .listPartitionReassignments: "always empty",
        .alterClientQuotas: "enforced for both protocols (docs/quotas.md); ip takes addresses only",
        .describeQuorum: "this node is the only voter",
        .describeCluster: "one broker",
        .getTelemetrySubscriptions: "by the client metrics that are configured",
        .pushTelemetry: "checked and counted (`martlet_kafka_telemetry_*`), not kept",
        .listConfigResources: "version 0 is ListClientMetricsResources",
        .shareFetch: "min.bytes is one record; a member whose locks keep running out is passed over",
        .shareAcknowledge: "answered when it is durable",
        .alterUserScramCredentials: "4096 to 16384 iterations",
    ]
}
