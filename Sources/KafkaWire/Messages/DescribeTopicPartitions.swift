// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeTopicPartitions (key 75, version 0; KIP-966): topics and partitions
// page by page.

import Bytes
import NIOCore

package struct DescribeTopicPartitionsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.noTags()
        }
    }

    /// Where a page begins.
    package struct Cursor: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitionIndex: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.int32(&partitionIndex)
            coder.noTags()
        }
    }

    /// Empty: all topics.
    package var topics: [Topic] = []
    package var responsePartitionLimit: Int32 = 2000
    /// nil: from the beginning.
    package var cursor: Cursor?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.int32(&responsePartitionLimit)
        coder.structure(&cursor)
        coder.noTags()
    }
}

extension DescribeTopicPartitionsRequest: KafkaRequest {
    package typealias Response = DescribeTopicPartitionsResponse
    package static let apiKey = ApiKey.describeTopicPartitions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeTopicPartitionsResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var name: String?
        package var topicId = TopicId.zero
        package var isInternal = false
        package var partitions: [Partition] = []
        /// Bit n is ACL operation n.
        package var topicAuthorizedOperations = AuthorizedOperations.omitted

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&name)
            coder.uuid(&topicId)
            coder.bool(&isInternal)
            coder.array(&partitions)
            coder.int32(&topicAuthorizedOperations)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var partitionIndex: Int32 = 0
        package var leaderId: Int32 = 0
        package var leaderEpoch: Int32 = -1
        package var replicaNodes: [Int32] = []
        package var isrNodes: [Int32] = []
        /// Replicas out of sync that have everything committed; nil if not kept.
        package var eligibleLeaderReplicas: [Int32]?
        /// Lost replicas that had everything committed; nil if not kept.
        package var lastKnownElr: [Int32]?
        package var offlineReplicas: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.int32(&partitionIndex)
            coder.int32(&leaderId)
            coder.int32(&leaderEpoch)
            coder.int32Array(&replicaNodes)
            coder.int32Array(&isrNodes)
            coder.int32Array(&eligibleLeaderReplicas, nullable: true)
            coder.int32Array(&lastKnownElr, nullable: true)
            coder.int32Array(&offlineReplicas)
            coder.noTags()
        }
    }

    /// Where a page begins.
    package struct Cursor: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitionIndex: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.int32(&partitionIndex)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var topics: [Topic] = []
    /// nil: this was the last page.
    package var nextCursor: Cursor?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&topics)
        coder.structure(&nextCursor)
        coder.noTags()
    }
}

extension DescribeTopicPartitionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeTopicPartitions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
