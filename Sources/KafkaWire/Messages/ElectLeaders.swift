// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ElectLeaders (key 43, versions 0-2; KIP-183).
//
// Unclean elections and a top-level error since 1 (KIP-460).

import NIOCore

package struct ElectLeadersRequest: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    /// 0 the preferred replica, 1 any replica (unclean).
    package var electionType: Int8 = 0
    /// nil: all partitions.
    package var topicPartitions: [Topic]?
    package var timeoutMs: Int32 = 60000

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 1 { coder.int8(&electionType) }
        coder.array(&topicPartitions)
        coder.int32(&timeoutMs)
        coder.noTags()
    }
}

extension ElectLeadersRequest: KafkaRequest {
    package typealias Response = ElectLeadersResponse
    package static let apiKey = ApiKey.electLeaders

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ElectLeadersResponse: FieldStructure {
    package struct Topic: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitionResult: [Partition] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.array(&partitionResult)
            coder.noTags()
        }
    }

    package struct Partition: FieldStructure, Equatable, Sendable {
        package var partitionId: Int32 = 0
        package var errorCode = KafkaErrorCode.none
        package var errorMessage: String?

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionId)
            coder.errorCode(&errorCode)
            coder.string(&errorMessage)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    package var replicaElectionResults: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        if coder.version >= 1 { coder.errorCode(&errorCode) }
        coder.array(&replicaElectionResults)
        coder.noTags()
    }
}

extension ElectLeadersResponse: KafkaResponse {
    package static let apiKey = ApiKey.electLeaders

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
