// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: DescribeTransactions (key 65, version 0; KIP-664).

import NIOCore

package struct DescribeTransactionsRequest: FieldStructure {
    package var transactionalIds: [String] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&transactionalIds)
        coder.noTags()
    }
}

extension DescribeTransactionsRequest: KafkaRequest {
    package typealias Response = DescribeTransactionsResponse
    package static let apiKey = ApiKey.describeTransactions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct DescribeTransactionsResponse: FieldStructure {
    package struct TransactionState: FieldStructure, Equatable, Sendable {
        package var errorCode = KafkaErrorCode.none
        package var transactionalId = ""
        /// Kafka's name of it, such as `Ongoing`.
        package var transactionState = ""
        package var transactionTimeoutMs: Int32 = 0
        /// Milliseconds since 1970; -1 if none is open.
        package var transactionStartTimeMs: Int64 = 0
        package var producerId: Int64 = 0
        package var producerEpoch: Int16 = 0
        package var topics: [Topic] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.errorCode(&errorCode)
            coder.string(&transactionalId)
            coder.string(&transactionState)
            coder.int32(&transactionTimeoutMs)
            coder.int64(&transactionStartTimeMs)
            coder.int64(&producerId)
            coder.int16(&producerEpoch)
            coder.array(&topics)
            coder.noTags()
        }
    }

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

    package var throttleTimeMs: Int32 = 0
    package var transactionStates: [TransactionState] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.array(&transactionStates)
        coder.noTags()
    }
}

extension DescribeTransactionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.describeTransactions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
