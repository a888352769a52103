// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: PushTelemetry (key 72, version 0; KIP-714): a client's metrics.

import Bytes
import NIOCore

package struct PushTelemetryRequest: FieldStructure {
    package var clientInstanceId = TopicId.zero
    package var subscriptionId: Int32 = 0
    /// The last push before the client ends.
    package var terminating = false
    /// Kafka's number of the codec that `metrics` are compressed with.
    package var compressionType: Int8 = 0
    /// OpenTelemetry MetricsData (protobuf), compressed.
    package var metrics = ByteBuffer()

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.uuid(&clientInstanceId)
        coder.int32(&subscriptionId)
        coder.bool(&terminating)
        coder.int8(&compressionType)
        coder.bytes(&metrics)
        coder.noTags()
    }
}

extension PushTelemetryRequest: KafkaRequest {
    package typealias Response = PushTelemetryResponse
    package static let apiKey = ApiKey.pushTelemetry

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct PushTelemetryResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.noTags()
    }
}

extension PushTelemetryResponse: KafkaResponse {
    package static let apiKey = ApiKey.pushTelemetry

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
