// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: SyncGroup (key 14, versions 0-5): the leader hands in the assignment, every
// member gets its part.
//
// Throttle time since 1, static members since 3 (KIP-345), the protocol since 5, to be checked
// against the group's (KIP-559).

import NIOCore

package struct SyncGroupRequest: FieldStructure {
    package struct Assignment: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var assignment = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            coder.bytes(&assignment)
            coder.noTags()
        }
    }

    package var groupId = ""
    package var generationId: Int32 = 0
    package var memberId = ""
    package var groupInstanceId: String?
    package var protocolType: String?
    package var protocolName: String?
    package var assignments: [Assignment] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.int32(&generationId)
        coder.string(&memberId)
        if coder.version >= 3 { coder.string(&groupInstanceId) }
        if coder.version >= 5 {
            coder.string(&protocolType)
            coder.string(&protocolName)
        }
        coder.array(&assignments)
        coder.noTags()
    }
}

extension SyncGroupRequest: KafkaRequest {
    package typealias Response = SyncGroupResponse
    package static let apiKey = ApiKey.syncGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct SyncGroupResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var protocolType: String?
    package var protocolName: String?
    package var assignment = ByteBuffer()

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        coder.errorCode(&errorCode)
        if coder.version >= 5 {
            coder.string(&protocolType)
            coder.string(&protocolName)
        }
        coder.bytes(&assignment)
        coder.noTags()
    }
}

extension SyncGroupResponse: KafkaResponse {
    package static let apiKey = ApiKey.syncGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
