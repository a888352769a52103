// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a web request on an HTTP/2 stream.

import HTTP2
import NIOCore

final class HTTP2WebSink: WebSink, HTTP2StreamHandler {
    private let stream: HTTP2Stream
    private unowned let connection: GRPCConnection
    var call: WebCall?

    init(_ stream: HTTP2Stream, _ connection: GRPCConnection) {
        self.stream = stream
        self.connection = connection
    }

    func head(_ head: WebHead, length: Int?) {
        var fields = [(name: ":status", value: String(head.status))]
        if !head.contentType.isEmpty { fields.append(("content-type", head.contentType)) }
        fields += head.fields
        if let length { fields.append(("content-length", String(length))) }
        stream.respond(HTTP2FieldList(fields))
    }

    func write(_ bytes: ByteBuffer) { stream.outbound.writeImmutableBuffer(bytes) }

    var isHeldUp: Bool { stream.isHeldUp }

    func finish() {
        stream.finish()
        connection.scheduleFlush()
    }

    func resume() {
        stream.resume()
        connection.scheduleFlush()
    }

    func abandon() {
        stream.reset(.cancel)
        connection.scheduleFlush()
    }

    // MARK: The stream

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        if endOfStream { call?.receivedEnd() }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) { call?.received(data) }
    func receivedEnd(on stream: HTTP2Stream) { call?.receivedEnd() }
    func produce(room: Int, on stream: HTTP2Stream) { call?.pull(room: room) }

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        call?.closed()
        call = nil
    }
}
