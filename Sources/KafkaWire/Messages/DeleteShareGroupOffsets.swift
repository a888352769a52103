// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DeleteShareGroupOffsets (key 92, version 0; KIP-932): a share group forgets
// topics.

import Bytes
import NIOCore

package struct DeleteShareGroupOffsetsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
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

extension DeleteShareGroupOffsetsRequest: KafkaRequest {
    package typealias Response = DeleteShareGroupOffsetsResponse
    package static let apiKey = ApiKey.deleteShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DeleteShareGroupOffsetsResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var topicId = TopicId.zero
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.uuid(&topicId)
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

extension DeleteShareGroupOffsetsResponse: KafkaResponse {
    package static let apiKey = ApiKey.deleteShareGroupOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
