// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ConsumerGroupHeartbeat (key 68, versions 0-1; KIP-848): joins, keeps and
// leaves a group whose assignments the broker makes.
//
// Fields that did not change since the last heartbeat are nil. Since 1 the client names the member
// itself and may subscribe by a regular expression.

import Bytes
import NIOCore

package struct ConsumerGroupHeartbeatRequest: FieldStructure {
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

    package var groupId = ""
    package var memberId = ""
    /// -1 leaves the group, -2 leaves it for a while (static members), 0 joins it.
    package var memberEpoch: Int32 = 0
    package var instanceId: String?
    package var rackId: String?
    /// -1 if unchanged since the last heartbeat.
    package var rebalanceTimeoutMs: Int32 = -1
    package var subscribedTopicNames: [String]?
    /// In the syntax of RE2.
    package var subscribedTopicRegex: String?
    /// nil: the broker chooses, or unchanged.
    package var serverAssignor: String?
    /// What the member owns.
    package var topicPartitions: [TopicPartitions]?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.int32(&memberEpoch)
        coder.string(&instanceId)
        coder.string(&rackId)
        coder.int32(&rebalanceTimeoutMs)
        coder.stringArray(&subscribedTopicNames, nullable: true)
        if coder.version >= 1 { coder.string(&subscribedTopicRegex) }
        coder.string(&serverAssignor)
        coder.array(&topicPartitions)
        coder.noTags()
    }
}

extension ConsumerGroupHeartbeatRequest: KafkaRequest {
    package typealias Response = ConsumerGroupHeartbeatResponse
    package static let apiKey = ApiKey.consumerGroupHeartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupHeartbeatResponse: FieldStructure {
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
    /// Told to a member that joins; else nil.
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

extension ConsumerGroupHeartbeatResponse: KafkaResponse {
    package static let apiKey = ApiKey.consumerGroupHeartbeat

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
