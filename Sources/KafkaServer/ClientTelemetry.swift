// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: which clients push which metrics how often (KIP-714), by the subscriptions that are configured.
//
// Remembers each client for as long as it comes back, a bounded number of them; nothing survives a restart. What is
// pushed is checked and counted, not kept. One lock guards the table; it is held for one look-up or change.

import Bytes
import Engine
import KafkaWire
import NIOConcurrencyHelpers
import NIOCore
import Records
import Telemetry
import Transport

final class ClientTelemetry: Sendable {
    /// What a pattern of a subscription may look at, by parameter.
    typealias Traits = [String: String]

    /// How a client is to push.
    struct Subscription: Equatable, Sendable {
        var id: Int32
        var metrics: [String]
        var intervalMs: Int64
    }

    private struct Client {
        var subscription: Subscription
        /// Of the rules that the subscription was made from.
        var generation: Int
        var lastGetMs: Int64 = 0
        var lastPushMs: Int64 = 0
        var lastSeenMs: Int64
        var isTerminating = false
        var mayAskAgain = false
    }

    /// A subscription as it was configured.
    private struct Rule: Equatable {
        var metrics: [String]
        var intervalMs: Int32
        var patterns: [String: ClientPattern]
    }

    private struct State {
        var clients: [TopicId: Client] = [:]
        var rules: [Rule] = []
        var generation = 0
        /// Of the configurations that the rules were read from.
        var revision = -1
    }

    /// Kafka forgets a client that was silent for a minute, or for three of its intervals if that is longer.
    private static let silenceMs: Int64 = 60_000

    private let configurations: ResourceConfigurations
    private let state = NIOLockedValueBox(State())
    private let pushes: Counter
    private let bytes: Counter
    private let refusals: Counter
    private let known: Gauge

    init(configurations: ResourceConfigurations, metrics: Metrics) {
        self.configurations = configurations
        pushes = metrics.counter("martlet_kafka_telemetry_pushes_total", "Pushes of clients' metrics that were accepted.")
        bytes = metrics.counter("martlet_kafka_telemetry_bytes_total", "Bytes of clients' metrics that were accepted, as sent.")
        refusals = metrics.counter("martlet_kafka_telemetry_refused_total", "Pushes of clients' metrics that were refused.")
        known = metrics.gauge("martlet_kafka_telemetry_clients", "Clients whose telemetry is known.")
    }

    /// What the client is to push; a code if it asks too soon.
    func subscription(
        of id: TopicId, _ traits: Traits, nowMs: Int64
    ) -> Result<Subscription, Refusal> {
        withClient(id, traits, nowMs) { client in
            let elapsed = nowMs - max(client.lastGetMs, client.lastPushMs)
            guard elapsed >= client.subscription.intervalMs || client.mayAskAgain else {
                return .failure(Refusal(code: .throttlingQuotaExceeded))
            }
            client.lastGetMs = nowMs
            client.mayAskAgain = false
            return .success(client.subscription)
        }
    }

    struct Refusal: Error, Equatable {
        var code: KafkaErrorCode
    }

    /// Checks a push and counts it.
    func push(_ request: PushTelemetryRequest, _ traits: Traits, nowMs: Int64) -> KafkaErrorCode {
        guard !Self.reserved.contains(request.clientInstanceId) else { return .invalidRequest }
        var code = withClient(request.clientInstanceId, traits, nowMs) { client in
            let code = Self.refusal(of: request, by: &client, nowMs)
            client.isTerminating = client.isTerminating || request.terminating
            client.mayAskAgain = code == .unknownSubscriptionId || code == .unsupportedCompressionType
            return code
        }
        if code == .none, !Self.isReadable(request) { code = .invalidRecord }
        if code == .none {
            pushes.increment()
            bytes.add(request.metrics.readableBytes)
        } else {
            refusals.increment()
        }
        return code
    }

    /// Zero, one, and the id of Kafka's metadata topic, which is one too.
    private static let reserved: Set<TopicId> = [.zero, TopicId(high: 0, low: 1)]

    private static func refusal(of request: PushTelemetryRequest, by client: inout Client, _ nowMs: Int64) -> KafkaErrorCode {
        if client.isTerminating { return .invalidRequest }
        // The first push after a subscription was asked for may come early: clients spread theirs.
        let isDue = client.lastGetMs > client.lastPushMs || nowMs - client.lastPushMs >= client.subscription.intervalMs
        if isDue { client.lastPushMs = nowMs }
        guard isDue || request.terminating else { return .throttlingQuotaExceeded }
        guard request.subscriptionId == client.subscription.id else { return .unknownSubscriptionId }
        guard compression(request) != nil else { return .unsupportedCompressionType }
        return request.metrics.readableBytes > Limits.telemetryBytes ? .telemetryTooLarge : .none
    }

