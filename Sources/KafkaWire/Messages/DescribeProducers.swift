// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeProducers (key 61, version 0; KIP-664): the producers that a
// partition remembers.

import NIOCore

package struct DescribeProducersRequest: FieldStructure {
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

    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.noTags()
    }
}

extension DescribeProducersRequest: KafkaRequest {
    package typealias Response = DescribeProducersResponse
    package static let apiKey = ApiKey.describeProducers

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeProducersResponse: FieldStructure {
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
        package var errorMessage: String?
        package var activeProducers: [ProducerState] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.array(&activeProducers)
            coder.noTags()
        }
    }

    package struct ProducerState: FieldStructure, Equatable, Sendable {
        package var producerId: Int64 = 0
        package var producerEpoch: Int32 = 0
        package var lastSequence: Int32 = -1
        /// Milliseconds since 1970 of the newest batch; -1 if none.
        package var lastTimestamp: Int64 = -1
        package var coordinatorEpoch: Int32 = 0
        /// First offset of the open transaction; -1 if none.
        package var currentTxnStartOffset: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&producerId)
            coder.int32(&producerEpoch)
            coder.int32(&lastSequence)
            coder.int64(&lastTimestamp)
            coder.int32(&coordinatorEpoch)
            coder.int64(&currentTxnStartOffset)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension DescribeProducersResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeProducers

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
