// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ListConfigResources (key 74, versions 0-1; KIP-1142).
//
// Version 0 (KIP-714, there named ListClientMetricsResources) asks for client metrics resources
// only; types are since 1.

import NIOCore

package struct ListConfigResourcesRequest: FieldStructure {
    /// `ConfigResourceType`s; empty: all.
    package var resourceTypes: [Int8] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int8Array(&resourceTypes) }
        coder.noTags()
    }
}

extension ListConfigResourcesRequest: KafkaRequest {
    package typealias Response = ListConfigResourcesResponse
    package static let apiKey = ApiKey.listConfigResources

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ListConfigResourcesResponse: FieldStructure {
    package struct ConfigResource: FieldStructure, Equatable, Sendable {
        package var resourceName = ""
        /// One of `ConfigResourceType`.
        package var resourceType: Int8 = 16

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&resourceName)
            if coder.version >= 1 { coder.int8(&resourceType) }
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var configResources: [ConfigResource] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.array(&configResources)
        coder.noTags()
    }
}

extension ListConfigResourcesResponse: KafkaResponse {
    package static let apiKey = ApiKey.listConfigResources

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
