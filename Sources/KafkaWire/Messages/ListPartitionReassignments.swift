// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ListPartitionReassignments (key 46, version 0; KIP-455).

import NIOCore

package struct ListPartitionReassignmentsRequest: FieldStructure {
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

    package var timeoutMs: Int32 = 60000
    /// nil: all topics.
    package var topics: [Topic]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&timeoutMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension ListPartitionReassignmentsRequest: KafkaRequest {
    package typealias Response = ListPartitionReassignmentsResponse
    package static let apiKey = ApiKey.listPartitionReassignments

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ListPartitionReassignmentsResponse: FieldStructure {
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
        package var replicas: [Int32] = []
        package var addingReplicas: [Int32] = []
        package var removingReplicas: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int32Array(&replicas)
            coder.int32Array(&addingReplicas)
            coder.int32Array(&removingReplicas)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.array(&topics)
        coder.noTags()
    }
}

extension ListPartitionReassignmentsResponse: KafkaResponse {
    package static let apiKey = ApiKey.listPartitionReassignments

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
