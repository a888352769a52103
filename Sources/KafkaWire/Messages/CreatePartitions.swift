// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: CreatePartitions (key 37, versions 0-3): a topic gets more partitions.

import NIOCore

package struct CreatePartitionsRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        /// The new total.
        package var count: Int32 = 0
        /// One for each new partition, or nil: the broker decides.
        package var assignments: [Assignment]? = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32(&count)
            coder.array(&assignments)
            coder.noTags()
        }
    }

    package struct Assignment: FieldStructure, Equatable, Sendable {
        package var brokerIds: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32Array(&brokerIds)
            coder.noTags()
        }
    }

    package var topics: [Topic] = []
    package var timeoutMs: Int32 = 0
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.int32(&timeoutMs)
        coder.bool(&validateOnly)
        coder.noTags()
    }
}

extension CreatePartitionsRequest: KafkaRequest {
    package typealias Response = CreatePartitionsResponse
    package static let apiKey = ApiKey.createPartitions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct CreatePartitionsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var results: [Result] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&results)
        coder.noTags()
    }
}

extension CreatePartitionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.createPartitions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
