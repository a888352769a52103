// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: what our HTTP/2 client does with the bytes of a server that means it ill.
//
//   two bytes say how what follows is cut into reads; the rest is what the server sends
//
// Properties: a call is told of its end once; the session holds no stream after the connection's end.

import Bytes
import HTTP2
import NIOCore

private final class Listener: HTTP2StreamHandler, HTTP2SessionDelegate {
    var ends = 0
    var bytes = 0

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        for field in HTTP2Field.allCases { bytes += fields.string(field)?.utf8.count ?? 0 }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        bytes += data.readableBytes
        if bytes > 1 << 12 { stream.reset(.cancel) }
    }

    func receivedEnd(on stream: HTTP2Stream) {}
    func produce(room: Int, on stream: HTTP2Stream) { stream.finish() }
    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) { ends += 1 }

    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {}
    func receivedSettings() {}
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) {}
    func receivedPingAnswer() {}
}

@Sendable func fuzzHTTP2Client(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let session = HTTP2Session(role: .client, clock: ManualClock())
    let listeners = [Listener(), Listener()]
    session.delegate = listeners[0]
    let fields = HTTP2FieldList([
        (":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x"),
    ])
    for listener in listeners { _ = session.request(fields, handler: listener) }
    var out = ByteBuffer()
    do throws(HTTP2Error) {
        _ = try session.collect(into: &out, limit: 1 << 16)
        for piece in pieces(bytes, seed: seed) {
            try session.receive(piece)
            out.clear()
            _ = try session.collect(into: &out, limit: 1 << 16)
        }
    } catch {
        // The connection is over; that is an answer.
    }
    session.connectionClosed()
    try require(session.streamCount == 0, "a stream outlives its connection")
    for listener in listeners {
        try require(listener.ends == 1, "a call was told \(listener.ends) times that it ended")
    }
}
