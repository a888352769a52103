// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: cuts received bytes into Kafka's frames.
//
// A value with one owner. Holds at most one frame that is not complete; a length beyond the bound
// is an error before anything is allocated for it.

import NIOCore

/// Received bytes that wait to be whole frames.
struct FrameSplitter {
    private var received = ByteBuffer()
    let frameBytesMax: Int

    init(frameBytesMax: Int = 256 * 1024 * 1024) {
        self.frameBytesMax = frameBytesMax
    }

    /// Takes what was read.
    mutating func append(_ bytes: ByteBuffer) {
        if received.readableBytes == 0 {
            received = bytes
        } else {
            received.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole frame, without its length prefix; nil if there is none yet.
    mutating func next() throws(ClientError) -> ByteBuffer? {
        guard let length = received.getInteger(at: received.readerIndex, as: Int32.self) else {
            return nil
        }
        guard length >= 4, Int(length) <= frameBytesMax else {
            throw ClientError(
                .badAnswer,
                """
                the answer starts with a length of \(length) bytes, which no Kafka broker sends: \
                another protocol is spoken on this port
                """
            )
        }
        guard received.readableBytes >= 4 + Int(length) else {
            received.reserveCapacity(minimumWritableBytes: 4 + Int(length) - received.readableBytes)
            return nil
        }
        received.moveReaderIndex(forwardBy: 4)
        let frame = received.readSlice(length: Int(length))
        if received.readableBytes == 0 { received = ByteBuffer() }
        return frame
    }
}
