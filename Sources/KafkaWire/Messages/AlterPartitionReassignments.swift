// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterPartitionReassignments (key 45, version 0; KIP-455).

import NIOCore

package struct AlterPartitionReassignmentsRequest: FieldStructure {
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
        /// The replicas to move to; nil cancels a reassignment under way.
        package var replicas: [Int32]?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int32Array(&replicas, nullable: true)
            coder.noTags()
        }
    }

    package var timeoutMs: Int32 = 60000
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&timeoutMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension AlterPartitionReassignmentsRequest: KafkaRequest {
    package typealias Response = AlterPartitionReassignmentsResponse
    package static let apiKey = ApiKey.alterPartitionReassignments

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterPartitionReassignmentsResponse: FieldStructure {
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

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var responses: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.array(&responses)
        coder.noTags()
    }
}

extension AlterPartitionReassignmentsResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterPartitionReassignments

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
