// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DeleteAcls (key 31, versions 1-3; KIP-140).
//
// Filters as in DescribeAcls; the response says what each of them deleted.

import NIOCore

package struct DeleteAclsRequest: FieldStructure {
    package struct Filter: FieldStructure, Equatable, Sendable {
        /// Kafka's number of the kind of resource: 2 topic, 3 group, 4 cluster, 5 transactional id.
        /// 1 any.
        package var resourceTypeFilter: Int8 = 0
        package var resourceNameFilter: String?
        /// 1 any, 2 match, 3 literal, 4 prefixed.
        package var patternTypeFilter: Int8 = 3
        package var principalFilter: String?
        package var hostFilter: String?
        /// Kafka's number of the ACL operation, 1 any, 2 all.
        package var operation: Int8 = 0
        /// 1 any, 2 deny, 3 allow.
        package var permissionType: Int8 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&resourceTypeFilter)
            coder.string(&resourceNameFilter)
            coder.int8(&patternTypeFilter)
            coder.string(&principalFilter)
            coder.string(&hostFilter)
            coder.int8(&operation)
            coder.int8(&permissionType)
            coder.noTags()
        }
    }

    package var filters: [Filter] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&filters)
        coder.noTags()
    }
}

extension DeleteAclsRequest: KafkaRequest {
    package typealias Response = DeleteAclsResponse
    package static let apiKey = ApiKey.deleteAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DeleteAclsResponse: FieldStructure {
    package struct FilterResult: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var matchingAcls: [MatchingAcl] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.array(&matchingAcls)
            coder.noTags()
        }
    }

    package struct MatchingAcl: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        /// Kafka's number of the kind of resource: 2 topic, 3 group, 4 cluster, 5 transactional id.
        package var resourceType: Int8 = 0
        package var resourceName = ""
        /// 3 literal, 4 prefixed.
        package var patternType: Int8 = 3
        package var principal = ""
        package var host = ""
        /// Kafka's number of the ACL operation, 1 any, 2 all.
        package var operation: Int8 = 0
        /// 1 any, 2 deny, 3 allow.
        package var permissionType: Int8 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.int8(&patternType)
            coder.string(&principal)
            coder.string(&host)
            coder.int8(&operation)
            coder.int8(&permissionType)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    /// In the order of the request.
    package var filterResults: [FilterResult] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&filterResults)
        coder.noTags()
    }
}

extension DeleteAclsResponse: KafkaResponse {
    package static let apiKey = ApiKey.deleteAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
