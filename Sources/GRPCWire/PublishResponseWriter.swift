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

    private var positionsSize: Int { positions.reduce(0) { $0 + Protobuf.size(Int($1)) } }

    fileprivate var size: Int {
        var size = positions.isEmpty ? 0 : Protobuf.fieldSize(positionsSize)
        if partition > 0 { size += 1 + Protobuf.size(Int(partition)) }
        if baseOffset > 0 { size += 1 + Protobuf.size(UInt64(baseOffset)) }
        if logAppendTimeMs >= 0 { size += 1 + Protobuf.size(UInt64(logAppendTimeMs)) }
        return size
    }

    /// Writes the field: its tag, its length and the message.
    fileprivate func write(tag: UInt8, into buffer: inout ByteBuffer) {
        buffer.writeInteger(tag)
        buffer.writeProtobufVarint(UInt64(size))
        if partition > 0 {
            buffer.writeInteger(UInt8(0x08))
            buffer.writeProtobufVarint(UInt64(partition))
        }
        if baseOffset > 0 {
            buffer.writeInteger(UInt8(0x10))
            buffer.writeProtobufVarint(UInt64(baseOffset))
        }
        if !positions.isEmpty {
            buffer.writeInteger(UInt8(0x1a))
            buffer.writeProtobufVarint(UInt64(positionsSize))
            for position in positions { buffer.writeProtobufVarint(UInt64(position)) }
        }
        if logAppendTimeMs >= 0 {
            buffer.writeInteger(UInt8(0x20))
            buffer.writeProtobufVarint(UInt64(logAppendTimeMs))
        }
    }
}

package enum PublishResponseWriter {
    /// Appends the message's bytes, without a frame.
    package static func write(_ batches: [PublishedBatch], into buffer: inout ByteBuffer) {
        for batch in batches { batch.write(tag: 0x0a, into: &buffer) }
    }
}

/// Writes the results of a martlet.v1.PublishStreamResponse, one after the other; together they are the message.
package enum PublishResultWriter {
    package static func write(_ request: UInt64, _ batches: [PublishedBatch], into buffer: inout ByteBuffer) {
        begin(request, rest: batches.reduce(0) { $0 + Protobuf.fieldSize($1.size) }, &buffer)
        for batch in batches { batch.write(tag: 0x12, into: &buffer) }
    }

    /// The usual result, without an array.
    package static func write(_ request: UInt64, _ batch: PublishedBatch, into buffer: inout ByteBuffer) {
        begin(request, rest: Protobuf.fieldSize(batch.size), &buffer)
        batch.write(tag: 0x12, into: &buffer)
    }

    package static func write(
        _ request: UInt64, _ batches: [PublishedBatch], refused status: GRPCStatus, into buffer: inout ByteBuffer
    ) {
        let error = error(status)
        let size = error.readableBytes
        begin(request, rest: batches.reduce(Protobuf.fieldSize(size)) { $0 + Protobuf.fieldSize($1.size) }, &buffer)
        for batch in batches { batch.write(tag: 0x12, into: &buffer) }
        buffer.writeInteger(UInt8(0x1a))
        buffer.writeProtobufVarint(UInt64(size))
        buffer.writeImmutableBuffer(error)
    }

    /// The martlet.v1.PublishError.
    private static func error(_ status: GRPCStatus) -> ByteBuffer {
        let info = status.info
        var error = ByteBuffer()
        error.writeInteger(UInt8(0x08))
        error.writeProtobufVarint(UInt64(status.code.rawValue))
        error.writeProtobufText(0x12, status.message)
        error.writeProtobufText(0x1a, info.reason)
        if let field = info.field { error.writeProtobufText(0x22, field) }
        for (key, value) in info.metadata {
            var entry = ByteBuffer()
            entry.writeProtobufText(0x0a, key)
            entry.writeProtobufText(0x12, value)
            error.writeProtobufBytes(0x2a, entry)
        }
        return error
    }

    private static func begin(_ request: UInt64, rest: Int, _ buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(0x0a))
        buffer.writeProtobufVarint(UInt64(rest + (request > 0 ? 1 + Protobuf.size(request) : 0)))
        guard request > 0 else { return }
        buffer.writeInteger(UInt8(0x08))
        buffer.writeProtobufVarint(request)
    }
}
