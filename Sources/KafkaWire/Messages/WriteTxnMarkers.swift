// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: WriteTxnMarkers (key 27, version 1): the ends of transactions, for the
// partitions they wrote to.
//
// Between coordinator and leaders. Of use to administrators for a transaction that hangs (KIP-664).

import NIOCore

package struct WriteTxnMarkersRequest: FieldStructure {
    package struct Marker: FieldStructure, Equatable, Sendable {
        package var producerId: Int64 = 0
        package var producerEpoch: Int16 = 0
        /// True for a commit, false for an abort.
        package var transactionResult = false
        package var topics: [Topic] = []
        package var coordinatorEpoch: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&producerId)
            coder.int16(&producerEpoch)
            coder.bool(&transactionResult)
            coder.array(&topics)
            coder.int32(&coordinatorEpoch)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitionIndexes: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32Array(&partitionIndexes)
            coder.noTags()
        }
    }

    package var markers: [Marker] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&markers)
        coder.noTags()
    }
}

extension WriteTxnMarkersRequest: KafkaRequest {
    package typealias Response = WriteTxnMarkersResponse
    package static let apiKey = ApiKey.writeTxnMarkers

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct WriteTxnMarkersResponse: FieldStructure {
    package struct Marker: FieldStructure, Equatable, Sendable {
        package var producerId: Int64 = 0
        package var topics: [Topic] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&producerId)
            coder.array(&topics)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package var markers: [Marker] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&markers)
        coder.noTags()
    }
}

extension WriteTxnMarkersResponse: KafkaResponse {
    package static let apiKey = ApiKey.writeTxnMarkers

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
