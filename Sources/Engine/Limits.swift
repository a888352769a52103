// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the bounds of the engine's queues, tables and names.

import NIOCore

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
    /// Long polls and subscriptions waiting on one partition; one more looks again after a moment instead of waiting.
    package static let waitersPerPartition = 100_000
    static let fullPartitionDelay = TimeAmount.seconds(1)
    /// Members of a share group whose standing a partition remembers; beyond it one in good standing is forgotten until it comes again.
    static let membersPerSharePartition = 1_000
    /// Internal logs larger than this, in bytes, and than four times their live state are rewritten.
    package static let internalLogBytes: Int64 = 64 << 20
    /// How long files are removed before the housekeeping loop does something else: 50 ms.
    static let removalSliceNs: UInt64 = 50_000_000
    /// Configuration overrides of one topic; more: INVALID_CONFIG.
    package static let overridesPerTopic = 100
    /// Access rules; one more is refused.
    package static let accessRules = 20_000
    /// Decisions that are remembered, of names up to so many bytes; beyond it all are made anew.
    static let rememberedDecisions = 20_000
    static let rememberedNameBytes = 249
    /// Questions of all requests that wait for an external policy; one more is denied.
    static let policyQuestionsWaiting = 4_096
    /// What one request may ask an external policy in all, as many as it may name topics; beyond it: denied.
    static let policyQuestionsPerRequest = 10_000
    /// What one request asks an external policy at a time; the rest waits until there are answers.
    static let policyQuestionsAtOnce = 16
    /// How often rights are looked at again for a group's pattern, where an external policy decides; else: `patternRefreshMs`.
    static let policyPatternRefreshMs: Int64 = 30_000
    /// Passwords of users, each mechanism counted; one more is refused.
    package static let credentials = 20_000
    /// Quotas, each key of each entity counted; one more: POLICY_VIOLATION.
    package static let quotas = 10_000
    /// Bytes of a user, client id or address of a quota; more: INVALID_REQUEST.
    package static let quotaNameBytes = 1_024
    /// Clients, or groups of them, whose use of a quota is remembered; beyond it those that were quiet for longest are forgotten.
    package static let quotaUsages = 10_000
    /// Passwords that wait to be checked; one more is taken for wrong.
    package static let passwordChecks = 64
    /// Connections and streams of removed users that are told before other work of the loop comes first.
    package static let sessionsEndedAtOnce = 256
    /// Users whose password was checked and need not be again; beyond it all are checked anew.
    package static let rememberedPasswords = 10_000
    /// Tokens that were checked and need not be again; beyond it all are checked anew.
    package static let rememberedTokens = 10_000
    /// Changes of topics that wait for one of the same topic; one more: POLICY_VIOLATION.
    package static let topicChangesWaiting = 1_000
    /// Groups, subscriptions to client metrics and brokers with a configuration; one more: POLICY_VIOLATION.
    package static let configuredResources = 10_000
    /// Bytes of all their configurations together; more: POLICY_VIOLATION.
    package static let configurationBytes = 16 << 20
    /// Bytes of one of their keys with its value; more: INVALID_CONFIG.
    package static let configurationValueBytes = 8 << 10
    /// Bytes of a group's or subscription's name; more: INVALID_REQUEST.
    package static let resourceNameBytes = 1_024
    /// Changes of configurations that wait for one of the same resource; one more: POLICY_VIOLATION.
    package static let configurationChangesWaiting = 10_000
    /// Bytes of a pattern of client metrics; more: INVALID_CONFIG.
    package static let clientPatternBytes = 256
    /// Bytes of what such a pattern is held against; more: it does not match.
    package static let clientPatternTextBytes = 1_024
}
