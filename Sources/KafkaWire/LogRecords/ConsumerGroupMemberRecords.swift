// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what `__consumer_offsets` holds of a member of a consumer group (KIP-848):
// what it told about itself, and what it owns.
//
// The version of a key says what the record is about: 5 the member, 8 its assignment. A null value
// removes what the key names.

import Bytes
import NIOCore

package struct ConsumerGroupMemberMetadataKey: FieldStructure {
    package var groupId = ""
    package var memberId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.noTags()
    }
}

extension ConsumerGroupMemberMetadataKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 5...5
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupMemberMetadataValue: FieldStructure {
    package struct ClassicMemberMetadata: FieldStructure, Equatable, Sendable {
        package var sessionTimeoutMs: Int32 = 0
        package var supportedProtocols: [ClassicProtocol] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&sessionTimeoutMs)
            coder.array(&supportedProtocols)
            coder.noTags()
        }
    }

    package struct ClassicProtocol: FieldStructure, Equatable, Sendable {
        package var name = ""
        /// A `ConsumerProtocolSubscription`.
        package var metadata = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.bytes(&metadata)
            coder.noTags()
        }
    }

    package var instanceId: String?
    package var rackId: String?
    package var clientId = ""
    package var clientHost = ""
    package var subscribedTopicNames: [String] = []
    package var subscribedTopicRegex: String?
    package var rebalanceTimeoutMs: Int32 = -1
    /// nil: the group's default.
    package var serverAssignor: String?
    /// Of a member that speaks the classic protocol; else nil.
    package var classicMemberMetadata: ClassicMemberMetadata?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&instanceId)
        coder.string(&rackId)
        coder.string(&clientId)
        coder.string(&clientHost)
        coder.stringArray(&subscribedTopicNames)
        coder.string(&subscribedTopicRegex)
        coder.int32(&rebalanceTimeoutMs)
        coder.string(&serverAssignor)
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: classicMemberMetadata != nil) {
                coder.structure(&classicMemberMetadata)
            }
        }
    }
}

extension ConsumerGroupMemberMetadataValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupCurrentMemberAssignmentKey: FieldStructure {
    package var groupId = ""
    package var memberId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.noTags()
    }
}

extension ConsumerGroupCurrentMemberAssignmentKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 8...8
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupCurrentMemberAssignmentValue: FieldStructure {
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

    package var memberEpoch: Int32 = 0
    /// Accepted too, from a member that missed the answer with the new one.
    package var previousMemberEpoch: Int32 = 0
    /// 0 stable, 1 has to give up partitions, 2 waits for partitions of others.
    package var state: Int8 = 0
    package var assignedPartitions: [TopicPartitions] = []
    package var partitionsPendingRevocation: [TopicPartitions] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&memberEpoch)
        coder.int32(&previousMemberEpoch)
        coder.int8(&state)
        coder.array(&assignedPartitions)
        coder.array(&partitionsPendingRevocation)
        coder.noTags()
    }
}

extension ConsumerGroupCurrentMemberAssignmentValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
