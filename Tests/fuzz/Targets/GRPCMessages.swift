// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: gRPC's framing and small headers.
//
//   two bytes say how what follows is cut; the rest is the body of a request, and as text its headers
//
// Properties: the same messages come out however the body is cut; nothing waits that was not received;
// a timeout and a status message survive being written and read.

import GRPCWire
import NIOCore
import Records

private let messageBytesMax = 1 << 16

@Sendable func fuzzGRPCMessages(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let whole = try messages([bytes])
    let cut = try messages(pieces(bytes, seed: seed | 1))
    try require(whole == cut, "messages depend on how the body arrives")
    if let timeout = GRPCTimeout.parse(bytes) {
        try require(timeout.nanoseconds >= 0, "a timeout is negative")
        let text = GRPCTimeout.format(timeout)
        let again = GRPCTimeout.parse(ByteBuffer(string: text))
        try require(again.map { $0 >= timeout } ?? false, "\(text) is no timeout, or a shorter one")
    }
    _ = MessageEncoding(bytes)
    let text = String(buffer: bytes)
    let status = GRPCStatus(.internal, text)
    let decoded = GRPCStatus.decodedMessage(status.encodedMessage)
    if text.utf8.count < 1000 { try require(decoded == text, "a status message changes on its way") }
    _ = GRPCStatus.decodedMessage(text)
}

private struct Body: Equatable {
    var messages: [ByteBuffer] = []
    var hasFailed = false
    var isIncomplete = false
}

private func messages(_ received: [ByteBuffer]) throws -> Body {
    var deframer = MessageDeframer(messageBytesMax: messageBytesMax)
    let decompressor = Decompressor()
    var body = Body()
    var count = 0
    for piece in received where !body.hasFailed {
        count += piece.readableBytes
        deframer.append(piece)
        do throws(GRPCStatus) {
            while let message = try deframer.next() {
                let bytes = try message.decoded(.gzip, decompressor, bytesMax: messageBytesMax)
                body.messages.append(bytes)
            }
            deframer.keep()
        } catch {
            body.hasFailed = true
        }
        try require(deframer.pendingBytes <= count, "more waits than was received")
        try require(
            body.hasFailed || deframer.pendingBytes < messageBytesMax + 5, "a whole message waits")
    }
    body.isIncomplete = !body.hasFailed && deframer.isIncomplete
    return body
}
