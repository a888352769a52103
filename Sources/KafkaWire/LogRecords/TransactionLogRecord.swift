// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: what `__transaction_state` holds of a transactional id.
//
// Value version 1 is flexible; its tags (KIP-890) are for producers whose epoch rises with every
// transaction. A null value says that the id has expired.

import NIOCore

package struct TransactionLogKey: FieldStructure {
    package var transactionalId = ""

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.string(&transactionalId)
        coder.noTags()
    }
}

extension TransactionLogKey: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...0
    package static let firstFlexible: Int16? = nil

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}

package struct TransactionLogValue: FieldStructure {
    package struct Partitions: FieldStructure, Equatable, Sendable {
        package var topic = ""
        package var partitionIds: [Int32] = []

        package init() {}

        mutating func walk(_ coder: inout some FieldCoder) {
            coder.string(&topic)
            coder.int32Array(&partitionIds)
            coder.noTags()
        }
    }

    package var producerId: Int64 = 0
    /// Of the last transaction that ended; -1 if the same.
    package var previousProducerId: Int64 = -1
    /// Told to the client and not used yet; -1 if the same.
    package var nextProducerId: Int64 = -1
    package var producerEpoch: Int16 = 0
    package var transactionTimeoutMs: Int32 = 0
    /// 0 empty, 1 ongoing, 2 prepare commit, 3 prepare abort, 4 complete commit, 5 complete
    /// abort, 6 dead, 7 prepare epoch fence.
    package var transactionStatus: Int8 = 0
    /// nil: none.
    package var transactionPartitions: [Partitions]?
    /// Milliseconds since 1970.
    package var transactionLastUpdateTimestampMs: Int64 = 0
    /// Milliseconds since 1970; -1 if none was started.
    package var transactionStartTimestampMs: Int64 = 0
    /// The `transaction.version` that the client goes by.
    package var clientTransactionVersion: Int16 = 0

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int64(&producerId)
        coder.int16(&producerEpoch)
        coder.int32(&transactionTimeoutMs)
        coder.int8(&transactionStatus)
        coder.array(&transactionPartitions)
        coder.int64(&transactionLastUpdateTimestampMs)
        coder.int64(&transactionStartTimestampMs)
        var tags = coder.beginTags()
        while coder.next(&tags) {
            if coder.tag(0, &tags, present: previousProducerId != -1) {
                coder.int64(&previousProducerId)
            }
            if coder.tag(1, &tags, present: nextProducerId != -1) {
                coder.int64(&nextProducerId)
            }
            if coder.tag(2, &tags, present: clientTransactionVersion != 0) {
                coder.int16(&clientTransactionVersion)
            }
        }
    }
}

extension TransactionLogValue: VersionedRecord {
    package static let versions: ClosedRange<Int16> = 0...1
    package static let firstFlexible: Int16? = 1

    package init(from buffer: inout ByteBuffer) throws(WireError) {
        self = try Self.decode(from: &buffer)
    }

    package func encode(into buffer: inout ByteBuffer, version: Int16) throws(WireError) {
        try encodeFields(into: &buffer, version: version)
    }
}