    private static func compression(_ request: PushTelemetryRequest) -> CompressionType? {
        UInt8(exactly: request.compressionType).flatMap(CompressionType.init(rawValue:))
    }

    private static func isReadable(_ request: PushTelemetryRequest) -> Bool {
        guard request.metrics.readableBytes > 0, let type = compression(request), type != .none else { return true }
        do throws(RecordError) {
            _ = try Decompressor().decompress(request.metrics, type, limit: Limits.decompressedTelemetryBytes)
            return true
        } catch {
            return false
        }
    }
}

// MARK: - The table

extension ClientTelemetry {
    /// The client, known or new, with the subscription that the configurations give it now.
    private func withClient<T>(_ id: TopicId, _ traits: Traits, _ nowMs: Int64, _ body: (inout Client) -> T) -> T {
        state.withLockedValue { state in
            refresh(&state)
            var client = state.clients[id]
            if let old = client {
                let silence = max(Self.silenceMs, 3 * old.subscription.intervalMs)
                if old.generation != state.generation || nowMs - old.lastSeenMs > silence { client = nil }
            }
            var current = client ?? Client(
                subscription: Self.subscription(id, traits, state.rules), generation: state.generation, lastSeenMs: nowMs)
            current.lastSeenMs = nowMs
            let answer = body(&current)
            if state.clients[id] == nil { makeRoom(&state) }
            state.clients[id] = current
            known.set(state.clients.count)
            return answer
        }
    }

    /// Reads the subscriptions again if any configuration has changed.
    private func refresh(_ state: inout State) {
        let revision = configurations.revision
        guard state.revision != revision else { return }
        state.revision = revision
        let rules = configurations.names(of: .clientMetrics).map { name in
            let overrides = configurations.overrides(of: ConfigurationResource(.clientMetrics, name))
            let patterns = try? ClientMetricsKeys.patterns(overrides)  // was checked when it was set
            return Rule(
                metrics: ClientMetricsKeys.items(overrides[ClientMetricsKeys.metrics] ?? ""),
                intervalMs: overrides[ClientMetricsKeys.interval].flatMap { Int32($0) } ?? ClientMetricsKeys.usualIntervalMs,
                patterns: patterns ?? [:])
        }
        guard rules != state.rules else { return }
        state.rules = rules
        state.generation += 1
    }

    /// Forgets those who were silent longest, a sixteenth at once, so that a newcomer costs little.
    private func makeRoom(_ state: inout State) {
        guard state.clients.count >= Limits.telemetryClients else { return }
        let oldest = state.clients.sorted { $0.value.lastSeenMs < $1.value.lastSeenMs }.prefix(Limits.telemetryClients / 16)
        for (id, _) in oldest { state.clients[id] = nil }
    }

    private static func subscription(_ id: TopicId, _ traits: Traits, _ rules: [Rule]) -> Subscription {
        var metrics: Set<String> = []
        var intervalMs = ClientMetricsKeys.usualIntervalMs
        for rule in rules {
            let fits = rule.patterns.allSatisfy { parameter, pattern in
                traits[parameter].map { pattern.matches($0) } ?? false
            }
            guard fits else { continue }
            metrics.formUnion(rule.metrics)
            intervalMs = min(intervalMs, rule.intervalMs)
        }
        if metrics.contains("*") { metrics = ["*"] }
        let names = metrics.sorted()
        return Subscription(
            id: number(names, intervalMs, id), metrics: names, intervalMs: Int64(intervalMs))
    }

    /// Changes with the metrics and the interval, and differs from client to client, as Kafka's does.
    private static func number(_ metrics: [String], _ intervalMs: Int32, _ id: TopicId) -> Int32 {
        let crc = crc32c(of: "[\(metrics.joined(separator: ", "))]\(intervalMs)")
        let mixed = id.high ^ id.low
        return Int32(bitPattern: crc ^ UInt32(truncatingIfNeeded: mixed >> 32) ^ UInt32(truncatingIfNeeded: mixed))
    }
}

extension Exchange {
    /// What subscriptions to client metrics can tell clients apart by.
    func traits(_ clientInstanceId: TopicId) -> ClientTelemetry.Traits {
        [
            "client_instance_id": "\(clientInstanceId)",
            "client_id": connection.clientId ?? "",
            "client_software_name": connection.software.name,
            "client_software_version": connection.software.version,
            "client_source_address": connection.peer.remoteAddress,
            "client_source_port": "\(connection.peer.remotePort)",
        ]
    }
}
