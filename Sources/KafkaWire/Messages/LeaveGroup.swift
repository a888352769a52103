// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: LeaveGroup (key 13, versions 0-5): members leave a classic group.
//
// One member up to 2, many since 3 (static members can be removed by others, KIP-345), with a
// reason since 5 (KIP-800).

import NIOCore

package struct LeaveGroupRequest: FieldStructure {
    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var groupInstanceId: String?
        package var reason: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            coder.string(&groupInstanceId)
            if coder.version >= 5 { coder.string(&reason) }
            coder.noTags()
        }
    }

    package var groupId = ""
    /// Up to version 2.
    package var memberId = ""
    /// Since version 3.
    package var members: [Member] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        if coder.version <= 2 {
            coder.string(&memberId)
        } else {
            coder.array(&members)
        }
        coder.noTags()
    }
}

extension LeaveGroupRequest: KafkaRequest {
    package typealias Response = LeaveGroupResponse
    package static let apiKey = ApiKey.leaveGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct LeaveGroupResponse: FieldStructure {
    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var groupInstanceId: String?
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            coder.string(&groupInstanceId)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    /// Since version 3.
    package var members: [Member] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        coder.errorCode(&errorCode)
        if coder.version >= 3 { coder.array(&members) }
        coder.noTags()
    }
}

extension LeaveGroupResponse: KafkaResponse {
    package static let apiKey = ApiKey.leaveGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
