// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ShareAcknowledge (key 79, versions 1-2; KIP-932): says what became of
// acquired records.
//
// Locks can be renewed since 2 (KIP-1222). Version 0 was a preview and is not spoken.

import Bytes
import NIOCore

package struct ShareAcknowledgeRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var acknowledgementBatches: [AcknowledgementBatch] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.array(&acknowledgementBatches)
            coder.noTags()
        }
    }

    /// What became of the records from one offset to another, both included.
    package struct AcknowledgementBatch: FieldStructure, Equatable, Sendable {
        package var firstOffset: Int64 = 0
        package var lastOffset: Int64 = 0
        /// 0 gap, 1 accept, 2 release, 3 reject, 4 renew (version 2); one for all offsets or one
        /// for each.
        package var acknowledgeTypes: [Int8] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&firstOffset)
            coder.int64(&lastOffset)
            coder.int8Array(&acknowledgeTypes)
            coder.noTags()
        }
    }

    package var groupId: String?
    package var memberId: String?
    /// 0 opens the session, -1 closes it.
    package var shareSessionEpoch: Int32 = 0
    /// Some acknowledgement is of type renew.
    package var isRenewAck = false
    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.int32(&shareSessionEpoch)
        if coder.version >= 2 { coder.bool(&isRenewAck) }
        coder.array(&topics)
        coder.noTags()
    }
}

extension ShareAcknowledgeRequest: KafkaRequest {
    package typealias Response = ShareAcknowledgeResponse
    package static let apiKey = ApiKey.shareAcknowledge

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ShareAcknowledgeResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var currentLeader = LeaderIdAndEpoch()

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            currentLeader.walk(&coder)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    /// How long renewed records stay locked.
    package var acquisitionLockTimeoutMs: Int32 = 0
    package var responses: [Topic] = []
    /// Where the current leaders listen.
    package var nodeEndpoints: [NodeEndpoint] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        if coder.version >= 2 { coder.int32(&acquisitionLockTimeoutMs) }
        coder.array(&responses)
        coder.array(&nodeEndpoints)
        coder.noTags()
    }
}

extension ShareAcknowledgeResponse: KafkaResponse {
    package static let apiKey = ApiKey.shareAcknowledge

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
