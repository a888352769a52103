// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2Tests: requests, responses, flow control and shutdown between two sessions.

import NIOCore
import Testing

@testable import HTTP2

private let responseFields = HTTP2FieldList(
    [(":status", "200"), ("content-type", "application/grpc")], permanent: true)
private let okTrailers = HTTP2FieldList([("grpc-status", "0")], permanent: true)

@Suite struct HTTP2SessionTests {
    @Test(arguments: [Int.max, 1, 7, 1000])
    func `A unary call arrives whole however the bytes are cut`(chunk: Int) throws {
        let exchange = Exchange()
        exchange.chunk = chunk
        let (call, response) = try exchange.request([("grpc-timeout", "5S"), ("x-custom", "1")])
        call.outbound.writeImmutableBuffer(bytes(3000))
        call.finish()
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(responseFields)
            stream.outbound.writeString("answer")
            stream.finish(trailers: okTrailers)
        }
        try exchange.run()
        let seen = try #require(exchange.serverEvents.streams.first?.recorder)
        #expect(seen.headers.first?[.path] == "/martlet.v1.Streams/Publish")
        #expect(seen.headers.first?[.grpcTimeout] == "5S")
        #expect(seen.headers.first?[.contentType] == "application/grpc")
        #expect(seen.others["x-custom"] == "1")
        #expect(seen.body == bytes(3000))
        #expect(seen.hasEnd)
        #expect(response.headers.map { $0[.status] } == ["200", nil])
        #expect(String(buffer: response.body) == "answer")
        #expect(response.headers.last?[.grpcStatus] == "0")
        #expect(response.hasEnd)
        #expect(response.closedWith == .noError && seen.closedWith == .noError)
        #expect(exchange.client.streamCount == 0 && exchange.server.streamCount == 0)
        #expect(!call.isOpen)
    }

    @Test func `A response of headers alone ends the call even if the request goes on`() throws {
        let exchange = Exchange()
        let (_, response) = try exchange.request()
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(
                HTTP2FieldList([(":status", "200"), ("grpc-status", "12")]), endOfStream: true)
        }
        try exchange.run()
        #expect(response.headers.first?[.grpcStatus] == "12")
        #expect(response.closedWith == .noError)
        #expect(exchange.server.streamCount == 0 && exchange.client.streamCount == 0)
    }

    @Test func `Trailers without a body arrive`() throws {
        let exchange = Exchange()
        let (_, response) = try exchange.request(end: true)
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(responseFields)
            stream.finish(trailers: okTrailers)
        }
        try exchange.run()
        #expect(response.headers.count == 2)
        #expect(response.headers.last?[.grpcStatus] == "0")
        #expect(response.closedWith == .noError)
    }

    @Test func `Data is pulled only while the peer's window has room, and goes on when it opens`() throws {
        var small = HTTP2Configuration()
        small.streamWindowBytes = 65535
        let exchange = Exchange(client: small)
        let (call, response) = try exchange.request(end: true)
        call.isInboundHeld = true
        exchange.serverEvents.onRequest = { stream, recorder in
            recorder.onProduce = { _, stream in stream.outbound.writeImmutableBuffer(bytes(10_000)) }
            stream.respond(responseFields)
        }
        try exchange.run()
        let sender = try #require(exchange.serverEvents.streams.first)
        #expect(response.body.readableBytes == 65535)
        // 7 pieces of 10,000 bytes: what does not fit waits, and nothing more was asked for.
        #expect(sender.recorder.rooms.count == 7)
        #expect(sender.stream.outbound.readableBytes == 70_000 - 65535)
        #expect(sender.recorder.rooms.first == 65535)
        call.isInboundHeld = false
        call.isInboundHeld = true
        try exchange.run()
        #expect(response.body.readableBytes == 2 * 65535)
        #expect(sender.recorder.rooms.count == 14)
    }

    @Test func `A stream with nothing to send is left alone until it resumes`() throws {
        let exchange = Exchange()
        let (_, response) = try exchange.request(end: true)
        exchange.serverEvents.onRequest = { stream, _ in stream.respond(responseFields) }
        try exchange.run()
        let (stream, recorder) = try #require(exchange.serverEvents.streams.first)
        #expect(recorder.rooms.count == 1)
        #expect(response.headers.count == 1 && !response.hasEnd)
        try exchange.run()
        #expect(recorder.rooms.count == 1)
        recorder.onProduce = { _, stream in
            stream.outbound.writeString("late")
            stream.finish(trailers: okTrailers)
        }
        stream.resume()
        try exchange.run()
        #expect(String(buffer: response.body) == "late")
        #expect(response.closedWith == .noError)
    }

    @Test func `One collection stays near its limit although the source never ends`() throws {
        var wide = HTTP2Configuration()
        wide.streamWindowBytes = 1 << 30
        wide.connectionWindowBytes = 1 << 30
        let exchange = Exchange(client: wide)
        _ = try exchange.request(end: true)
        exchange.serverEvents.onRequest = { stream, recorder in
            recorder.onProduce = { _, stream in stream.outbound.writeImmutableBuffer(bytes(100_000)) }
            stream.respond(responseFields)
        }
        try exchange.move(exchange.client, to: exchange.server)
        try exchange.move(exchange.server, to: exchange.client)
        try exchange.move(exchange.client, to: exchange.server)
        var out = ByteBuffer()
        let more = try exchange.server.collect(into: &out, limit: 50_000)
        #expect(more)
        #expect(out.readableBytes >= 50_000 && out.readableBytes < 50_000 + (64 << 10) + 9)
        let next = try exchange.server.collect(into: &out, limit: 300_000)
        #expect(next && out.readableBytes >= 300_000)
    }

    @Test func `Two endless streams share the connection`() throws {
        let exchange = Exchange()
        let calls = try (0..<2).map { _ in try exchange.request(end: true) }
        exchange.serverEvents.onRequest = { stream, recorder in
            recorder.onProduce = { _, stream in stream.outbound.writeImmutableBuffer(bytes(20_000)) }
            stream.respond(responseFields)
        }
        for _ in 0..<20 {
            try exchange.move(exchange.client, to: exchange.server)
            try exchange.move(exchange.server, to: exchange.client)
        }
        let received = calls.map { $0.1.body.readableBytes }
        #expect(received.allSatisfy { $0 > 100_000 })
        #expect(abs(received[0] - received[1]) < 200_000)
    }

    @Test func `A reset tells the other side its code`() throws {
        let exchange = Exchange()
        let (call, response) = try exchange.request()
        try exchange.run()
        call.reset(.cancel)
        try exchange.run()
        let seen = try #require(exchange.serverEvents.streams.first)
        #expect(seen.recorder.closedWith == .cancel && seen.recorder.closedCount == 1)
        #expect(response.closedWith == .cancel && response.closedCount == 1)
        // Too late to matter, and no harm.
        seen.stream.respond(responseFields)
        seen.stream.finish()
        seen.stream.reset(.internalError)
        try exchange.run()
        #expect(exchange.server.streamCount == 0)
    }

    @Test func `A closed connection closes every stream once`() throws {
        let exchange = Exchange()
        let calls = try (0..<3).map { _ in try exchange.request() }
        try exchange.run()
        exchange.server.connectionClosed()
        exchange.server.connectionClosed()
        exchange.client.connectionClosed()
        for (_, recorder) in exchange.serverEvents.streams { #expect(recorder.closedCount == 1) }
        for (_, recorder) in calls { #expect(recorder.closedWith == .cancel && recorder.closedCount == 1) }
    }

    @Test func `Draining lets open calls finish, refuses new ones, and then the connection is done`() throws {
        let exchange = Exchange()
        let (call, response) = try exchange.request()
        try exchange.run()
        exchange.server.announceShutdown()
        try exchange.run()
        #expect(exchange.clientEvents.goAway?.1 == Int32.max)
        #expect(exchange.client.request(HTTP2FieldList([]), handler: Recorder()) == nil)
        exchange.server.refuseNewStreams()
        try exchange.run()
        #expect(exchange.clientEvents.goAway?.1 == call.id)
        #expect(!exchange.server.isDone)
        let stream = try #require(exchange.serverEvents.streams.first?.stream)
        stream.respond(responseFields)
        stream.finish(trailers: okTrailers)
        call.finish()
        try exchange.run()
        #expect(response.closedWith == .noError)
        #expect(exchange.server.isDone && exchange.client.isDone)
    }

    @Test func `A ping is answered and the answer reported`() throws {
        let exchange = Exchange()
        exchange.server.ping()
        try exchange.run()
        #expect(exchange.serverEvents.pings == 1)
        #expect(exchange.clientEvents.pings == 0)
        #expect(exchange.serverEvents.settings == 2)
    }

    @Test func `Frames grow to what the peer takes`() throws {
        var large = HTTP2Configuration()
        large.frameBytesMax = 1 << 20
        let exchange = Exchange(client: large)
        exchange.limit = 1 << 20
        let (_, response) = try exchange.request(end: true)
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(responseFields)
            stream.outbound.writeImmutableBuffer(bytes(256 << 10))
            stream.finish(trailers: okTrailers)
        }
        try exchange.run()
        #expect(response.body == bytes(256 << 10))
        #expect(response.chunks == 4)
    }
}
