// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: IncrementalAlterConfigs (key 44, versions 0-1; KIP-339).

import NIOCore

package struct IncrementalAlterConfigsRequest: FieldStructure {
    /// Values of `configOperation`.
    package enum Operation {
        package static let set: Int8 = 0
        package static let delete: Int8 = 1
        package static let append: Int8 = 2
        package static let subtract: Int8 = 3
    }

    package struct Resource: FieldStructure, Equatable, Sendable {
        /// One of `ConfigResourceType`, or unknown.
        package var resourceType: Int8 = 0
        package var resourceName = ""
        package var configs: [Config] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.array(&configs)
            coder.noTags()
        }
    }

    package struct Config: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var configOperation = Operation.set
        package var value: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int8(&configOperation)
            coder.string(&value)
            coder.noTags()
        }
    }

    package var resources: [Resource] = []
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&resources)
        coder.bool(&validateOnly)
        coder.noTags()
    }
}

extension IncrementalAlterConfigsRequest: KafkaRequest {
    package typealias Response = IncrementalAlterConfigsResponse
    package static let apiKey = ApiKey.incrementalAlterConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct IncrementalAlterConfigsResponse: FieldStructure {
    package struct Resource: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var resourceType: Int8 = 0
        package var resourceName = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var resources: [Resource] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&resources)
        coder.noTags()
    }
}

extension IncrementalAlterConfigsResponse: KafkaResponse {
    package static let apiKey = ApiKey.incrementalAlterConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
