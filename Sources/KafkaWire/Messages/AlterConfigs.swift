// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AlterConfigs (key 33, versions 0-2; KIP-133): replaces the whole
// configuration of a resource.
//
// A key that is not named goes back to its default. IncrementalAlterConfigs is what newer clients
// use.

import NIOCore

package struct AlterConfigsRequest: FieldStructure {
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
        package var value: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&value)
            coder.noTags()
        }
    }

    package var resources: [Resource] = []
    /// Check, change nothing.
    package var validateOnly = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&resources)
        coder.bool(&validateOnly)
        coder.noTags()
    }
}

extension AlterConfigsRequest: KafkaRequest {
    package typealias Response = AlterConfigsResponse
    package static let apiKey = ApiKey.alterConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AlterConfigsResponse: FieldStructure {
    package struct Resource: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        /// One of `ConfigResourceType`, or unknown.
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
    package var responses: [Resource] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&responses)
        coder.noTags()
    }
}

extension AlterConfigsResponse: KafkaResponse {
    package static let apiKey = ApiKey.alterConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
