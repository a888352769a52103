// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: between a call, which speaks gRPC, and what a browser or curl speaks.
//
// One translator a call, no I/O. It makes gRPC frames of a request's body and a body of gRPC frames.

import GRPCWire
import NIOCore

protocol WebTranslator: AnyObject {
    /// More of the request's body; frames that are complete.
    func received(_ body: ByteBuffer) throws(GRPCStatus) -> ByteBuffer
    /// The request is complete; what is left of it.
    func receivedEnd() throws(GRPCStatus) -> ByteBuffer
    /// The answer's head where the answer begins before its end is known.
    func begin() -> WebHead?
    /// The answer begins with its first message, so that what goes wrong before has an HTTP status of its own.
    var beginsWithMessage: Bool { get }
    /// Whole frames of the answer, as body.
    func answer(_ frames: ByteBuffer) throws(GRPCStatus) -> ByteBuffer
    /// The end of the answer; the head, if `begin` gave none.
    func end(_ status: GRPCStatus) -> (head: WebHead, body: ByteBuffer)
}

extension WebTranslator {
    var beginsWithMessage: Bool { false }
}

struct WebHead {
    var status = 200
    var contentType: String
    var fields: [(name: String, value: String)] = []
}

/// A request's body that is needed whole.
struct WebBody {
    private(set) var bytes = ByteBuffer()

    mutating func append(_ body: ByteBuffer) throws(GRPCStatus) {
        guard bytes.readableBytes + body.readableBytes <= Limits.messageBytes else {
            throw GRPCStatus(
                .resourceExhausted, "MESSAGE_TOO_LARGE", [("limit", "\(Limits.messageBytes)")],
                "the request is larger than the \(Limits.messageBytes) bytes allowed; send less at a time")
        }
        bytes.writeImmutableBuffer(body)
    }
}

extension ByteBuffer {
    /// One gRPC frame with this message.
    static func frame(_ message: ByteBuffer) -> ByteBuffer {
        var frame = ByteBuffer()
        frame.writeMessage { $0.writeImmutableBuffer(message) }
        return frame
    }

    /// The messages of whole frames.
    mutating func readFrames() -> [ByteBuffer] {
        var messages: [ByteBuffer] = []
        while readInteger(as: UInt8.self) != nil, let length = readInteger(as: UInt32.self),
            let message = readSlice(length: Int(length))
        { messages.append(message) }
        return messages
    }
}

extension GRPCStatus {
    /// As the Connect protocol has it.
    var connectCode: String { code == .cancelled ? "canceled" : code.name.lowercased() }

    var httpStatus: Int {
        switch code {
        case .ok: 200
        case .cancelled: 499
        case .invalidArgument, .failedPrecondition, .outOfRange: 400
        case .deadlineExceeded: 504
        case .notFound: 404
        case .alreadyExists, .aborted: 409
        case .permissionDenied: 403
        case .resourceExhausted: 429
        case .unimplemented: 501
        case .unavailable: 503
        case .unauthenticated: 401
        case .unknown, .internal, .dataLoss: 500
        }
    }
}
