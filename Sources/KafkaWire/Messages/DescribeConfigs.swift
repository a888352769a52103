// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeConfigs (key 32, versions 1-4).
//
// Types and documentation of the options since 3 (KIP-569).

import NIOCore

package struct DescribeConfigsRequest: FieldStructure {
    package struct Resource: FieldStructure, Equatable, Sendable {
        /// One of `ConfigResourceType`, or unknown.
        package var resourceType: Int8 = 0
        package var resourceName = ""
        /// nil: all.
        package var configurationKeys: [String]? = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.stringArray(&configurationKeys, nullable: true)
            coder.noTags()
        }
    }

    package var resources: [Resource] = []
    package var includeSynonyms = false
    package var includeDocumentation = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&resources)
        coder.bool(&includeSynonyms)
        if coder.version >= 3 { coder.bool(&includeDocumentation) }
        coder.noTags()
    }
}

extension DescribeConfigsRequest: KafkaRequest {
    package typealias Response = DescribeConfigsResponse
    package static let apiKey = ApiKey.describeConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeConfigsResponse: FieldStructure {
    /// Where a value comes from: `configSource` and a synonym's `source`.
    package enum ConfigSource {
        package static let unknown: Int8 = -1
        package static let topic: Int8 = 1
        package static let dynamicBroker: Int8 = 2
        package static let dynamicDefaultBroker: Int8 = 3
        package static let staticBroker: Int8 = 4
        package static let defaultValue: Int8 = 5
        package static let dynamicBrokerLogger: Int8 = 6
        package static let clientMetrics: Int8 = 7
        package static let group: Int8 = 8
    }

    /// Values of `configType`.
    package enum ConfigType {
        package static let unknown: Int8 = 0
        package static let boolean: Int8 = 1
        package static let string: Int8 = 2
        package static let int: Int8 = 3
        package static let short: Int8 = 4
        package static let long: Int8 = 5
        package static let double: Int8 = 6
        package static let list: Int8 = 7
        package static let classType: Int8 = 8
        package static let password: Int8 = 9
    }

    package struct Result: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var resourceType: Int8 = 0
        package var resourceName = ""
        package var configs: [Config] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.array(&configs)
            coder.noTags()
        }
    }

    package struct Config: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var value: String?
        package var readOnly = false
        package var configSource = ConfigSource.unknown
        package var isSensitive = false
        package var synonyms: [Synonym] = []
        package var configType = ConfigType.unknown
        package var documentation: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&value)
            coder.bool(&readOnly)
            coder.int8(&configSource)
            coder.bool(&isSensitive)
            coder.array(&synonyms)
            if coder.version >= 3 {
                coder.int8(&configType)
                coder.string(&documentation)
            }
            coder.noTags()
        }
    }

    package struct Synonym: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var value: String?
        package var source = ConfigSource.unknown

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&value)
            coder.int8(&source)
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

extension DescribeConfigsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeConfigs

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
