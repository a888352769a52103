// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what of the engine can be configured. Filled by the composition from flags, environment and YAML.

/// What an acknowledgement with `acks=all` (or by gRPC) promises.
package enum Durability: String, Sendable, CaseIterable {
    /// On stable storage (fdatasync) before it is acknowledged.
    case disk
    /// In the operating system's page cache: survives the process, not a power cut.
    case os
    /// In this process's memory only.
    case memory
}

package struct EngineConfiguration: Sendable {
    package var durability: Durability = .disk
    package var autoCreateTopics = true
    package var defaultPartitions: Int32 = 1
    /// Broker-wide defaults of the topic configuration (Kafka's topic-level key names).
    package var topicDefaults: [String: String] = [:]
    /// Partitions of all topics together.
    package var partitionsMax = Limits.partitions
    package var nodeId: Int32 = 1
    /// The path of the data directory, as clients are told; empty if everything is in memory.
    package var logDirectory = ""
    /// Settings that others have, by Kafka's names, as clients are told (DescribeConfigs).
    package var otherSettings: [String: String] = [:]
    package var groups = GroupConfiguration()
    package var transactions = TransactionConfiguration()
    package var shares = ShareConfiguration()
    /// How long an idle producer is remembered for duplicate detection (producer.id.expiration.ms).
    package var producerIdExpirationMs: Int64 = 86_400_000
    package var access = AccessConfiguration()
    /// Over what time the rates of quotas are taken.
    package var quotaWindows = QuotaWindows()
    package var housekeeping = HousekeepingConfiguration()

    package init() {}
}

package struct HousekeepingConfiguration: Sendable {
    /// Between retention runs (log.retention.check.interval.ms).
    package var retentionCheckMs: Int64 = 300_000
    /// How long compaction waits when it has found nothing to do (log.cleaner.backoff.ms).
    package var compactionBackoffMs: Int64 = 15_000
    /// Between looks for idle producers (producer.id.expiration.check.interval.ms).
    package var producerIdExpirationCheckMs: Int64 = 600_000
    /// Between recovery checkpoints: bounds what a start after a crash has to scan.
    package var checkpointMs: Int64 = 5_000
    /// Bytes that became durable after which another checkpoint is due.
    package var checkpointBytes = 256 << 20

    package init() {}
}
