// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the response of Fetch (key 1, versions 4-17).
//
// The records of a partition are bytes, or a length only: then the frame is made with
// `Frame.segments` and the sender puts that many bytes into the hole. Decoded records are slices of
// the received buffer. Topic ids instead of names since 13; a top-level error and the session since
// 7; divergence and current leader since 12; the leaders' addresses since 16 (KIP-951).

import Bytes
import NIOCore

package struct FetchResponse: FieldStructure {
    /// Record batches of one partition.
    package enum Records: Equatable, Sendable {
        /// Null on the wire.
        case none
        case bytes(ByteBuffer)
        /// `length` bytes that the sender of the frame supplies.
        case external(length: Int)

        /// In bytes.
        package var length: Int {
            switch self {
            case .none: 0
            case .bytes(let bytes): bytes.readableBytes
            case .external(let length): length
            }
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        /// Up to version 12.
        package var topic = ""
        /// Since version 13.
        package var topicId = TopicId.zero
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            if coder.version <= 12 {
                coder.string(&topic)
            } else {
                coder.uuid(&topicId)
            }
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var highWatermark: Int64 = 0
        package var lastStableOffset: Int64 = -1
        package var logStartOffset: Int64 = -1
        package var divergingEpoch = EpochEndOffset()
        package var currentLeader = LeaderIdAndEpoch()
        package var snapshotId = SnapshotId()
        /// nil for read uncommitted.
        package var abortedTransactions: [AbortedTransaction]?
        package var preferredReadReplica: Int32 = -1
        package var records = Records.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            coder.int64(&highWatermark)
            coder.int64(&lastStableOffset)
            if coder.version >= 5 { coder.int64(&logStartOffset) }
            coder.array(&abortedTransactions)
            if coder.version >= 11 { coder.int32(&preferredReadReplica) }
            coder.records(&records)
            var tags = coder.beginTags()
            while coder.next(&tags) {
                if coder.tag(0, &tags, present: divergingEpoch != EpochEndOffset()) {
                    divergingEpoch.walk(&coder)
                }
                if coder.tag(1, &tags, present: currentLeader.isKnown) {
                    currentLeader.walk(&coder)
                }
                if coder.tag(2, &tags, present: snapshotId != SnapshotId()) {
                    snapshotId.walk(&coder)
                }
            }
        }
    }

    package struct EpochEndOffset: FieldStructure, Equatable, Sendable {
        package var epoch: Int32 = -1
        package var endOffset: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&epoch)
            coder.int64(&endOffset)
            coder.noTags()
        }
    }

    package struct SnapshotId: FieldStructure, Equatable, Sendable {
        package var endOffset: Int64 = -1
        package var epoch: Int32 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&endOffset)
            coder.int32(&epoch)
            coder.noTags()
        }
    }

    package struct AbortedTransaction: FieldStructure, Equatable, Sendable {
        package var producerId: Int64 = 0
        package var firstOffset: Int64 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int64(&producerId)
            coder.int64(&firstOffset)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var sessionId: Int32 = 0
    package var topics: [Topic] = []
    package var nodeEndpoints: [NodeEndpoint] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        if coder.version >= 7 {
            coder.errorCode(&errorCode)
            coder.int32(&sessionId)
        }
        coder.array(&topics)
        guard coder.version >= 16 else { return coder.noTags() }
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: !nodeEndpoints.isEmpty) {
                coder.array(&nodeEndpoints)
            }
        }
    }
}

extension FetchResponse: KafkaResponse {
    package static let apiKey = ApiKey.fetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
