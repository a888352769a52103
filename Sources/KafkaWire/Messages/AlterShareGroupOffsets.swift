// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterShareGroupOffsets (key 91, version 0; KIP-932): where a share group is
// to start.

import Bytes
import NIOCore

package struct AlterShareGroupOffsetsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var startOffset: Int64 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&startOffset)
            coder.noTags()
        }
    }

    package var groupId = ""
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.array(&topics)
        coder.noTags()
    }
}

extension AlterShareGroupOffsetsRequest: KafkaRequest {
    package typealias Response = AlterShareGroupOffsetsResponse
    package static let apiKey = ApiKey.alterShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterShareGroupOffsetsResponse: FieldStructure {
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

extension AlterShareGroupOffsetsResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
