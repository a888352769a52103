// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what consumers of the classic protocol put into JoinGroup and SyncGroup,
// opaque to the group: subscriptions and assignments.
//
// Owned partitions since 1 (KIP-429), the generation since 2 (KIP-792), the rack since 3 (KIP-881).
// A version from the future is read as the newest known, as Kafka's clients do: versions only add
// fields at the end.

import NIOCore

package struct ConsumerProtocolSubscription: FieldStructure {
    package struct TopicPartitions: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var topics: [String] = []
    package var userData: ByteBuffer?
    /// What the member had before the rebalance.
    package var ownedPartitions: [TopicPartitions] = []
    /// The one that `ownedPartitions` are of; -1 if unknown.
    package var generationId: Int32 = -1
    package var rackId: String?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&topics)
        coder.bytes(&userData)
        if coder.version >= 1 { coder.array(&ownedPartitions) }
        if coder.version >= 2 { coder.int32(&generationId) }
        if coder.version >= 3 { coder.string(&rackId) }
        coder.noTags()
    }
}

extension ConsumerProtocolSubscription: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...3
    package static let firstFlexible: Int16? = nil
    package static let readsNewerVersions = true

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ConsumerProtocolAssignment: FieldStructure {
    package struct TopicPartitions: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var assignedPartitions: [TopicPartitions] = []
    package var userData: ByteBuffer?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&assignedPartitions)
        coder.bytes(&userData)
        coder.noTags()
    }
}

extension ConsumerProtocolAssignment: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...3
    package static let firstFlexible: Int16? = nil
    package static let readsNewerVersions = true

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
