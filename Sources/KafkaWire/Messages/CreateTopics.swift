// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: CreateTopics (key 19, versions 2-7).
//
// The broker's defaults for partitions and replication (-1) since 4 (KIP-464), the configuration in
// the response since 5 (KIP-525), the topic id since 7.

import Bytes
import NIOCore

package struct CreateTopicsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        /// -1: the broker's default, or as assigned.
        package var numPartitions: Int32 = 0
        /// -1: the broker's default, or as assigned.
        package var replicationFactor: Int16 = 0
        package var assignments: [Assignment] = []
        package var configs: [Config] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32(&numPartitions)
            coder.int16(&replicationFactor)
            coder.array(&assignments)
            coder.array(&configs)
            coder.noTags()
        }
    }

    package struct Assignment: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var brokerIds: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int32Array(&brokerIds)
            coder.noTags()
        }
    }

    package struct Config: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var value: String?

        package init() {}

        package init(name: String, value: String?) {
            self.name = name
            self.value = value
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&value)
            coder.noTags()
        }
    }

    package var topics: [Topic] = []
    package var timeoutMs: Int32 = 60_000
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.int32(&timeoutMs)
        coder.bool(&validateOnly)
        coder.noTags()
    }
}

extension CreateTopicsRequest: KafkaRequest {
    package typealias Response = CreateTopicsResponse
    package static let apiKey = ApiKey.createTopics

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct CreateTopicsResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var topicId = TopicId.zero
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        /// Why `configs` is null, such as a missing right to see it.
        package var topicConfigErrorCode = KafkaErrorCode.none
        package var numPartitions: Int32 = -1
        package var replicationFactor: Int16 = -1
        package var configs: [Config]? = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            if coder.version >= 7 { coder.uuid(&topicId) }
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            if coder.version >= 5 {
                coder.int32(&numPartitions)
                coder.int16(&replicationFactor)
                coder.array(&configs)
            }
            var tags = coder.beginTags()
            while coder.next(&tags) {
                if coder.tag(0, &tags, present: topicConfigErrorCode != .none) {
                    coder.errorCode(&topicConfigErrorCode)
                }
            }
        }
    }

    package struct Config: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var value: String?
        package var readOnly = false
        package var configSource: Int8 = -1
        package var isSensitive = false

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&value)
            coder.bool(&readOnly)
            coder.int8(&configSource)
            coder.bool(&isSensitive)
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

extension CreateTopicsResponse: KafkaResponse {
    package static let apiKey = ApiKey.createTopics

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
