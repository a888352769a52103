// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the request of Fetch (key 1, versions 4-17).
//
// Sessions since 7 (KIP-227), leader epochs since 9 (KIP-320), topic ids instead of names since 13
// (KIP-516). The replica's own fields (replica id, state, directory) are for brokers; consumers
// leave them at their defaults.

import Bytes
import NIOCore

package struct FetchRequest: FieldStructure {
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
        package var partition: Int32 = 0
        package var currentLeaderEpoch: Int32 = -1
        package var fetchOffset: Int64 = 0
        package var lastFetchedEpoch: Int32 = -1
        package var logStartOffset: Int64 = -1
        package var partitionMaxBytes: Int32 = 0
        package var replicaDirectoryId = TopicId.zero

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partition)
            if coder.version >= 9 { coder.int32(&currentLeaderEpoch) }
            coder.int64(&fetchOffset)
            if coder.version >= 12 { coder.int32(&lastFetchedEpoch) }
            if coder.version >= 5 { coder.int64(&logStartOffset) }
            coder.int32(&partitionMaxBytes)
            guard coder.version >= 17 else { return coder.noTags() }
            var tags = coder.beginTags()
            while coder.next(&tags) {
                if coder.tag(0, &tags, present: replicaDirectoryId != .zero) {
                    coder.uuid(&replicaDirectoryId)
                }
            }
        }
    }

    /// Partitions to drop from an incremental fetch session.
    package struct ForgottenTopic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var topicId = TopicId.zero
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            if coder.version <= 12 {
                coder.string(&topic)
            } else {
                coder.uuid(&topicId)
            }
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    package struct ReplicaState: FieldStructure, Equatable, Sendable {
        package var replicaId: Int32 = -1
        package var replicaEpoch: Int64 = -1

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&replicaId)
            coder.int64(&replicaEpoch)
            coder.noTags()
        }
    }

    package var clusterId: String?
    package var replicaId: Int32 = -1
    package var replicaState = ReplicaState()
    package var maxWaitMs: Int32 = 0
    package var minBytes: Int32 = 0
    package var maxBytes = Int32.max
    /// 0 read uncommitted, 1 read committed.
    package var isolationLevel: Int8 = 0
    package var sessionId: Int32 = 0
    package var sessionEpoch: Int32 = -1
    package var topics: [Topic] = []
    package var forgottenTopics: [ForgottenTopic] = []
    package var rackId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version <= 14 { coder.int32(&replicaId) }
        coder.int32(&maxWaitMs)
        coder.int32(&minBytes)
        coder.int32(&maxBytes)
        coder.int8(&isolationLevel)
        if coder.version >= 7 {
            coder.int32(&sessionId)
            coder.int32(&sessionEpoch)
        }
        coder.array(&topics)
        if coder.version >= 7 { coder.array(&forgottenTopics) }
        if coder.version >= 11 { coder.string(&rackId) }
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: clusterId != nil) { coder.string(&clusterId) }
            guard coder.version >= 15 else { continue }
            if coder.tag(1, &tags, present: replicaState != ReplicaState()) {
                replicaState.walk(&coder)
            }
        }
    }
}

extension FetchRequest: KafkaRequest {
    package typealias Response = FetchResponse
    package static let apiKey = ApiKey.fetch

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
