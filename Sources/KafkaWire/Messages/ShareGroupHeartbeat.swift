// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ShareGroupHeartbeat (key 76, version 1; KIP-932): joins, keeps and leaves a
// share group.
//
// Fields that did not change since the last heartbeat are nil. Version 0 was a preview and is not
// spoken.

import Bytes
import NIOCore

package struct ShareGroupHeartbeatRequest: FieldStructure {
    package var groupId = ""
    package var memberId = ""
    /// -1 leaves the group, 0 joins it.
    package var memberEpoch: Int32 = 0
    package var rackId: String?
    package var subscribedTopicNames: [String]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.int32(&memberEpoch)
        coder.string(&rackId)
        coder.stringArray(&subscribedTopicNames, nullable: true)
        coder.noTags()
    }
}

extension ShareGroupHeartbeatRequest: KafkaRequest {
    package typealias Response = ShareGroupHeartbeatResponse
    package static let apiKey = ApiKey.shareGroupHeartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ShareGroupHeartbeatResponse: FieldStructure {
    package struct Assignment: FieldStructure, Equatable, Sendable {
        package var topicPartitions: [TopicPartitions] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.array(&topicPartitions)
            coder.noTags()
        }
    }

    package struct TopicPartitions: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var memberId: String?
    package var memberEpoch: Int32 = 0
    package var heartbeatIntervalMs: Int32 = 0
    /// nil: unchanged.
    package var assignment: Assignment?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.string(&memberId)
        coder.int32(&memberEpoch)
        coder.int32(&heartbeatIntervalMs)
        coder.structure(&assignment)
        coder.noTags()
    }
}

extension ShareGroupHeartbeatResponse: KafkaResponse {
    package static let apiKey = ApiKey.shareGroupHeartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
