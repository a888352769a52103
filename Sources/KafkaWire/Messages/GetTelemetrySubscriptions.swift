// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: GetTelemetrySubscriptions (key 71, version 0; KIP-714): which metrics a
// client is to push.

import Bytes
import NIOCore

package struct GetTelemetrySubscriptionsRequest: FieldStructure {
    /// Zero in the first request.
    package var clientInstanceId = TopicId.zero

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.uuid(&clientInstanceId)
        coder.noTags()
    }
}

extension GetTelemetrySubscriptionsRequest: KafkaRequest {
    package typealias Response = GetTelemetrySubscriptionsResponse
    package static let apiKey = ApiKey.getTelemetrySubscriptions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct GetTelemetrySubscriptionsResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    /// The id to use from now on if the request had none; else zero.
    package var clientInstanceId = TopicId.zero
    package var subscriptionId: Int32 = 0
    /// Kafka's numbers of codecs, the preferred one first.
    package var acceptedCompressionTypes: [Int8] = []
    package var pushIntervalMs: Int32 = 0
    package var telemetryMaxBytes: Int32 = 0
    /// Counters are to be sent as differences, not as totals.
    package var deltaTemporality = false
    /// Prefixes of metric names; one empty prefix is all, none at all is none.
    package var requestedMetrics: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.uuid(&clientInstanceId)
        coder.int32(&subscriptionId)
        coder.int8Array(&acceptedCompressionTypes)
        coder.int32(&pushIntervalMs)
        coder.int32(&telemetryMaxBytes)
        coder.bool(&deltaTemporality)
        coder.stringArray(&requestedMetrics)
        coder.noTags()
    }
}

extension GetTelemetrySubscriptionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.getTelemetrySubscriptions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
