// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ShareFetch (key 78, versions 1-2; KIP-932): acquires records for a share
// group, and acknowledges others on the way.
//
// Since 2 a limit on records can be strict (KIP-1206) and acquisition locks be renewed (KIP-1222).
// Version 0 was a preview and is not spoken. Records may be left to the sender of the frame, as in
// a Fetch response.

import Bytes
import NIOCore

package struct ShareFetchRequest: FieldStructure {
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

    package struct ForgottenTopic: FieldStructure, Equatable, Sendable {
        package var topicId = TopicId.zero
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.uuid(&topicId)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package var groupId: String?
    package var memberId: String?
    /// 0 opens the session, -1 closes it.
    package var shareSessionEpoch: Int32 = 0
    package var maxWaitMs: Int32 = 0
    package var minBytes: Int32 = 0
    package var maxBytes: Int32 = .max
    package var maxRecords: Int32 = 0
    /// How many records a batch of acquired records should have.
    package var batchSize: Int32 = 0
    /// 0 whole batches even past `maxRecords`, 1 not one record more.
    package var shareAcquireMode: Int8 = 0
    /// Some acknowledgement is of type renew; nothing is fetched then.
    package var isRenewAck = false
    package var topics: [Topic] = []
    package var forgottenTopicsData: [ForgottenTopic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&groupId)
        coder.string(&memberId)
        coder.int32(&shareSessionEpoch)
        coder.int32(&maxWaitMs)
        coder.int32(&minBytes)
        coder.int32(&maxBytes)
        coder.int32(&maxRecords)
        coder.int32(&batchSize)
        if coder.version >= 2 {
            coder.int8(&shareAcquireMode)
            coder.bool(&isRenewAck)
        }
        coder.array(&topics)
        coder.array(&forgottenTopicsData)
        coder.noTags()
    }
}

extension ShareFetchRequest: KafkaRequest {
    package typealias Response = ShareFetchResponse
    package static let apiKey = ApiKey.shareFetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ShareFetchResponse: FieldStructure {
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
        package var acknowledgeErrorCode = KafkaErrorCode.none
        package var acknowledgeErrorMessage: String?
        package var currentLeader = LeaderIdAndEpoch()
        package var records = FetchResponse.Records.none
        package var acquiredRecords: [AcquiredRange] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.errorCode(&acknowledgeErrorCode)
            coder.string(&acknowledgeErrorMessage)
            currentLeader.walk(&coder)
            coder.records(&records)
            coder.array(&acquiredRecords)
            coder.noTags()
        }
    }

    /// Records locked for this consumer, both offsets included.
    package struct AcquiredRange: FieldStructure, Equatable, Sendable {
        package var firstOffset: Int64 = 0
        package var lastOffset: Int64 = 0
        /// How often these records were delivered, this time included.
        package var deliveryCount: Int16 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&firstOffset)
            coder.int64(&lastOffset)
            coder.int16(&deliveryCount)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    /// How long acquired records stay locked.
    package var acquisitionLockTimeoutMs: Int32 = 0
    package var responses: [Topic] = []
    /// Where the current leaders listen.
    package var nodeEndpoints: [NodeEndpoint] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.string(&errorMessage)
        coder.int32(&acquisitionLockTimeoutMs)
        coder.array(&responses)
        coder.array(&nodeEndpoints)
        coder.noTags()
    }
}

extension ShareFetchResponse: KafkaResponse {
    package static let apiKey = ApiKey.shareFetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
