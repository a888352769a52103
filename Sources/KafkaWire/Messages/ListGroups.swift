// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ListGroups (key 16, versions 0-5).
//
// Throttle time since 1, a filter by state since 4 (KIP-518), by type since 5 (KIP-848).

import NIOCore

package struct ListGroupsRequest: FieldStructure {
    /// Empty: all states.
    package var statesFilter: [String] = []
    /// Empty: all types.
    package var typesFilter: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 4 { coder.stringArray(&statesFilter) }
        if coder.version >= 5 { coder.stringArray(&typesFilter) }
        coder.noTags()
    }
}

extension ListGroupsRequest: KafkaRequest {
    package typealias Response = ListGroupsResponse
    package static let apiKey = ApiKey.listGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ListGroupsResponse: FieldStructure {
    package struct Group: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        package var protocolType = ""
        package var groupState = ""
        package var groupType = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            coder.string(&protocolType)
            if coder.version >= 4 { coder.string(&groupState) }
            if coder.version >= 5 { coder.string(&groupType) }
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        coder.errorCode(&errorCode)
        coder.array(&groups)
        coder.noTags()
    }
}

extension ListGroupsResponse: KafkaResponse {
    package static let apiKey = ApiKey.listGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
