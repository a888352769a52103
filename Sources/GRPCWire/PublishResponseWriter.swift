// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: writes a martlet.v1.PublishResponse without objects.
//
// The field numbers are those of proto/martlet/v1/streams.proto; a test compares with swift-protobuf.

import NIOCore

/// Where the records of one batch were appended.
package struct PublishedBatch: Equatable, Sendable {
    package var partition: Int32
    package var baseOffset: Int64
    package var positions: [Int32]
    /// -1: the records carry their producer's time.
    package var logAppendTimeMs: Int64

    package init(partition: Int32, baseOffset: Int64, positions: [Int32], logAppendTimeMs: Int64) {
        self.partition = partition
        self.baseOffset = baseOffset
        self.positions = positions
        self.logAppendTimeMs = logAppendTimeMs
    }

    fileprivate func write(into buffer: inout ByteBuffer) {
        let positionsSize = positions.reduce(0) { $0 + Protobuf.size(Int($1)) }
        var size = Protobuf.fieldSize(positionsSize)
        if partition > 0 { size += 1 + Protobuf.size(Int(partition)) }
        if baseOffset > 0 { size += 1 + Protobuf.size(UInt64(baseOffset)) }
        if logAppendTimeMs >= 0 { size += 1 + Protobuf.size(UInt64(logAppendTimeMs)) }
        buffer.writeInteger(UInt8(0x0a))
        buffer.writeProtobufVarint(UInt64(size))
        if partition > 0 {
            buffer.writeInteger(UInt8(0x08))
            buffer.writeProtobufVarint(UInt64(partition))
        }
        if baseOffset > 0 {
            buffer.writeInteger(UInt8(0x10))
            buffer.writeProtobufVarint(UInt64(baseOffset))
        }
        buffer.writeInteger(UInt8(0x1a))
        buffer.writeProtobufVarint(UInt64(positionsSize))
        for position in positions { buffer.writeProtobufVarint(UInt64(position)) }
        if logAppendTimeMs >= 0 {
            buffer.writeInteger(UInt8(0x20))
            buffer.writeProtobufVarint(UInt64(logAppendTimeMs))
        }
    }
}

package enum PublishResponseWriter {
    /// Appends the message's bytes, without a frame.
    package static func write(_ batches: [PublishedBatch], into buffer: inout ByteBuffer) {
        for batch in batches { batch.write(into: &buffer) }
    }
}
