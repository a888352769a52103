// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: OffsetForLeaderEpoch (key 23, versions 2-4): where a leader epoch ends, for a
// consumer that checks for truncation (KIP-320).
//
// The replica id since 3: -1 is a consumer, -2 (the default) a debugging client.

import NIOCore

package struct OffsetForLeaderEpochRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partition: Int32 = 0
        package var currentLeaderEpoch: Int32 = -1
        package var leaderEpoch: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partition)
            coder.int32(&currentLeaderEpoch)
            coder.int32(&leaderEpoch)
            coder.noTags()
        }
    }

    package var replicaId: Int32 = -2
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 3 { coder.int32(&replicaId) }
        coder.array(&topics)
        coder.noTags()
    }
}

extension OffsetForLeaderEpochRequest: KafkaRequest {
    package typealias Response = OffsetForLeaderEpochResponse
    package static let apiKey = ApiKey.offsetForLeaderEpoch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct OffsetForLeaderEpochResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var partition: Int32 = 0
        package var leaderEpoch: Int32 = -1
        package var endOffset: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.int32(&partition)
            coder.int32(&leaderEpoch)
            coder.int64(&endOffset)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension OffsetForLeaderEpochResponse: KafkaResponse {
    package static let apiKey = ApiKey.offsetForLeaderEpoch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
