// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: gRPC-Web: gRPC's own frames, the status in a frame at the end of the body, all of it in base64 for
// `application/grpc-web-text`.

import Bytes
import GRPCWire
import NIOCore

final class GRPCWebTranslator: WebTranslator {
    private let isText: Bool
    /// Characters of a group of four that is not complete.
    private var characters: [UInt8] = []

    init(isText: Bool) {
        self.isText = isText
    }

    func received(_ body: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        guard isText else { return body }
        characters += body.readableBytesView
        let whole = characters.count - characters.count % 4
        var frames = ByteBuffer()
        // Groups may be padded anywhere: a client encodes every piece by itself.
        var start = 0
        for end in stride(from: 4, through: whole, by: 4) where characters[end - 1] == UInt8(ascii: "=") || end == whole {
            guard let bytes = Base64.decode(characters[start..<end]) else {
                throw GRPCStatus(
                    .invalidArgument, "INVALID_MESSAGE", "the request is not base64, which application/grpc-web-text is")
            }
            frames.writeBytes(bytes)
            start = end
        }
        characters.removeFirst(whole)
        return frames
    }

    func receivedEnd() throws(GRPCStatus) -> ByteBuffer {
        guard characters.isEmpty else { 
            throw GRPCStatus(.invalidArgument, "INCOMPLETE_MESSAGE", "the request ends in the middle of base64; send all of it")
        }
        return ByteBuffer()
    }

    private var head: WebHead {
        WebHead(
            contentType: isText ? "application/grpc-web-text+proto" : "application/grpc-web+proto",
            fields: [("grpc-accept-encoding", MessageEncoding.accepted)])
    }

    func begin() -> WebHead? { head }

    func answer(_ frames: ByteBuffer) -> ByteBuffer {
        isText ? ByteBuffer(string: Base64.encode(frames.readableBytesView)) : frames
    }

    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer) {
        var lines = ""
        for (name, value) in GRPCFields.statusFields(status) { lines += "\(name): \(value)\r\n" }
        var frame = ByteBuffer()
        frame.writeInteger(UInt8(0x80))
        frame.writeInteger(UInt32(lines.utf8.count))
        frame.writeString(lines)
        return (head, answer(frame))
    }
}
