// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2Tests: a client and a server session that talk to each other in memory.

import Bytes
import NIOCore

@testable import HTTP2

/// What one side of a stream saw.
final class Recorder: HTTP2StreamHandler {
    var headers: [[HTTP2Field: String]] = []
    var others: [String: String] = [:]
    var body = ByteBuffer()
    var chunks = 0
    var hasEnd = false
    var closedWith: HTTP2ErrorCode?
    var closedCount = 0
    /// What the stream sends when it is asked to; nothing if nil.
    var onProduce: ((Int, HTTP2Stream) -> Void)?
    var rooms: [Int] = []

    func received(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        record(fields)
        hasEnd = hasEnd || endOfStream
    }

    func record(_ fields: HTTP2Fields) {
        var seen: [HTTP2Field: String] = [:]
        for field in HTTP2Field.allCases { seen[field] = fields.string(field) }
        headers.append(seen)
        if let custom = fields.value(named: "x-custom") { others["x-custom"] = custom }
    }

    func received(_ data: ByteBuffer, on stream: HTTP2Stream) {
        var data = data
        body.writeBuffer(&data)
        chunks += 1
    }

    func receivedEnd(on stream: HTTP2Stream) { hasEnd = true }

    func produce(room: Int, on stream: HTTP2Stream) {
        rooms.append(room)
        onProduce?(room, stream)
    }

    func closed(_ code: HTTP2ErrorCode, on stream: HTTP2Stream) {
        closedWith = code
        closedCount += 1
    }
}

final class SessionRecorder: HTTP2SessionDelegate {
    var streams: [(stream: HTTP2Stream, recorder: Recorder)] = []
    var settings = 0
    var goAway: (HTTP2ErrorCode, Int32)?
    var pings = 0
    var truncated = 0
    var onRequest: ((HTTP2Stream, Recorder) -> Void)?

    func receivedRequest(_ fields: HTTP2Fields, endOfStream: Bool, on stream: HTTP2Stream) {
        let recorder = Recorder()
        recorder.record(fields)
        recorder.hasEnd = endOfStream
        if fields.isTruncated { truncated += 1 }
        stream.handler = recorder
        streams.append((stream, recorder))
        onRequest?(stream, recorder)
    }

    func receivedSettings() { settings += 1 }
    func receivedGoAway(_ code: HTTP2ErrorCode, lastStreamId: Int32) { goAway = (code, lastStreamId) }
    func receivedPingAnswer() { pings += 1 }
}

/// Two sessions and the bytes between them.
final class Exchange {
    let clock = ManualClock()
    let client: HTTP2Session
    let server: HTTP2Session
    let clientEvents = SessionRecorder()
    let serverEvents = SessionRecorder()
    /// How many bytes a collection may take, and how many are delivered at once.
    var limit = 1 << 16
    var chunk = Int.max

    init(server: HTTP2Configuration = HTTP2Configuration(), client: HTTP2Configuration = HTTP2Configuration()) {
        self.client = HTTP2Session(role: .client, configuration: client, clock: clock)
        self.server = HTTP2Session(role: .server, configuration: server, clock: clock)
        self.client.delegate = clientEvents
        self.server.delegate = serverEvents
    }

    deinit {
        client.connectionClosed()
        server.connectionClosed()
    }

    /// Moves one collection from one side to the other; returns how many bytes there were.
    @discardableResult
    func move(_ from: HTTP2Session, to: HTTP2Session) throws -> Int {
        var bytes = ByteBuffer()
        _ = try from.collect(into: &bytes, limit: limit)
        let count = bytes.readableBytes
        while let part = bytes.readSlice(length: min(chunk, bytes.readableBytes)), part.readableBytes > 0 {
            try to.receive(part)
        }
        return count
    }

    /// Moves bytes both ways until both sides are silent.
    func run() throws {
        while try move(client, to: server) + move(server, to: client) > 0 {}
    }

    /// Requests of the client that stay open for a body, unless ended.
    func request(
        _ extra: [(String, String)] = [], path: String = "/martlet.v1.Streams/Publish", end: Bool = false
    ) throws -> (HTTP2Stream, Recorder) {
        let recorder = Recorder()
        let fields: [(name: String, value: String)] =
            [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
                ("content-type", "application/grpc"), ("te", "trailers"),
            ] + extra.map { (name: $0.0, value: $0.1) }
        guard let stream = client.request(HTTP2FieldList(fields), handler: recorder, endOfStream: end) else {
            throw HTTP2Error(.failed, "no stream")
        }
        return (stream, recorder)
    }
}

func bytes(_ count: Int, seed: Int = 0) -> ByteBuffer {
    ByteBuffer(bytes: (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31) &+ seed) })
}
