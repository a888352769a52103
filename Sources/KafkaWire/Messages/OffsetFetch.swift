// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: OffsetFetch (key 9, versions 1-9): the committed offsets of a group.
//
// One group up to 7, many since 8 (KIP-709): two layouts, with a structure for the topics that both
// share. All topics (null) since 2, with a top-level error; leader epochs since 5 (KIP-320),
// "require stable" since 7 (KIP-447), member id and epoch since 9 (KIP-848).

import NIOCore

package struct OffsetFetchRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitionIndexes: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32Array(&partitionIndexes)
            coder.noTags()
        }
    }

    package struct Group: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        package var memberId: String?
        package var memberEpoch: Int32 = -1
        /// nil: all topics with commits.
        package var topics: [Topic]? = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            if coder.version >= 9 {
                coder.string(&memberId)
                coder.int32(&memberEpoch)
            }
            coder.array(&topics)
            coder.noTags()
        }
    }

    // Up to version 7.
    package var groupId = ""
    /// nil, since version 2: all topics with commits.
    package var topics: [Topic]? = []
    /// Since version 8.
    package var groups: [Group] = []
    package var requireStable = false

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version <= 7 {
            coder.string(&groupId)
            coder.array(&topics, nullable: coder.version >= 2)
        } else {
            coder.array(&groups)
        }
        if coder.version >= 7 { coder.bool(&requireStable) }
        coder.noTags()
    }
}

extension OffsetFetchRequest: KafkaRequest {
    package typealias Response = OffsetFetchResponse
    package static let apiKey = ApiKey.offsetFetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct OffsetFetchResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        /// -1: nothing committed.
        package var committedOffset: Int64 = 0
        package var committedLeaderEpoch: Int32 = -1
        package var metadata: String? = ""
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&committedOffset)
            if coder.version >= 5 { coder.int32(&committedLeaderEpoch) }
            coder.string(&metadata)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package struct Group: FieldStructure, Equatable, Sendable {
        package var groupId = ""
        package var topics: [Topic] = []
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&groupId)
            coder.array(&topics)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    // Up to version 7.
    package var topics: [Topic] = []
    package var errorCode = KafkaErrorCode.none
    /// Since version 8.
    package var groups: [Group] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 3 { coder.int32(&throttleTimeMs) }
        if coder.version <= 7 {
            coder.array(&topics)
            if coder.version >= 2 { coder.errorCode(&errorCode) }
        } else {
            coder.array(&groups)
        }
        coder.noTags()
    }
}

extension OffsetFetchResponse: KafkaResponse {
    package static let apiKey = ApiKey.offsetFetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
