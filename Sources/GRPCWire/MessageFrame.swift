// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCWire: the frame around each message: a compression flag and a 4-byte length (gRPC over HTTP/2,
// "Length-Prefixed-Message").

import NIOCore

package enum MessageFrame {
    /// Bytes before a message.
    package static let prefixSize = 5
}

extension ByteBuffer {
    /// Appends an uncompressed message; `body` writes its bytes, and the length is filled in afterwards.
    @inlinable
    package mutating func writeMessage<Failure: Error>(
        _ body: (inout ByteBuffer) throws(Failure) -> Void
    ) throws(Failure) {
        let start = writerIndex
        writeInteger(UInt8(0))
        writeInteger(UInt32(0))
        try body(&self)
        setInteger(UInt32(writerIndex - start - 5), at: start + 1)
    }
}
