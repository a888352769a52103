// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: Heartbeat (key 12, versions 0-4): a member of a classic group is alive.
//
// Throttle time since 1, static members since 3 (KIP-345).

import NIOCore

package struct HeartbeatRequest: FieldStructure {
    package var groupId = ""
    package var generationId: Int32 = 0
    package var memberId = ""
    package var groupInstanceId: String?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.int32(&generationId)
        coder.string(&memberId)
        if coder.version >= 3 { coder.string(&groupInstanceId) }
        coder.noTags()
    }
}

extension HeartbeatRequest: KafkaRequest {
    package typealias Response = HeartbeatResponse
    package static let apiKey = ApiKey.heartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct HeartbeatResponse: FieldStructure {
    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int32(&throttleTimeMs) }
        coder.errorCode(&errorCode)
        coder.noTags()
    }
}

extension HeartbeatResponse: KafkaResponse {
    package static let apiKey = ApiKey.heartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
