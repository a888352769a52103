// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AddOffsetsToTxn (key 25, versions 0-4): a group's offsets become part of a
// transaction.
//
// The coordinator adds the group's partition of `__consumer_offsets` to the transaction; the
// offsets follow in TxnOffsetCommit.

import NIOCore

package struct AddOffsetsToTxnRequest: FieldStructure {
    package var transactionalId = ""
    package var producerId: Int64 = 0
    package var producerEpoch: Int16 = 0
    package var groupId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.int64(&producerId)
        coder.int16(&producerEpoch)
        coder.string(&groupId)
        coder.noTags()
    }
}

extension AddOffsetsToTxnRequest: KafkaRequest {
    package typealias Response = AddOffsetsToTxnResponse
    package static let apiKey = ApiKey.addOffsetsToTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AddOffsetsToTxnResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.noTags()
    }
}

extension AddOffsetsToTxnResponse: KafkaResponse {
    package static let apiKey = ApiKey.addOffsetsToTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
