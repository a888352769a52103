// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what `__consumer_offsets` holds of the assignment that a consumer group
// (KIP-848) is moving towards.
//
// The version of a key says what the record is about: 6 the assignment's epoch, 7 one member's
// partitions. A null value removes what the key names.

import Bytes
import NIOCore

package struct ConsumerGroupTargetAssignmentMetadataKey: FieldStructure {
    package var groupId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.noTags()
    }
}

extension ConsumerGroupTargetAssignmentMetadataKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 6...6
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupTargetAssignmentMetadataValue: FieldStructure {
    /// The group epoch it was made for.
    package var assignmentEpoch: Int32 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&assignmentEpoch)
        coder.noTags()
    }
}

extension ConsumerGroupTargetAssignmentMetadataValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupTargetAssignmentMemberKey: FieldStructure {
    package var groupId = ""
    package var memberId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.noTags()
    }
}

extension ConsumerGroupTargetAssignmentMemberKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 7...7
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupTargetAssignmentMemberValue: FieldStructure {
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

    package var topicPartitions: [TopicPartitions] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topicPartitions)
        coder.noTags()
    }
}

extension ConsumerGroupTargetAssignmentMemberValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
