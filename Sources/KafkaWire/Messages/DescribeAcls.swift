// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeAcls (key 29, versions 1-3; KIP-140).
//
// Pattern types (KIP-290) are in all versions here. Filters that are nil match everything. Version
// 3 knows user resources and looks like 2.

import NIOCore

package struct DescribeAclsRequest: FieldStructure {
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

extension DescribeAclsRequest: KafkaRequest {
    package typealias Response = DescribeAclsResponse
    package static let apiKey = ApiKey.describeAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeAclsResponse: FieldStructure {
    package struct Resource: FieldStructure, Equatable, Sendable {
        /// Kafka's number of the kind of resource: 2 topic, 3 group, 4 cluster, 5 transactional id.
        package var resourceType: Int8 = 0
        package var resourceName = ""
        /// 3 literal, 4 prefixed.
        package var patternType: Int8 = 3
        package var acls: [Acl] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int8(&resourceType)
            coder.string(&resourceName)
            coder.int8(&patternType)
            coder.array(&acls)
            coder.noTags()
        }
    }

    package struct Acl: FieldStructure, Equatable, Sendable {
        package var principal = ""
        package var host = ""
        /// Kafka's number of the ACL operation, 1 any, 2 all.
        package var operation: Int8 = 0
        /// 1 any, 2 deny, 3 allow.
        package var permissionType: Int8 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&principal)
            coder.string(&host)
            coder.int8(&operation)
            coder.int8(&permissionType)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var resources: [Resource] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.array(&resources)
        coder.noTags()
    }
}

extension DescribeAclsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeAcls

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
