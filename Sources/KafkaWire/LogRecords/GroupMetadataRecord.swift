// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what `__consumer_offsets` holds of a classic group (key version 2): its
// protocol, generation and members.
//
// Kafka writes value version 3; 4 is flexible. A null value says that the group is gone.

import NIOCore

package struct GroupMetadataKey: FieldStructure {
    package var group = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&group)
        coder.noTags()
    }
}

extension GroupMetadataKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 2...2
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct GroupMetadataValue: FieldStructure {
    package struct Member: FieldStructure, Equatable, Sendable {
        package var memberId = ""
        package var groupInstanceId: String?
        package var clientId = ""
        package var clientHost = ""
        /// Milliseconds.
        package var rebalanceTimeout: Int32 = -1
        /// Milliseconds.
        package var sessionTimeout: Int32 = 0
        /// The metadata for the chosen protocol, as the member sent it.
        package var subscription = ByteBuffer()
        package var assignment = ByteBuffer()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&memberId)
            if coder.version >= 3 { coder.string(&groupInstanceId) }
            coder.string(&clientId)
            coder.string(&clientHost)
            if coder.version >= 1 { coder.int32(&rebalanceTimeout) }
            coder.int32(&sessionTimeout)
            coder.bytes(&subscription)
            coder.bytes(&assignment)
            coder.noTags()
        }
    }

    package var protocolType = ""
    package var generation: Int32 = 0
    /// The chosen protocol; nil while there is none.
    package var `protocol`: String?
    /// The leader's member id.
    package var leader: String?
    /// When the group entered its state, milliseconds since 1970; -1 if unknown.
    package var currentStateTimestamp: Int64 = -1
    package var members: [Member] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&protocolType)
        coder.int32(&generation)
        coder.string(&`protocol`)
        coder.string(&leader)
        if coder.version >= 2 { coder.int64(&currentStateTimestamp) }
        coder.array(&members)
        coder.noTags()
    }
}

extension GroupMetadataValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...4
    package static let firstFlexible: Int16? = 4

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
