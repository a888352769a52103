// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: the control batch that ends a transaction in one partition (KIP-98).
//
// One record: key = int16 version 0, int16 type; value = int16 version 0, int32 coordinator epoch
// (message definitions ControlRecordType and EndTxnMarker).

import NIOCore

/// How a transaction ended. The raw value is the control record's type.
package enum TransactionMarker: Int16, Sendable {
    case abort = 0
    case commit = 1

    /// The control batch that says so.
    package func batch(
        producerId: Int64, epoch: Int16, coordinatorEpoch: Int32, timestamp: Int64
    ) -> ByteBuffer {
        var builder = RecordBatchBuilder(
            producer: .init(id: producerId, epoch: epoch, baseSequence: -1), capacity: 128)
        builder.isTransactional = true
        builder.isControl = true
        var key = ByteBuffer()
        key.writeInteger(Int16(0))
        key.writeInteger(rawValue)
        var value = ByteBuffer()
        value.writeInteger(Int16(0))
        value.writeInteger(coordinatorEpoch)
        builder.append(key: key, value: value, timestamp: timestamp)
        return builder.finish()
    }

    /// What a control batch says; nil for control records of another kind, and for damaged ones.
    package static func read(
        _ batch: ByteBuffer
    ) -> (marker: TransactionMarker, coordinatorEpoch: Int32)? {
        guard var reader = try? RecordBatchReader(batch, decompressor: Decompressor()),
            let record = try? reader.next(), var key = record.key, var value = record.value,
            key.readInteger(as: Int16.self) != nil, let type = key.readInteger(as: Int16.self),
            let marker = TransactionMarker(rawValue: type),
            value.readInteger(as: Int16.self) != nil,
            let coordinatorEpoch = value.readInteger(as: Int32.self)
        else { return nil }
        return (marker, coordinatorEpoch)
    }
}
