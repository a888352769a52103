// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: EndTxn (key 26, versions 0-5): commits or aborts a transaction.
//
// Since 5 (KIP-890) the broker raises the producer's epoch with every transaction and the response
// says what the next one has to use.

import NIOCore

package struct EndTxnRequest: FieldStructure {
    package var transactionalId = ""
    package var producerId: Int64 = 0
    package var producerEpoch: Int16 = 0
    /// True commits, false aborts.
    package var committed = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.int64(&producerId)
        coder.int16(&producerEpoch)
        coder.bool(&committed)
        coder.noTags()
    }
}

extension EndTxnRequest: KafkaRequest {
    package typealias Response = EndTxnResponse
    package static let apiKey = ApiKey.endTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct EndTxnResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    /// For the next transaction; -1 if the broker did not change it.
    package var producerId: Int64 = -1
    /// For the next transaction; -1 if the broker did not change it.
    package var producerEpoch: Int16 = -1

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        if coder.version >= 5 {
            coder.int64(&producerId)
            coder.int16(&producerEpoch)
        }
        coder.noTags()
    }
}

extension EndTxnResponse: KafkaResponse {
    package static let apiKey = ApiKey.endTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
