// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the edge's numbers: connections, and requests and latency per API.

import KafkaWire
import Telemetry

struct KafkaMetrics: Sendable {
    private let connections: Gauge
    private let refused: Counter
    private let latencies: [Histogram?]

    init(_ metrics: Metrics) {
        connections = metrics.gauge("martlet_kafka_connections", "Open Kafka connections.")
        refused = metrics.counter(
            "martlet_kafka_connections_refused_total", "Kafka connections closed because of what the client sent.")
        let family = metrics.histograms(
            "martlet_kafka_request_seconds", "Time from reading a Kafka request to its reply, by API.",
            labels: ["api"])
        var latencies: [Histogram?] = []
        for entry in ApiTable.served {
            while latencies.count <= Int(entry.key.rawValue) { latencies.append(nil) }
            latencies[Int(entry.key.rawValue)] = family.with(entry.name)
        }
        self.latencies = latencies
    }

    func connectionOpened() { connections.add(1) }
    func connectionClosed() { connections.add(-1) }
    func connectionRefused() { refused.increment() }

    func requestFinished(apiKey: Int16, durationNs: Int) {
        guard latencies.indices.contains(Int(apiKey)) else { return }
        latencies[Int(apiKey)]?.observe(durationNs)
    }
}
