// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what the engine counts: bytes and records in and out per topic, log sizes, sync latency.
//
// Families are bounded by Telemetry (beyond 1,000 topics the rest share one series). Partitions fetch their topic's
// counters once and add to them once per turn, not per record.

import Telemetry

/// The counters of one topic, shared by its partitions.
struct TopicMetrics: Sendable {
    let bytesIn: Counter
    let recordsIn: Counter
    let bytesOut: Counter
    let recordsOut: Counter
}

struct EngineMetrics: Sendable {
    private let bytesIn: MetricFamily<Counter>
    private let recordsIn: MetricFamily<Counter>
    private let bytesOut: MetricFamily<Counter>
    private let recordsOut: MetricFamily<Counter>

    init(_ metrics: Metrics) {
        bytesIn = metrics.counters(
            "martlet_topic_in_bytes_total", "Bytes of record batches written, by topic.", labels: ["topic"])
        recordsIn = metrics.counters(
            "martlet_topic_in_records_total", "Records written, by topic.", labels: ["topic"])
        bytesOut = metrics.counters(
            "martlet_topic_out_bytes_total", "Bytes of record batches sent to clients, by topic.",
            labels: ["topic"])
        recordsOut = metrics.counters(
            "martlet_topic_out_records_total", "Records sent to gRPC subscribers, by topic.", labels: ["topic"])
    }

    func topic(_ name: String) -> TopicMetrics {
        TopicMetrics(
            bytesIn: bytesIn.with(name), recordsIn: recordsIn.with(name), bytesOut: bytesOut.with(name),
            recordsOut: recordsOut.with(name))
    }

    /// The topic is gone: its series end.
    func forget(_ name: String) {
        for family in [bytesIn, recordsIn, bytesOut, recordsOut] { family.remove(name) }
    }
}

extension Engine {
    /// Registers what is asked for at each scrape.
    package func register(_ metrics: Metrics) {
        metrics.observe(
            "martlet_log_size_bytes", "Bytes in log files, by topic.", labels: ["topic"]
        ) { [topics] in
            topics.all.map { topic in
                Sample(Double(topic.partitions.reduce(0) { $0 + $1.sizeInBytes }), labels: [topic.name])
            }
        }
        metrics.observe("martlet_topics", "Topics, internal ones included.") { [topics] in
            Double(topics.all.count)
        }
        metrics.observe("martlet_partitions", "Partitions of all topics.") { [topics] in
            Double(topics.all.reduce(0) { $0 + $1.partitionCount })
        }
        metrics.observe(
            "martlet_compaction_runs_total", "Rounds of compaction that ended in order.",
            kind: .counter
        ) { [compactor] in Double(compactor.totals.rounds) }
        metrics.observe(
            "martlet_compaction_failures_total", "Rounds of compaction that could not begin or did not end in order.",
            kind: .counter
        ) { [compactor] in Double(compactor.totals.failures) }
        metrics.observe(
            "martlet_compaction_read_bytes_total", "Bytes that compaction has read.",
            kind: .counter
        ) { [compactor] in Double(compactor.totals.bytesRead) }
        metrics.observe(
            "martlet_compaction_removed_bytes_total", "Bytes by which compaction has made logs smaller.",
            kind: .counter
        ) { [compactor] in Double(compactor.totals.bytesRemoved) }
        metrics.observe(
            "martlet_compaction_last_duration_seconds", "How long the last round of compaction took."
        ) { [compactor] in Double(compactor.totals.lastDurationMs) / 1000 }
        metrics.observe(
            "martlet_logs_read_only", "Partitions that failed a write or a sync and take no more records."
        ) { [self] in
            Double(allPartitions.count { $0.failure != nil })
        }
    }
}
