// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: JoinGroup (key 11, versions 0-9): a member enters a rebalance of a classic
// group.
//
// Rebalance timeout since 1, throttle time since 2, MEMBER_ID_REQUIRED since 4 (KIP-394), static
// members since 5 (KIP-345), protocol type in the response since 7, a reason since 8 (KIP-800),
// "skip the assignment" since 9 (KIP-814). Versions 0 and 1 are still used by old librdkafka.

import NIOCore

package struct JoinGroupRequest: FieldStructure {
    /// An assignor the member supports, with its subscription in that assignor's form.
    package struct SupportedProtocol: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var metadata = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.bytes(&metadata)
            coder.noTags()
        }
    }

    package var groupId = ""
    package var sessionTimeoutMs: Int32 = 0
    /// -1 in version 0: the session timeout counts.
    package var rebalanceTimeoutMs: Int32 = -1
    /// Empty for a member that joins for the first time.
    package var memberId = ""
    package var groupInstanceId: String?
    package var protocolType = ""
    package var protocols: [SupportedProtocol] = []
    package var reason: String?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.int32(&sessionTimeoutMs)
        if coder.version >= 1 { coder.int32(&rebalanceTimeoutMs) }
        coder.string(&memberId)
        if coder.version >= 5 { coder.string(&groupInstanceId) }
        coder.string(&protocolType)
        coder.array(&protocols)
        if coder.version >= 8 { coder.string(&reason) }
        coder.noTags()
    }
}

extension JoinGroupRequest: KafkaRequest {
    package typealias Response = JoinGroupResponse
    package static let apiKey = ApiKey.joinGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct JoinGroupResponse: FieldStructure {
    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var groupInstanceId: String?
        package var metadata = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            if coder.version >= 5 { coder.string(&groupInstanceId) }
            coder.bytes(&metadata)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var generationId: Int32 = -1
    package var protocolType: String?
    /// Null is possible since version 7.
    package var protocolName: String? = ""
    package var leader = ""
    package var skipAssignment = false
    package var memberId = ""
    /// For the leader only; empty for the others.
    package var members: [Member] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 2 { coder.int32(&throttleTimeMs) }
        coder.errorCode(&errorCode)
        coder.int32(&generationId)
        if coder.version >= 7 { coder.string(&protocolType) }
        coder.string(&protocolName, nullable: coder.version >= 7)
        coder.string(&leader)
        if coder.version >= 9 { coder.bool(&skipAssignment) }
        coder.string(&memberId)
        coder.array(&members)
        coder.noTags()
    }
}

extension JoinGroupResponse: KafkaResponse {
    package static let apiKey = ApiKey.joinGroup

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
