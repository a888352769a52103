// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the Connect protocol: unary calls are plain HTTP, streams are enveloped as in gRPC, with an end that is
// JSON; messages in either are Protocol Buffers or JSON.

import Bytes
import GRPCWire
import NIOCore
import Telemetry

/// A unary call.
final class ConnectUnaryTranslator: WebTranslator {
    private let transcoding: WebTranscoding
    private let isJSON: Bool
    private var body = WebBody()
    private var message = ByteBuffer()

    init(_ transcoding: WebTranscoding, isJSON: Bool) {
        self.transcoding = transcoding
        self.isJSON = isJSON
    }

    func received(_ bytes: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        try body.append(bytes)
        return ByteBuffer()
    }

    func receivedEnd() throws(GRPCStatus) -> ByteBuffer {
        .frame(isJSON ? try transcoding.request(body.bytes) : body.bytes)
    }

    func begin() -> WebHead? { nil }

    func answer(_ frames: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        var frames = frames
        if let only = frames.readFrames().first { message = isJSON ? try transcoding.answer(only) : only }
        return ByteBuffer()
    }

    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer) {
        guard status.code == .ok else {
            return (WebHead(status: status.httpStatus, contentType: "application/json"), ConnectError.json(status))
        }
        return (WebHead(contentType: isJSON ? "application/json" : "application/proto"), message)
    }
}

/// A call with a stream of answers.
final class ConnectStreamTranslator: WebTranslator {
    private let transcoding: WebTranscoding
    private let isJSON: Bool
    private var deframer = MessageDeframer(messageBytesMax: Limits.messageBytes)

    init(_ transcoding: WebTranscoding, isJSON: Bool) {
        self.transcoding = transcoding
        self.isJSON = isJSON
    }

    func received(_ bytes: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        deframer.append(bytes)
        deframer.keep()
        var frames = ByteBuffer()
        while let message = try deframer.next() {
            guard !message.isCompressed else {
                throw GRPCStatus(
                    .unimplemented, "UNSUPPORTED_COMPRESSION", "compressed messages are not taken over Connect; send them as they are")
            }
            frames.writeImmutableBuffer(.frame(isJSON ? try transcoding.request(message.bytes) : message.bytes))
        }
        return frames
    }

    func receivedEnd() throws(GRPCStatus) -> ByteBuffer {
        guard !deframer.isIncomplete else {
            throw GRPCStatus(.invalidArgument, "INCOMPLETE_MESSAGE", "the request ends in the middle of a message; send all of it")
        }
        return ByteBuffer()
    }

    private var head: WebHead { WebHead(contentType: isJSON ? "application/connect+json" : "application/connect+proto") }

    func begin() -> WebHead? { head }

    func answer(_ frames: ByteBuffer) throws(GRPCStatus) -> ByteBuffer {
        guard isJSON else { return frames }
        var frames = frames
        var body = ByteBuffer()
        for message in frames.readFrames() { body.writeImmutableBuffer(.frame(try transcoding.answer(message))) }
        return body
    }

    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer) {
        var text = ByteBuffer(string: "{}")
        if status.code != .ok {
            text = ByteBuffer(string: "{\"error\":")
            text.writeImmutableBuffer(ConnectError.json(status))
            text.writeString("}")
        }
        var envelope = ByteBuffer()
        envelope.writeInteger(UInt8(2))
        envelope.writeInteger(UInt32(text.readableBytes))
        envelope.writeImmutableBuffer(text)
        return (head, envelope)
    }
}

enum ConnectError {
    /// `{"code":"not_found","message":"…","details":[…]}`.
    static func json(_ status: GRPCStatus) -> ByteBuffer {
        var text = "{\"code\":\(JSONText.quoted(status.connectCode)),\"message\":\(JSONText.quoted(status.message))"
        let entries = status.info.messages(status.message).map {
            "{\"type\":\(JSONText.quoted($0.type)),\"value\":\(JSONText.quoted(Base64.encode($0.bytes.readableBytesView).filter { $0 != "=" }))}"
        }
        text += ",\"reason\":\(JSONText.quoted(status.reason)),\"details\":[\(entries.joined(separator: ","))]"
        return ByteBuffer(string: text + "}")
    }
}
