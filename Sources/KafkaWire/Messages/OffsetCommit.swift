// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: OffsetCommit (key 8, versions 2-9).
//
// Retention time in 2 to 4 only, throttle time since 3, leader epochs since 6 (KIP-320), static
// members since 7 (KIP-345); since 9 the generation may be a member epoch (KIP-848).

import NIOCore

package struct OffsetCommitRequest: FieldStructure {
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
        package var committedOffset: Int64 = 0
        package var committedLeaderEpoch: Int32 = -1
        package var committedMetadata: String? = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&committedOffset)
            if coder.version >= 6 { coder.int32(&committedLeaderEpoch) }
            coder.string(&committedMetadata)
            coder.noTags()
        }
    }

    package var groupId = ""
    /// -1 for a commit from outside the group.
    package var generationIdOrMemberEpoch: Int32 = -1
    package var memberId = ""
    package var groupInstanceId: String?
    package var retentionTimeMs: Int64 = -1
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.int32(&generationIdOrMemberEpoch)
        coder.string(&memberId)
        if coder.version >= 7 { coder.string(&groupInstanceId) }
        if coder.version <= 4 { coder.int64(&retentionTimeMs) }
        coder.array(&topics)
        coder.noTags()
    }
}

extension OffsetCommitRequest: KafkaRequest {
    package typealias Response = OffsetCommitResponse
    package static let apiKey = ApiKey.offsetCommit

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct OffsetCommitResponse: FieldStructure {
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
        package var errorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 3 { coder.int32(&throttleTimeMs) }
        coder.array(&topics)
        coder.noTags()
    }
}

extension OffsetCommitResponse: KafkaResponse {
    package static let apiKey = ApiKey.offsetCommit

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
