// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2Tests: what a hostile peer can do, and the bound it meets.

import NIOCore
import Testing

@testable import HTTP2

/// The client's preface and an empty SETTINGS frame.
private func opening() -> ByteBuffer {
    var buffer = ByteBuffer(string: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    buffer.writeImmutableBuffer(frame(type: 4))
    return buffer
}

private func frame(type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, payload: [UInt8] = []) -> ByteBuffer {
    var buffer = ByteBuffer()
    buffer.writeInteger(UInt8(payload.count >> 16))
    buffer.writeInteger(UInt16(payload.count & 0xffff))
    buffer.writeInteger(type)
    buffer.writeInteger(flags)
    buffer.writeInteger(stream)
    buffer.writeBytes(payload)
    return buffer
}

@Suite struct HTTP2LimitsTests {
    @Test func `Bytes that are no HTTP/2 preface are refused as such`() throws {
        let exchange = Exchange()
        #expect(throws: HTTP2Error(.badPreface, "")) {
            try exchange.server.receive(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        }
    }

    @Test func `Random bytes after the preface end the connection without a stream`() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            let exchange = Exchange()
            try exchange.server.receive(opening())
            let noise = (0..<300).map { _ in UInt8.random(in: 0...255, using: &random) }
            do throws(HTTP2Error) {
                try exchange.server.receive(ByteBuffer(bytes: noise))
                var out = ByteBuffer()
                _ = try exchange.server.collect(into: &out, limit: 1 << 20)
                #expect(out.readableBytes < 1 << 16)
            } catch {
                #expect(error.code != .badPreface)
            }
            #expect(exchange.server.streamCount <= 1)
        }
    }

    @Test func `An oversized frame ends the connection with FRAME_SIZE_ERROR`() throws {
        let exchange = Exchange()
        exchange.server.delegate = exchange.serverEvents
        try exchange.server.receive(opening())
        try exchange.server.receive(frame(type: 0, stream: 1, payload: Array(repeating: 0, count: 70_000)))
        var out = ByteBuffer()
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
        #expect(exchange.server.isDone)
        // The last frame is GOAWAY (type 7) with the code in its last 4 bytes, unless debug data follows.
        let goAway = try #require(out.goAwayCode)
        #expect(goAway == HTTP2ErrorCode.frameSizeError.rawValue)
        #expect(exchange.server.goAwaySent == .frameSizeError)
    }

    @Test func `A peer that pings without reading answers is cut off`() throws {
        let exchange = Exchange()
        try exchange.server.receive(opening())
        #expect(throws: HTTP2Error(.flooded, "")) {
            for _ in 0..<1000 {
                try exchange.server.receive(frame(type: 6, payload: Array(repeating: 1, count: 8)))
            }
        }
    }

    @Test func `Pings that are answered in time are no flood`() throws {
        let exchange = Exchange()
        for _ in 0..<2000 {
            exchange.client.ping()
            try exchange.run()
        }
        #expect(exchange.clientEvents.pings == 2000)
    }

    @Test func `Rapid resets meet ENHANCE_YOUR_CALM`() throws {
        var configuration = HTTP2Configuration()
        configuration.resetBurst = 20
        configuration.resetsPerSecond = 10
        let exchange = Exchange(server: configuration)
        for _ in 0..<25 {
            guard let (call, _) = try? exchange.request() else { break }
            try exchange.run()
            call.reset(.cancel)
            try exchange.run()
        }
        #expect(exchange.clientEvents.goAway?.0 == .enhanceYourCalm)
        #expect(exchange.serverEvents.streams.count == 21)
        #expect(exchange.server.isDone)
    }

    @Test func `A reset is a reset whatever code it carries`() throws {
        var configuration = HTTP2Configuration()
        configuration.resetBurst = 20
        configuration.resetsPerSecond = 10
        let exchange = Exchange(server: configuration)
        for _ in 0..<25 {
            guard let (call, _) = try? exchange.request() else { break }
            try exchange.run()
            call.reset(.noError)
            try exchange.run()
        }
        #expect(exchange.clientEvents.goAway?.0 == .enhanceYourCalm)
        #expect(exchange.serverEvents.streams.count == 21)
    }

    @Test func `Calls that are answered early are no resets of the client's`() throws {
        var configuration = HTTP2Configuration()
        configuration.resetBurst = 20
        configuration.resetsPerSecond = 10
        let exchange = Exchange(server: configuration)
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(HTTP2FieldList([(":status", "200")]), endOfStream: true)
        }
        for _ in 0..<60 {
            _ = try exchange.request()
            try exchange.run()
        }
        #expect(exchange.clientEvents.goAway == nil)
    }

    @Test func `A flood of CONTINUATION frames ends the connection`() throws {
        let exchange = Exchange()
        exchange.server.delegate = exchange.serverEvents
        try exchange.server.receive(opening())
        // HEADERS without END_HEADERS, then pieces of one field that never ends the block.
        try exchange.server.receive(frame(type: 1, stream: 1, payload: [0x82]))
        var taken = 0
        while taken < 1000 {
            do throws(HTTP2Error) {
                try exchange.server.receive(frame(type: 9, stream: 1, payload: [0x82]))
            } catch {
                break
            }
            var out = ByteBuffer()
            _ = try exchange.server.collect(into: &out, limit: 1 << 16)
            if exchange.server.isDone { break }
            taken += 1
        }
        #expect(taken <= 16)
        #expect(exchange.serverEvents.streams.isEmpty)
    }

    @Test func `SETTINGS that are not read the answers of are cut off`() throws {
        let exchange = Exchange()
        try exchange.server.receive(opening())
        #expect(throws: HTTP2Error(.flooded, "")) {
            for _ in 0..<1000 { try exchange.server.receive(frame(type: 4)) }
        }
    }

    @Test func `Resets at a pace that the budget allows go on for ever`() throws {
        var configuration = HTTP2Configuration()
        configuration.resetBurst = 20
        configuration.resetsPerSecond = 10
        let exchange = Exchange(server: configuration)
        for _ in 0..<200 {
            let (call, _) = try exchange.request()
            try exchange.run()
            call.reset(.cancel)
            try exchange.run()
            exchange.clock.advance(ms: 101)
        }
        #expect(exchange.clientEvents.goAway == nil)
        #expect(exchange.serverEvents.streams.count == 200)
    }

    @Test func `Streams beyond the limit wait for their turn`() throws {
        var configuration = HTTP2Configuration()
        configuration.streamsMax = 3
        let exchange = Exchange(server: configuration)
        try exchange.run()
        let calls = try (0..<5).map { _ in try exchange.request() }
        try exchange.run()
        #expect(exchange.serverEvents.streams.count == 3)
        calls[0].0.reset(.cancel)
        try exchange.run()
        #expect(exchange.serverEvents.streams.count == 4)
    }

    @Test func `A header block beyond the limit is cut, flagged, and costs no memory`() throws {
        let exchange = Exchange()
        let (_, _) = try exchange.request((0..<100).map { ("x-\($0)", String(repeating: "a", count: 500)) })
        try exchange.run()
        #expect(exchange.serverEvents.truncated == 1)
        #expect(exchange.serverEvents.streams.first?.recorder.headers.first?[.path] != nil)
    }

    @Test func `A request without a path never becomes a stream event`() throws {
        let exchange = Exchange()
        let recorder = Recorder()
        let stream = exchange.client.request(
            HTTP2FieldList([(":method", "POST"), (":scheme", "http")]), handler: recorder, endOfStream: true)
        #expect(stream != nil)
        try exchange.run()
        #expect(exchange.serverEvents.streams.isEmpty)
        #expect(recorder.closedWith == .protocolError)
        #expect(exchange.server.streamCount == 0)
    }

    @Test func `A client cannot send more than the window it was given`() throws {
        var configuration = HTTP2Configuration()
        configuration.streamWindowBytes = 65535
        let exchange = Exchange(server: configuration)
        let (call, _) = try exchange.request()
        call.outbound.writeImmutableBuffer(bytes(200_000))
        exchange.serverEvents.onRequest = { stream, _ in stream.isInboundHeld = true }
        try exchange.run()
        let seen = try #require(exchange.serverEvents.streams.first)
        #expect(seen.recorder.body.readableBytes == 65535)
        seen.stream.isInboundHeld = false
        try exchange.run()
        #expect(seen.recorder.body.readableBytes == 200_000)
    }

    @Test func `Frames of unknown types are passed over`() throws {
        let exchange = Exchange()
        exchange.server.delegate = exchange.serverEvents
        try exchange.server.receive(opening())
        for type: UInt8 in [0x0a, 0x42, 0xff] {
            try exchange.server.receive(frame(type: type, flags: 0xff, payload: Array(repeating: 7, count: 100)))
        }
        try exchange.server.receive(frame(type: 6, payload: Array(repeating: 1, count: 8)))
        var out = ByteBuffer()
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
        #expect(!exchange.server.isDone && exchange.server.goAwaySent == nil)
    }

    @Test func `A window beyond what a window can be ends the connection with FLOW_CONTROL_ERROR`() throws {
        let exchange = Exchange()
        exchange.server.delegate = exchange.serverEvents
        try exchange.server.receive(opening())
        for _ in 0..<2 {
            try exchange.server.receive(frame(type: 8, payload: [0x7f, 0xff, 0xff, 0xff]))
        }
        var out = ByteBuffer()
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
        #expect(exchange.server.isDone && exchange.server.goAwaySent == .flowControlError)
    }

    @Test func `A budget refills with time, never beyond its burst`() {
        let exchange = Exchange()
        var budget = ResetBudget(burst: 2, perSecond: 1, clock: exchange.clock)
        let outcomes = [budget.take(), budget.take(), budget.take()]
        #expect(outcomes == [true, true, false])
        exchange.clock.advance(ms: 10_000)
        let later = [budget.take(), budget.take(), budget.take()]
        #expect(later == [true, true, false])
    }
}

extension ByteBuffer {
    /// The error code of the first GOAWAY frame in these frames.
    fileprivate var goAwayCode: UInt32? {
        var rest = self
        while let high = rest.readInteger(as: UInt8.self), let low = rest.readInteger(as: UInt16.self),
            let type = rest.readInteger(as: UInt8.self), rest.readBytes(length: 5) != nil,
            var payload = rest.readSlice(length: Int(high) << 16 | Int(low))
        {
            if type == 7 {
                payload.moveReaderIndex(forwardBy: 4)
                return payload.readInteger()
            }
        }
        return nil
    }
}
