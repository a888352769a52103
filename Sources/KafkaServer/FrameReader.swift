// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: received bytes into request frames (four bytes of length, then the request).
//
// A value owned by one connection; no I/O. Complete frames are slices of what was received. A length is believed
// only as far as bytes arrive: an absurd one is refused, a large one reserves no more than a fixed amount.

import KafkaWire
import NIOCore

struct FrameReader {
    struct Oversized: Error, Equatable {
        var length: Int
        var limit: Int
    }

    private var buffer = ByteBuffer()
    private let limit: Int
    private let otherLimit: Int

    /// - Parameter otherLimit: the limit for requests other than Produce, which carry no records.
    init(limit: Int, otherLimit: Int = .max) {
        self.limit = limit
        self.otherLimit = otherLimit
    }

    /// Nothing waits to be cut or completed.
    var isEmpty: Bool { buffer.readableBytes == 0 }

    /// Bytes that are held, or will be before the next frame is whole; 0 if nothing waits.
    var bytesWanted: Int {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: Int32.self) else { return buffer.readableBytes }
        return max(buffer.readableBytes, 4 + min(max(0, Int(length)), limit))
    }

    /// Bytes that have arrived and were not cut into frames yet.
    var bytesHeld: Int { buffer.readableBytes }

    /// Takes what was received. Call `next()` until it returns nil.
    mutating func receive(_ bytes: ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
            return
        }
        var bytes = bytes
        buffer.writeBuffer(&bytes)
    }

    /// The next whole frame, without its length; nil if more bytes are needed. `bytesMax`: as long as nobody has logged in.
    mutating func next(bytesMax: Int = .max) throws(Oversized) -> ByteBuffer? {
        let limit = min(limit, bytesMax)
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: Int32.self).map(Int.init) else {
            release()
            return nil
        }
        guard length >= 0, length <= limit else { throw Oversized(length: length, limit: limit) }
        if length > otherLimit, let key = buffer.getInteger(at: buffer.readerIndex + 4, as: Int16.self) {
            guard key == ApiKey.produce.rawValue else { throw Oversized(length: length, limit: otherLimit) }
        }
        guard buffer.readableBytes >= 4 + length else {
            keepForRest(of: 4 + length)
            return nil
        }
        buffer.moveReaderIndex(forwardBy: 4)
        return buffer.readSlice(length: length)
    }

    /// Nothing is left over: do not hold on to the receive buffer.
    private mutating func release() {
        if buffer.readableBytes == 0 { buffer = ByteBuffer() }
    }

    /// Moves a partial frame into a buffer of its own, with room for the rest if that is not too much.
    private mutating func keepForRest(of size: Int) {
        let wanted = min(size, Limits.reservedFrameBytes)
        guard buffer.readerIndex > 0 || buffer.storageCapacity < wanted else { return }
        var own = ByteBuffer()
        own.reserveCapacity(max(wanted, buffer.readableBytes))
        own.writeBuffer(&buffer)
        buffer = own
    }
}
