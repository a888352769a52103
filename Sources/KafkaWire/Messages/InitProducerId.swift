// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: InitProducerId (key 22, versions 0-5): an id for an idempotent or
// transactional producer.
//
// The producer says what id and epoch it has since 3 (KIP-360).

import NIOCore

package struct InitProducerIdRequest: FieldStructure {
    /// nil for a producer that is only idempotent.
    package var transactionalId: String?
    package var transactionTimeoutMs: Int32 = 0
    package var producerId: Int64 = -1
    package var producerEpoch: Int16 = -1

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.int32(&transactionTimeoutMs)
        if coder.version >= 3 {
            coder.int64(&producerId)
            coder.int16(&producerEpoch)
        }
        coder.noTags()
    }
}

extension InitProducerIdRequest: KafkaRequest {
    package typealias Response = InitProducerIdResponse
    package static let apiKey = ApiKey.initProducerId

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct InitProducerIdResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var producerId: Int64 = -1
    package var producerEpoch: Int16 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.int64(&producerId)
        coder.int16(&producerEpoch)
        coder.noTags()
    }
}

extension InitProducerIdResponse: KafkaResponse {
    package static let apiKey = ApiKey.initProducerId

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
