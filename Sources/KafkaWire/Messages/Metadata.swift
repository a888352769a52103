// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: Metadata (key 3, versions 0-13): brokers, topics, partitions and leaders.
//
// "All topics" is an empty array in version 0 and null since 1: `isForAllTopics`. Topics can be
// asked for by id since 10, with a null name since 12 in effect (KIP-516). The cluster's
// authorised operations are in 8 to 10 only; DescribeCluster took them over. A top-level error
// since 13.

import Bytes
import NIOCore

package struct MetadataRequest: FieldStructure {
    package struct Topic: FieldStructure, Hashable, Sendable {
        package var topicId = TopicId.zero
        package var name: String?

        package init() {}

        package init(name: String) {
            self.name = name
        }

        mutating func walk(_ coder: inout some FieldCoder) {
            if coder.version >= 10 { coder.uuid(&topicId) }
            coder.string(&name, nullable: coder.version >= 10)
            coder.noTags()
        }
    }

    /// nil: all topics.
    package var topics: [Topic]? = []
    package var allowAutoTopicCreation = true
    package var includeClusterAuthorizedOperations = false
    package var includeTopicAuthorizedOperations = false

    package init() {}

    package func isForAllTopics(version: Int16) -> Bool {
        guard let topics else { return true }
        return version == 0 && topics.isEmpty
    }

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.array(&topics, nullable: coder.version >= 1)
        if coder.version >= 4 { coder.bool(&allowAutoTopicCreation) }
        if 8...10 ~= coder.version { coder.bool(&includeClusterAuthorizedOperations) }
        if coder.version >= 8 { coder.bool(&includeTopicAuthorizedOperations) }
        coder.noTags()
    }
}

extension MetadataRequest: KafkaRequest {
    package typealias Response = MetadataResponse
    package static let apiKey = ApiKey.metadata

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct MetadataResponse: FieldStructure {
    package struct Broker: FieldStructure, Equatable, Sendable {
        package var nodeId: Int32 = 0
        package var host = ""
        package var port: Int32 = 0
        package var rack: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&nodeId)
            coder.string(&host)
            coder.int32(&port)
            if coder.version >= 1 { coder.string(&rack) }
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        /// nil since version 12 for an unknown topic that was asked for by id.
        package var name: String? = ""
        package var topicId = TopicId.zero
        package var isInternal = false
        package var partitions: [Partition] = []
        package var topicAuthorizedOperations = AuthorizedOperations.omitted

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&name, nullable: coder.version >= 12)
            if coder.version >= 10 { coder.uuid(&topicId) }
            if coder.version >= 1 { coder.bool(&isInternal) }
            coder.array(&partitions)
            if coder.version >= 8 { coder.int32(&topicAuthorizedOperations) }
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var partitionIndex: Int32 = 0
        package var leaderId: Int32 = 0
        package var leaderEpoch: Int32 = -1
        package var replicaNodes: [Int32] = []
        package var isrNodes: [Int32] = []
        package var offlineReplicas: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.int32(&partitionIndex)
            coder.int32(&leaderId)
            if coder.version >= 7 { coder.int32(&leaderEpoch) }
            coder.int32Array(&replicaNodes)
            coder.int32Array(&isrNodes)
            if coder.version >= 5 { coder.int32Array(&offlineReplicas) }
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var brokers: [Broker] = []
    package var clusterId: String?
    package var controllerId: Int32 = -1
    package var topics: [Topic] = []
    package var clusterAuthorizedOperations = AuthorizedOperations.omitted
    package var errorCode = KafkaErrorCode.none

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 3 { coder.int32(&throttleTimeMs) }
        coder.array(&brokers)
        if coder.version >= 2 { coder.string(&clusterId) }
        if coder.version >= 1 { coder.int32(&controllerId) }
        coder.array(&topics)
        if 8...10 ~= coder.version { coder.int32(&clusterAuthorizedOperations) }
        if coder.version >= 13 { coder.errorCode(&errorCode) }
        coder.noTags()
    }
}

extension MetadataResponse: KafkaResponse {
    package static let apiKey = ApiKey.metadata

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
