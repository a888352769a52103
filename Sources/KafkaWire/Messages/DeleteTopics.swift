// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DeleteTopics (key 20, versions 1-6).
//
// By name up to 5; since 6 by name or by id (KIP-516), and the response's name is null for an id
// that nobody knows. An error message since 5.

import Bytes
import NIOCore

package struct DeleteTopicsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name: String?
        package var topicId = TopicId.zero

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.uuid(&topicId)
            coder.noTags()
        }
    }

    /// Since version 6.
    package var topics: [Topic] = []
    /// Up to version 5.
    package var topicNames: [String] = []
    package var timeoutMs: Int32 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 6 {
            coder.array(&topics)
        } else {
            coder.stringArray(&topicNames)
        }
        coder.int32(&timeoutMs)
        coder.noTags()
    }
}

extension DeleteTopicsRequest: KafkaRequest {
    package typealias Response = DeleteTopicsResponse
    package static let apiKey = ApiKey.deleteTopics

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DeleteTopicsResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name: String? = ""
        package var topicId = TopicId.zero
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name, nullable: coder.version >= 6)
            if coder.version >= 6 { coder.uuid(&topicId) }
            coder.errorCode(&errorCode)
            if coder.version >= 5 { coder.string(&errorMessage) }
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

extension DeleteTopicsResponse: KafkaResponse {
    package static let apiKey = ApiKey.deleteTopics

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
