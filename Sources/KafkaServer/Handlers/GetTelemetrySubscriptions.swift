// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: GetTelemetrySubscriptions (key 71, KIP-714).
//
// Versions: 0.
// Behaviour: which metrics this client is to push and how often, by the subscriptions that match it: their metrics together, the
//   shortest interval. None matches: no metrics, every five minutes. A client without an id gets one. A client that asks
//   again before its interval is over is THROTTLING_QUOTA_EXCEEDED, unless the configuration has changed.
// Deviations from Kafka: Kafka hides this API where no plugin takes the metrics; here they are counted.

import Bytes
import Engine
import KafkaWire
import Records

enum GetTelemetrySubscriptionsHandler: KafkaHandler {
    static func handle(_ request: GetTelemetrySubscriptionsRequest, _ exchange: Exchange) {
        var response = GetTelemetrySubscriptionsResponse()
        let id =
            request.clientInstanceId == .zero
            ? TopicId(random: { .random(in: .min ... .max) }) : request.clientInstanceId
        let found = exchange.server.telemetry.subscription(
            of: id, exchange.traits(id), nowMs: exchange.engine.clock.nowMs())
        switch found {
        case .failure(let refusal): response.errorCode = refusal.code
        case .success(let subscription):
            response.clientInstanceId = id
            response.subscriptionId = subscription.id
            response.acceptedCompressionTypes = [CompressionType.zstd, .lz4, .gzip, .snappy].map { Int8($0.rawValue) }
            response.pushIntervalMs = Int32(clamping: subscription.intervalMs)
            response.telemetryMaxBytes = Int32(Limits.telemetryBytes)
            response.deltaTemporality = true
            response.requestedMetrics = subscription.metrics
        }
        exchange.reply(response)
    }
}
