// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: AddPartitionsToTxn (key 24, versions 0-5): which partitions a transaction
// writes to.
//
// Clients send one transaction in versions 0-3. Since 4 (KIP-890) the request is a batch from a
// broker, which may only ask whether partitions are in their transactions (`verifyOnly`).

import NIOCore

package struct AddPartitionsToTxnRequest: FieldStructure {
    package struct Transaction: FieldStructure, Equatable, Sendable {
        package var transactionalId = ""
        package var producerId: Int64 = 0
        package var producerEpoch: Int16 = 0
        /// Only ask whether the partitions are in the transaction, add none.
        package var verifyOnly = false
        package var topics: [Topic] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&transactionalId)
            coder.int64(&producerId)
            coder.int16(&producerEpoch)
            coder.bool(&verifyOnly)
            coder.array(&topics)
            coder.noTags()
        }
    }

    package struct Topic: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var partitions: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.int32Array(&partitions)
            coder.noTags()
        }
    }

    /// Since version 4; before, the four fields below are the one transaction.
    package var transactions: [Transaction] = []
    package var v3AndBelowTransactionalId = ""
    package var v3AndBelowProducerId: Int64 = 0
    package var v3AndBelowProducerEpoch: Int16 = 0
    package var v3AndBelowTopics: [Topic] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        if coder.version >= 4 { coder.array(&transactions) }
        if coder.version <= 3 {
            coder.string(&v3AndBelowTransactionalId)
            coder.int64(&v3AndBelowProducerId)
            coder.int16(&v3AndBelowProducerEpoch)
            coder.array(&v3AndBelowTopics)
        }
        coder.noTags()
    }
}

extension AddPartitionsToTxnRequest: KafkaRequest {
    package typealias Response = AddPartitionsToTxnResponse
    package static let apiKey = ApiKey.addPartitionsToTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct AddPartitionsToTxnResponse: FieldStructure {
    package struct TransactionResult: FieldStructure, Equatable, Sendable {
        package var transactionalId = ""
        package var topicResults: [TopicResult] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&transactionalId)
            coder.array(&topicResults)
            coder.noTags()
        }
    }

    package struct TopicResult: FieldStructure, Equatable, Sendable {
        package var name = ""
        package var resultsByPartition: [PartitionResult] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&name)
            coder.array(&resultsByPartition)
            coder.noTags()
        }
    }

    package struct PartitionResult: FieldStructure, Equatable, Sendable {
        package var partitionIndex: Int32 = 0
        package var partitionErrorCode = KafkaErrorCode.none

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.int32(&partitionIndex)
            coder.errorCode(&partitionErrorCode)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    /// Since version 4.
    package var resultsByTransaction: [TransactionResult] = []
    /// Before version 4.
    package var resultsByTopicV3AndBelow: [TopicResult] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        if coder.version >= 4 {
            coder.errorCode(&errorCode)
            coder.array(&resultsByTransaction)
        }
        if coder.version <= 3 { coder.array(&resultsByTopicV3AndBelow) }
        coder.noTags()
    }
}

extension AddPartitionsToTxnResponse: KafkaResponse {
    package static let apiKey = ApiKey.addPartitionsToTxn

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
