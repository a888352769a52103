// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: CreateAcls (key 30, versions 1-3; KIP-140).
//
// Pattern types (KIP-290) are in all versions here. Version 3 knows user resources and looks like
// 2.

import NIOCore

package struct CreateAclsRequest: FieldStructure {
    package struct Creation: FieldStructure, Equatable, Sendable {
        /// Kafka's number of the kind of resource: 2 topic, 3 group, 4 cluster, 5 transactional id.
        package var resourceType: Int8 = 0
        package var resourceName = ""
        /// 3 literal, 4 prefixed.
        package var resourcePatternType: Int8 = 3
        package var principal = ""
        package var host = ""
        /// Kafka's number of the ACL operation, 1 any, 2 all.
        package var operation: Int8 = 0
        /// 1 any, 2 deny, 3 allow.
        package var permissionType: Int8 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.int8(&resourcePatternType)
            coder.string(&principal)
            coder.string(&host)
            coder.int8(&operation)
            coder.int8(&permissionType)
            coder.noTags()
        }
    }

    package var creations: [Creation] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&creations)
        coder.noTags()
    }
}

extension CreateAclsRequest: KafkaRequest {
    package typealias Response = CreateAclsResponse
    package static let apiKey = ApiKey.createAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct CreateAclsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    /// In the order of the request.
    package var results: [Result] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&results)
        coder.noTags()
    }
}

extension CreateAclsResponse: KafkaResponse {
    package static let apiKey = ApiKey.createAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
