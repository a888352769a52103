// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: ListTransactions (key 66, versions 0-1; KIP-664).
//
// A filter by duration since 1 (KIP-994).

import NIOCore

package struct ListTransactionsRequest: FieldStructure {
    /// Empty: all states.
    package var stateFilters: [String] = []
    /// Empty: all producers.
    package var producerIdFilters: [Int64] = []
    /// Only transactions open for longer than so many milliseconds; negative: all.
    package var durationFilter: Int64 = -1

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.stringArray(&stateFilters)
        coder.int64Array(&producerIdFilters)
        if coder.version >= 1 { coder.int64(&durationFilter) }
        coder.noTags()
    }
}

extension ListTransactionsRequest: KafkaRequest {
    package typealias Response = ListTransactionsResponse
    package static let apiKey = ApiKey.listTransactions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct ListTransactionsResponse: FieldStructure {
    package struct TransactionState: FieldStructure, Equatable, Sendable {
        package var transactionalId = ""
        package var producerId: Int64 = 0
        /// Kafka's name of it, such as `Ongoing`.
        package var transactionState = ""

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&transactionalId)
            coder.int64(&producerId)
            coder.string(&transactionState)
            coder.noTags()
        }
    }

    package var throttleTimeMs: Int32 = 0
    package var errorCode = KafkaErrorCode.none
    /// Filters that name no state.
    package var unknownStateFilters: [String] = []
    package var transactionStates: [TransactionState] = []

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&throttleTimeMs)
        coder.errorCode(&errorCode)
        coder.stringArray(&unknownStateFilters)
        coder.array(&transactionStates)
        coder.noTags()
    }
}

extension ListTransactionsResponse: KafkaResponse {
    package static let apiKey = ApiKey.listTransactions

    package init(from buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        self = try Self.decode(from: &buffer, version: version)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
