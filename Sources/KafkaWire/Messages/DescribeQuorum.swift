// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeQuorum (key 55, versions 0-2; KIP-595).
//
// Times of the last fetch since 1 (KIP-836), error texts, directories and the voters' addresses
// since 2 (KIP-853).

import Bytes
import NIOCore

package struct DescribeQuorumRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.noTags()
        }
    }

    package var topics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics)
        coder.noTags()
    }
}

extension DescribeQuorumRequest: KafkaRequest {
    package typealias Response = DescribeQuorumResponse
    package static let apiKey = ApiKey.describeQuorum

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeQuorumResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topicName = ""
        package var partitions: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topicName)
            coder.array(&partitions)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?
        package var leaderId: Int32 = 0
        package var leaderEpoch: Int32 = 0
        package var highWatermark: Int64 = 0
        package var currentVoters: [ReplicaState] = []
        package var observers: [ReplicaState] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&errorCode)
            if coder.version >= 2 { coder.string(&errorMessage) }
            coder.int32(&leaderId)
            coder.int32(&leaderEpoch)
            coder.int64(&highWatermark)
            coder.array(&currentVoters)
            coder.array(&observers)
            coder.noTags()
        }
    }

    package struct ReplicaState: FieldStructure, Equatable, Sendable {
        package var replicaId: Int32 = 0
        package var replicaDirectoryId = TopicId.zero
        package var logEndOffset: Int64 = 0
        /// Milliseconds since 1970 by the leader's clock; -1 if unknown or of the leader.
        package var lastFetchTimestamp: Int64 = -1
        /// Milliseconds since 1970 by the leader's clock; -1 if unknown.
        package var lastCaughtUpTimestamp: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&replicaId)
            if coder.version >= 2 { coder.uuid(&replicaDirectoryId) }
            coder.int64(&logEndOffset)
            if coder.version >= 1 {
                coder.int64(&lastFetchTimestamp)
                coder.int64(&lastCaughtUpTimestamp)
            }
            coder.noTags()
        }
    }

    package struct Node: FieldStructure, Equatable, Sendable {
        package var nodeId: Int32 = 0
        package var listeners: [Listener] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&nodeId)
            coder.array(&listeners)
            coder.noTags()
        }
    }

    package struct Listener: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var host = ""
        package var port: UInt16 = 0

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.string(&host)
            coder.uint16(&port)
            coder.noTags()
        }
    }

    package var errorCode = KafkaErrorCode.none
    package var errorMessage: String?
    package var topics: [Topic] = []
    package var nodes: [Node] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.errorCode(&errorCode)
        if coder.version >= 2 { coder.string(&errorMessage) }
        coder.array(&topics)
        if coder.version >= 2 { coder.array(&nodes) }
        coder.noTags()
    }
}

extension DescribeQuorumResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeQuorum

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
