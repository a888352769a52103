// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the bounds of the engine's queues, tables and names.

/// Each bound has a defined answer when it is reached, given beside it.
package enum Limits {
    /// Longest topic name in bytes (Kafka's limit); longer: INVALID_TOPIC_EXCEPTION.
    package static let topicNameBytes = 249
    /// Partitions of one topic; more: INVALID_PARTITIONS.
    package static let partitionsPerTopic = 10_000
    /// Partitions of the broker, all topics together; more: INVALID_PARTITIONS.
    package static let partitions = 100_000
    /// Producers remembered per partition for duplicate detection; beyond it the longest idle one is forgotten.
    package static let producersPerPartition = 10_000
    /// Batches remembered per producer (Kafka's own number: in-flight requests of an idempotent producer).
    package static let batchesPerProducer = 5
    /// Records of one produced batch, decompressed, in bytes (or four times max.message.bytes if that is more);
    /// more: INVALID_RECORD.
    package static let decompressedBytes = 64 << 20
    /// Within so many ms whatever was written is synced, although nobody waits for it.
    package static let backgroundSyncMs: Int64 = 3_000
    /// Long polls waiting on one partition; one more is answered at once instead of waiting.
    package static let waitersPerPartition = 100_000
    /// Internal logs larger than this, in bytes, and than four times their live state are rewritten.
    package static let internalLogBytes: Int64 = 64 << 20
    /// Configuration overrides of one topic; more: INVALID_CONFIG.
    package static let overridesPerTopic = 100
}
