// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DeleteGroups (key 42, versions 0-2).

import NIOCore

package struct DeleteGroupsRequest: FieldStructure {
    package var groupsNames: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&groupsNames)
        coder.noTags()
    }
}

extension DeleteGroupsRequest: KafkaRequest {
    package typealias Response = DeleteGroupsResponse
    package static let apiKey = ApiKey.deleteGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DeleteGroupsResponse: FieldStructure {
    package struct Result: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            coder.errorCode(&errorCode)
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

extension DeleteGroupsResponse: KafkaResponse {
    package static let apiKey = ApiKey.deleteGroups

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
