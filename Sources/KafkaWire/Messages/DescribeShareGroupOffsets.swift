// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeShareGroupOffsets (key 90, versions 0-1; KIP-932): where share groups
// start in partitions.
//
// The lag since 1 (KIP-1226).

import Bytes
import NIOCore

package struct DescribeShareGroupOffsetsRequest: FieldStructure {
    package struct Group: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        /// nil: all topics.
        package var topics: [Topic]?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            coder.array(&topics)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&groups)
        coder.noTags()
    }
}

extension DescribeShareGroupOffsetsRequest: KafkaRequest {
    package typealias Response = DescribeShareGroupOffsetsResponse
    package static let apiKey = ApiKey.describeShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeShareGroupOffsetsResponse: FieldStructure {
    package struct Group: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        package var topics: [Topic] = []
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            coder.array(&topics)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var topicId = TopicId.zero
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.uuid(&topicId)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        /// The first offset still to deliver; -1 if there is none yet.
        package var startOffset: Int64 = 0
        package var leaderEpoch: Int32 = 0
        /// Records still to deliver; -1 if unknown.
        package var lag: Int64 = -1
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&startOffset)
            coder.int32(&leaderEpoch)
            if coder.version >= 1 { coder.int64(&lag) }
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&groups)
        coder.noTags()
    }
}

extension DescribeShareGroupOffsetsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
