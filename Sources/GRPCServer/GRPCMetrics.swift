// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the edge's numbers: connections, and calls and latency per method.

import GRPCWire
import Telemetry

struct GRPCMetrics: Sendable {
    private let connections: Gauge
    private let refused: Counter
    private let calls: MetricFamily<Counter>
    private let latencies: MetricFamily<Histogram>

    init(_ metrics: Metrics) {
        connections = metrics.gauge("martlet_grpc_connections", "Open HTTP/2 connections.")
        refused = metrics.counter(
            "martlet_grpc_connections_refused_total", "HTTP/2 connections closed because of what the client sent.")
        calls = metrics.counters(
            "martlet_grpc_calls_total", "Finished gRPC calls, by method and status code.",
            labels: ["method", "code"])
        latencies = metrics.histograms(
            "martlet_grpc_call_seconds", "Time from a gRPC call's headers to its status, by method.",
            labels: ["method"])
    }

    func connectionOpened() { connections.add(1) }
    func connectionClosed() { connections.add(-1) }
    func connectionRefused() { refused.increment() }

    func method(_ path: String) -> MethodMetrics {
        MethodMetrics(
            path: path, ok: calls.with(path, GRPCStatus.Code.ok.name), calls: calls,
            latency: latencies.with(path))
    }
}

/// The instruments of one method.
struct MethodMetrics: Sendable {
    let path: String
    let ok: Counter
    let calls: MetricFamily<Counter>
    let latency: Histogram

    func finished(_ code: GRPCStatus.Code, durationNs: Int) {
        if code == .ok { ok.increment() } else { calls.with(path, code.name).increment() }
        latency.observe(durationNs)
    }
}
