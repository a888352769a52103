// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: what the records of a load run hold.
//
// The same bytes every time (seeded), lower-case words with repetitions, so that compression has
// about as much to do as with real text. Made before the run; nothing is generated while it is
// measured.

import GRPCWire
import NIOCore
import Records
import SwiftProtobuf

enum LoadPayload {
    /// A value of `size` bytes.
    static func value(size: Int, seed: UInt64) -> ByteBuffer {
        var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
        var value = ByteBuffer()
        value.reserveCapacity(size + 16)
        while value.readableBytes < size {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            for shift in stride(from: UInt64(0), to: 40, by: 5) {
                value.writeInteger(UInt8(ascii: "a") + UInt8((state >> shift) & 31) % 26)
            }
            if state & 1 == 0 { value.writeStaticString(" martlet ") }
        }
        return value.getSlice(at: value.readerIndex, length: size) ?? ByteBuffer()
    }

    /// A request message with its prefix.
    static func framed(_ message: some SwiftProtobuf.Message) throws(ClientError) -> ByteBuffer {
        var body = ByteBuffer()
        do {
            let bytes: [UInt8] = try message.serializedBytes()
            body.writeMessage { $0.writeBytes(bytes) }
        } catch {
            throw ClientError(.invalidArgument, "the request cannot be encoded: \(error)")
        }
        return body
    }

    /// How many records of this size go into a batch; at least one.
    static func recordsPerBatch(_ options: LoadOptions) -> Int {
        // A record has about ten bytes around its value.
        max(1, options.batchBytes / (options.recordSize + 10))
    }

    /// A batch for Produce.
    static func batch(_ options: LoadOptions, timestamp: Int64) -> ByteBuffer {
        let count = recordsPerBatch(options)
        var builder = RecordBatchBuilder(
            compression: options.compression, capacity: count * (options.recordSize + 16) + 64)
        for index in 0..<count {
            builder.append(
                key: nil, value: value(size: options.recordSize, seed: UInt64(index)),
                timestamp: timestamp)
        }
        return builder.finish()
    }
}
