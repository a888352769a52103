// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: requests of browsers and curl: gRPC-Web, Connect, records as JSON, event streams.
//
//   two bytes say how the body is cut; one chooses the method or what follows it in the path; one the content type; a byte
//   gives the length of a text that stands in path, query and headers; the rest is the body, and an answer's message
//
// Properties: what comes out is whole gRPC frames, the same however the body is cut; an answer of any bytes is translated or
// refused; and every end has a head.

import GRPCWire
import NIOCore
import Transport

@testable import GRPCServer

private let contentTypes = [
    "application/grpc-web", "application/grpc-web-text", "application/json", "application/proto",
    "application/connect+json", "application/connect+proto", "text/plain", "",
]
private let paths = WebTranscoding.all.keys.sorted()

@Sendable func fuzzWeb(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let head = head(&bytes)
    let body = bytes.ownCopy
    guard let first = WebRequest(head), case .call(let whole, _, _, let timeout) = first,
        let second = WebRequest(head), case .call(let cut, _, _, _) = second
    else { return }
    if let timeout { try require(timeout.nanoseconds >= 0, "a timeout is negative") }
    let made = frames(whole, [body])
    try require(made == frames(cut, pieces(body, seed: seed | 1)), "the request depends on how it arrives")
    if let made, !(whole is GRPCWebTranslator) { try requireWholeFrames(made) }
    // Whatever the broker may answer.
    _ = whole.begin()
    for answer in [ByteBuffer.frame(body), ByteBuffer.frame(ByteBuffer())] { _ = try? whole.answer(answer) }
    for status in [GRPCStatus.ok, GRPCStatus(.notFound, String(buffer: body))] {
        let (head, _) = whole.end(status)
        try require((200...599).contains(head.status), "an answer has no HTTP status")
    }
}

/// What a translator makes of a body; nil: it refuses it.
private func frames(_ translator: any WebTranslator, _ pieces: [ByteBuffer]) -> ByteBuffer? {
    var frames = ByteBuffer()
    do throws(GRPCStatus) {
        for piece in pieces { frames.writeImmutableBuffer(try translator.received(piece)) }
        frames.writeImmutableBuffer(try translator.receivedEnd())
    } catch {
        return nil
    }
    return frames
}

private func requireWholeFrames(_ frames: ByteBuffer) throws {
    var rest = frames
    _ = rest.readFrames()
    try require(rest.readableBytes == 0, "a translator makes a frame that is cut short")
}

private func head(_ bytes: inout ByteBuffer) -> HTTPHead {
    let choice = Int(bytes.choice())
    let contentType = contentTypes[Int(bytes.choice()) % contentTypes.count]
    let text = String(buffer: bytes.take(Int(bytes.choice())))
    let fields = [
        (name: "content-type", value: contentType), (name: "grpc-timeout", value: text), (name: "connect-timeout-ms", value: text),
        (name: "last-event-id", value: text),
    ]
    switch choice % (paths.count + 4) {
    case let index where index < paths.count:
        // Not every method with headers that are nonsense.
        return HTTPHead(
            method: "POST", target: paths[index], fields: choice < 128 ? [fields[0]] : fields)
    case paths.count: return HTTPHead(method: "GET", target: "/v1/topics/t/events?\(text)", fields: [])
    case paths.count + 1: return HTTPHead(method: "GET", target: "/v1/topics/t/events", fields: fields)
    case paths.count + 2: return HTTPHead(method: "POST", target: "/v1/topics/t/records", fields: [fields[0]])
    default: return HTTPHead(method: choice < 128 ? "POST" : "GET", target: text, fields: fields)
    }
}
