// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what `__consumer_offsets` holds of a consumer group (KIP-848) as a whole: its
// epoch, the topics it knows and what its regular expressions match.
//
// The version of a key says what the record is about: 3 the group, 4 its topics, 16 a regular
// expression. A null value removes what the key names.

import Bytes
import NIOCore

package struct ConsumerGroupMetadataKey: FieldStructure {
    package var groupId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.noTags()
    }
}

extension ConsumerGroupMetadataKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 3...3
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupMetadataValue: FieldStructure {
    /// Rises whenever the assignment has to be made anew.
    package var epoch: Int32 = 0
    /// Changes with the subscribed topics (KIP-1101); 0 if unknown.
    package var metadataHash: Int64 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&epoch)
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: metadataHash != 0) {
                coder.int64(&metadataHash)
            }
        }
    }
}

extension ConsumerGroupMetadataValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupPartitionMetadataKey: FieldStructure {
    package var groupId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.noTags()
    }
}

extension ConsumerGroupPartitionMetadataKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 4...4
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupPartitionMetadataValue: FieldStructure {
    package struct TopicMetadata: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var topicName = ""
        package var numPartitions: Int32 = 0
        /// Not used after Kafka 4.0.
        package var partitionMetadata: [PartitionMetadata] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.string(&topicName)
            coder.int32(&numPartitions)
            coder.array(&partitionMetadata)
            coder.noTags()
        }
    }

    package struct PartitionMetadata: FieldStructure, Equatable, Sendable {
        package var partition: Int32 = 0
        package var racks: [String] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partition)
            coder.stringArray(&racks)
            coder.noTags()
        }
    }

    package var topics: [TopicMetadata] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.noTags()
    }
}

extension ConsumerGroupPartitionMetadataValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupRegularExpressionKey: FieldStructure {
    package var groupId = ""
    package var regularExpression = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&regularExpression)
        coder.noTags()
    }
}

extension ConsumerGroupRegularExpressionKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 16...16
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerGroupRegularExpressionValue: FieldStructure {
    /// What it matched.
    package var topics: [String] = []
    /// The version of the metadata it was matched against.
    package var version: Int64 = 0
    /// Milliseconds since 1970.
    package var timestamp: Int64 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&topics)
        coder.int64(&version)
        coder.int64(&timestamp)
        coder.noTags()
    }
}

extension ConsumerGroupRegularExpressionValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = 0

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
