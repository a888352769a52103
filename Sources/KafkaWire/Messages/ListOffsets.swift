// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ListOffsets (key 2, versions 1-10): offsets by timestamp, or by the special
// timestamps below.
//
// Isolation level since 2, leader epochs since 4, max timestamp since 7 (KIP-734), local log start
// since 8 (KIP-405), last tiered since 9 (KIP-1005), a timeout since 10.

import NIOCore

package struct ListOffsetsRequest: FieldStructure {
    /// Values of `timestamp` that are no times.
    package enum SpecialTimestamp {
        package static let latest: Int64 = -1
        package static let earliest: Int64 = -2
        package static let maxTimestamp: Int64 = -3
        package static let earliestLocal: Int64 = -4
        package static let latestTiered: Int64 = -5
    }

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
        package var currentLeaderEpoch: Int32 = -1
        package var timestamp: Int64 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            if coder.version >= 4 { coder.int32(&currentLeaderEpoch) }
            coder.int64(&timestamp)
            coder.noTags()
        }
    }

    /// -1 for a consumer.
    package var replicaId: Int32 = -1
    /// 0 read uncommitted, 1 read committed.
    package var isolationLevel: Int8 = 0
    package var topics: [Topic] = []
    package var timeoutMs: Int32 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&replicaId)
        if coder.version >= 2 { coder.int8(&isolationLevel) }
        coder.array(&topics)
        if coder.version >= 10 { coder.int32(&timeoutMs) }
        coder.noTags()
    }
}

extension ListOffsetsRequest: KafkaRequest {
    package typealias Response = ListOffsetsResponse
    package static let apiKey = ApiKey.listOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ListOffsetsResponse: FieldStructure {
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
        package var timestamp: Int64 = -1
        package var offset: Int64 = -1
        package var leaderEpoch: Int32 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.int64(&timestamp)
            coder.int64(&offset)
            if coder.version >= 4 { coder.int32(&leaderEpoch) }
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 2 { coder.int32(&throttleTimeMs) }
        coder.array(&topics)
        coder.noTags()
    }
}

extension ListOffsetsResponse: KafkaResponse {
    package static let apiKey = ApiKey.listOffsets

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
