// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeGroups (key 15, versions 0-6): classic groups and their members.
//
// Throttle time since 1, authorised operations since 3 (KIP-430), static members since 4 (KIP-345),
// an error message since 6, when an unknown group also became an error (KIP-1043).

import NIOCore

package struct DescribeGroupsRequest: FieldStructure {
    package var groups: [String] = []
    package var includeAuthorizedOperations = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&groups)
        if coder.version >= 3 { coder.bool(&includeAuthorizedOperations) }
        coder.noTags()
    }
}

extension DescribeGroupsRequest: KafkaRequest {
    package typealias Response = DescribeGroupsResponse
    package static let apiKey = ApiKey.describeGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeGroupsResponse: FieldStructure {
    package struct Group: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var groupId = ""
        package var groupState = ""
        package var protocolType = ""
        /// The chosen assignor.
        package var protocolData = ""
        package var members: [Member] = []
        package var authorizedOperations = AuthorizedOperations.omitted

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            if coder.version >= 6 { coder.string(&errorMessage) }
            coder.string(&groupId)
            coder.string(&groupState)
            coder.string(&protocolType)
            coder.string(&protocolData)
            coder.array(&members)
            if coder.version >= 3 { coder.int32(&authorizedOperations) }
            coder.noTags()
        }
    }

    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var groupInstanceId: String?
        package var clientId = ""
        package var clientHost = ""
        package var memberMetadata = ByteBuffer()
        package var memberAssignment = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            if coder.version >= 4 { coder.string(&groupInstanceId) }
            coder.string(&clientId)
            coder.string(&clientHost)
            coder.bytes(&memberMetadata)
            coder.bytes(&memberAssignment)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        coder.array(&groups)
        coder.noTags()
    }
}

extension DescribeGroupsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
