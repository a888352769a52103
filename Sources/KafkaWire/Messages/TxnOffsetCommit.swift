// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: TxnOffsetCommit (key 28, versions 0-5): offsets that count once a transaction
// commits.
//
// Leader epochs since 2, the member and its generation since 3 (KIP-447). Version 5 means that the
// broker adds the group to the transaction by itself (KIP-890).

import NIOCore

package struct TxnOffsetCommitRequest: FieldStructure {
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
        package var committedMetadata: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.int64(&committedOffset)
            if coder.version >= 2 { coder.int32(&committedLeaderEpoch) }
            coder.string(&committedMetadata)
            coder.noTags()
        }
    }

    package var transactionalId = ""
    package var groupId = ""
    package var producerId: Int64 = 0
    package var producerEpoch: Int16 = 0
    /// -1 and an empty member id: no fencing by the group.
    package var generationId: Int32 = -1
    package var memberId = ""
    package var groupInstanceId: String?
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.string(&groupId)
        coder.int64(&producerId)
        coder.int16(&producerEpoch)
        if coder.version >= 3 {
            coder.int32(&generationId)
            coder.string(&memberId)
            coder.string(&groupInstanceId)
        }
        coder.array(&topics)
        coder.noTags()
    }
}

extension TxnOffsetCommitRequest: KafkaRequest {
    package typealias Response = TxnOffsetCommitResponse
    package static let apiKey = ApiKey.txnOffsetCommit

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct TxnOffsetCommitResponse: FieldStructure {
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
        coder.int32(&throttleTimeMs)
        coder.array(&topics)
        coder.noTags()
    }
}

extension TxnOffsetCommitResponse: KafkaResponse {
    package static let apiKey = ApiKey.txnOffsetCommit

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
