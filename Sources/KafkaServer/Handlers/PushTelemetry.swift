// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: PushTelemetry (key 72, KIP-714).
//
// Versions: 0.
// Behaviour: metrics of a client, checked (subscription, interval, compression, size) and counted, not kept: UNKNOWN_SUBSCRIPTION_ID,
//   THROTTLING_QUOTA_EXCEEDED, UNSUPPORTED_COMPRESSION_TYPE, TELEMETRY_TOO_LARGE, INVALID_RECORD if they cannot be
//   decompressed. A push that says it is the last may come early, and nothing is taken after it (INVALID_REQUEST).
// Deviations from Kafka: what is pushed is given to nobody.

import Bytes
import Engine
import KafkaWire

enum PushTelemetryHandler: KafkaHandler {
    static func handle(_ request: PushTelemetryRequest, _ exchange: Exchange) {
        var response = PushTelemetryResponse()
        response.errorCode = exchange.server.telemetry.push(
            request, exchange.traits(request.clientInstanceId), nowMs: exchange.engine.clock.nowMs())
        exchange.reply(response)
    }
}
