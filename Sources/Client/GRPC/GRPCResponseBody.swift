// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the messages in the body of a gRPC response.
//
// A value with one owner. Compressed messages are refused: the client does not ask for them.

import GRPCWire
import NIOCore

struct GRPCResponseBody {
    private var deframer: MessageDeframer

    init(messageBytesMax: Int = 64 << 20) {
        deframer = MessageDeframer(messageBytesMax: messageBytesMax)
    }

    /// Takes part of the body.
    mutating func append(_ data: ByteBuffer) {
        deframer.append(data)
    }

    /// The next whole message; nil if there is none yet.
    mutating func next() throws(ClientError) -> ByteBuffer? {
        let message: MessageDeframer.Message?
        do throws(GRPCStatus) {
            message = try deframer.next()
        } catch {
            throw ClientError(.badAnswer, error.message)
        }
        guard message?.isCompressed != true else {
            throw ClientError(.badAnswer, "the broker compressed a message without being asked")
        }
        return message?.bytes
    }
}
