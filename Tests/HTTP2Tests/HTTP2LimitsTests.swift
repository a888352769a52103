// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2Tests: what a hostile peer can do, and the bound it meets.

import Bytes
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

    @Test func `A stream that was passed over cannot be opened later`() throws {
        let exchange = Exchange()
        let block: [UInt8] = [0x83, 0x86, 0x84, 0x01, 0x01, 0x61]
        var out = ByteBuffer()
        try exchange.server.receive(opening())
        for id: UInt32 in [1, 7, 5] { try exchange.server.receive(frame(type: 1, flags: 4, stream: id, payload: block)) }
        _ = try exchange.server.collect(into: &out, limit: 1 << 16)
        #expect(exchange.server.isDone && exchange.server.goAwaySent == .protocolError)
        #expect(exchange.serverEvents.streams.map { $0.stream.id } == [1, 7])
    }

    @Test func `Only what was passed over counts as that, up to a bound`() {
        var opened = OpenedStreams()
        let first: [Int32] = [1, 3, 1, 9, 3, 9, 5, 7]
        let seen = first.map { opened.begin($0) }
        #expect(seen == [true, true, true, true, true, true, false, false])
        let later = stride(from: Int32(13), through: 13 + 16 * 4, by: 4).map { opened.begin($0) }
        #expect(later.allSatisfy { $0 })
        let (forgotten, known) = (opened.begin(5), opened.begin(75))
        #expect(forgotten && !known, "the oldest are forgotten")
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

    // MARK: The very bounds of docs/security.md

    /// What the server says to frames after the preface.
    private func answer(_ exchange: Exchange, _ frames: [ByteBuffer]) throws -> ByteBuffer {
        exchange.server.delegate = exchange.serverEvents
        try exchange.server.receive(opening())
        var out = ByteBuffer()
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
        // The server's settings hold once they are acknowledged.
        try exchange.server.receive(frame(type: 4, flags: 1))
        for frame in frames { try exchange.server.receive(frame) }
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
        return out
    }

    @Test(arguments: [(64 << 10, true), ((64 << 10) + 1, false)])
    func `A frame may have 64 KiB and not a byte more`(size: Int, isTaken: Bool) throws {
        let exchange = Exchange()
        // Of a type that nobody knows, so that nothing but its size matters.
        let out = try answer(exchange, [frame(type: 0x42, payload: Array(repeating: 0, count: size))])
        #expect((out.goAwayCode == nil) == isTaken && exchange.server.isDone != isTaken)
        if !isTaken { #expect(exchange.server.goAwaySent == .frameSizeError) }
    }

    @Test(arguments: [(32, true), (33, false)])
    func `SETTINGS may have 32 entries and not one more`(count: Int, isTaken: Bool) throws {
        let exchange = Exchange()
        // Entries of no known setting are passed over.
        let settings = frame(type: 4, payload: (0..<count).flatMap { _ -> [UInt8] in [0x7f, 0x01, 0, 0, 0, 1] })
        var hasFailed = false
        do {
            _ = try answer(exchange, [settings])
        } catch {
            hasFailed = true
        }
        #expect((hasFailed || exchange.server.goAwaySent != nil) != isTaken)
    }

    @Test(arguments: [6, 4])
    func `256 answers may wait, and the next one ends the connection`(type: UInt8) throws {
        let exchange = Exchange()
        try exchange.server.receive(opening())
        var taken = 0
        #expect(throws: HTTP2Error(.flooded, "")) {
            while taken < 1000 {
                try exchange.server.receive(frame(type: type, payload: type == 6 ? Array(repeating: 1, count: 8) : []))
                taken += 1
            }
        }
        // The preface's SETTINGS is the first of them.
        let bound = HTTP2Configuration().answersQueuedMax
        #expect((bound - 2...bound + 1).contains(taken), "\(taken)")
    }

    @Test func `1,024 streams are open at most, and who opens one more against the settings is cut off`() throws {
        // By hand: a client of ours would wait.
        var frames: [ByteBuffer] = []
        // :method POST, :scheme http and :path / of the static table, and :authority x.
        for index in 0..<1025 { frames.append(frame(type: 1, flags: 4, stream: UInt32(2 * index + 1), payload: [0x83, 0x86, 0x84, 0x01, 0x01, 0x78])) }
        let exchange = Exchange()
        let out = try answer(exchange, frames)
        #expect(exchange.serverEvents.streams.count == 1024 && exchange.server.streamCount == 1024)
        #expect(out.goAwayCode == HTTP2ErrorCode.protocolError.rawValue)
    }

    @Test func `More than a stream's window, or the connection's, is FLOW_CONTROL_ERROR`() throws {
        let block: [UInt8] = [0x83, 0x86, 0x84, 0x01, 0x01, 0x78]
        let piece = Array(repeating: UInt8(1), count: 64 << 10)
        for streams in [1, 9] {
            let exchange = Exchange()
            exchange.serverEvents.onRequest = { stream, _ in stream.isInboundHeld = true }
            var frames = (0..<streams).map { frame(type: 1, flags: 4, stream: UInt32(2 * $0 + 1), payload: block) }
            // The window of a stream is full; held streams get no more, the connection's window goes back.
            for index in 0..<streams {
                for _ in 0..<16 { frames.append(frame(type: 0, stream: UInt32(2 * index + 1), payload: piece)) }
            }
            let filled = try answer(exchange, frames)
            #expect(filled.goAwayCode == nil && filled.resets.isEmpty && exchange.server.streamCount == streams)
            var more = ByteBuffer()
            do throws(HTTP2Error) {
                try exchange.server.receive(frame(type: 0, stream: 1, payload: [1]))
                _ = try exchange.server.collect(into: &more, limit: 1 << 20)
            } catch {
                Issue.record("\(error)")
            }
            let isRefused = more.resets == [HTTP2ErrorCode.flowControlError.rawValue]
                || exchange.server.goAwaySent == .flowControlError
            #expect(isRefused, "\(streams) streams: \(more.resets)")
            let seen = exchange.serverEvents.streams.reduce(0) { $0 + $1.recorder.body.readableBytes }
            // The frame that goes beyond may have been handed on; nothing after it is.
            let beyond = seen - (streams << 20)
            #expect((0...1).contains(beyond))
        }
    }

    @Test func `1,000 resets at once are taken, and the next one meets ENHANCE_YOUR_CALM`() throws {
        let exchange = Exchange()
        var taken = 0
        while taken < 2000, exchange.clientEvents.goAway == nil, let (call, _) = try? exchange.request() {
            try exchange.run()
            call.reset(.cancel)
            try exchange.run()
            taken += 1
        }
        #expect(taken == 1001 && exchange.clientEvents.goAway?.0 == .enhanceYourCalm)
    }

    /// Empty DATA of an open stream and of one that has ended, PRIORITY, PRIORITY_UPDATE, and a type that nobody knows.
    private static let idleFrames: [(type: UInt8, stream: UInt32, payload: [UInt8])] = [
        (0, 1, []), (0, 3, []), (2, 1, [0, 0, 0, 0, 15]), (2, 77, [0, 0, 0, 0, 15]), (0x10, 0, [0, 0, 0, 1, 0x75]), (0x42, 5, []),
    ]
    private func send(_ exchange: Exchange, _ frames: [ByteBuffer]) throws {
        for frame in frames { try exchange.server.receive(frame) }
        var out = ByteBuffer()
        _ = try exchange.server.collect(into: &out, limit: 1 << 20)
    }

    /// HEADERS of a request that stays open.
    private static func opened(_ stream: UInt32) -> ByteBuffer {
        frame(type: 1, flags: 4, stream: stream, payload: [0x83, 0x86, 0x84, 0x01, 0x01, 0x78])
    }

    @Test(arguments: Self.idleFrames, [1, 4, Int.max])
    func `1,000 frames that bring nothing are taken at once, and the next one meets ENHANCE_YOUR_CALM`(
        idle: (type: UInt8, stream: UInt32, payload: [UInt8]), chunk: Int
    ) throws {
        let exchange = Exchange()
        exchange.serverEvents.onRequest = { stream, _ in if stream.id == 3 { stream.reset(.cancel) } }
        _ = try answer(exchange, [Self.opened(1), Self.opened(3)])
        var taken = 0
        while taken < 2000, exchange.server.goAwaySent == nil {
            var bytes = frame(type: idle.type, stream: idle.stream, payload: idle.payload)
            while let part = bytes.readSlice(length: min(chunk, bytes.readableBytes)), part.readableBytes > 0 {
                try exchange.server.receive(part)
            }
            var out = ByteBuffer()
            _ = try exchange.server.collect(into: &out, limit: 1 << 16)
            taken += 1
        }
        #expect(exchange.server.goAwaySent == .enhanceYourCalm && exchange.server.isDone)
        #expect(taken == 1001)
    }

    @Test func `Requests and data make up for frames that bring nothing, and so does time`() throws {
        var configuration = HTTP2Configuration()
        configuration.idleFrameBurst = 20
        let exchange = Exchange(server: configuration)
        exchange.serverEvents.onRequest = { stream, _ in
            stream.respond(HTTP2FieldList([(":status", "200")]), endOfStream: true)
        }
        _ = try answer(exchange, [])
        let priority = frame(type: 2, stream: 1, payload: [0, 0, 0, 0, 15])
        for index in 0..<500 {
            // As browsers and grpc-c++ do: priorities with each request, and an end that is an empty DATA frame.
            let stream = UInt32(2 * index + 1)
            let end = frame(type: 0, flags: 1, stream: stream)
            try send(exchange, [priority, priority, priority, Self.opened(stream), end, priority])
        }
        #expect(exchange.server.goAwaySent == nil && exchange.serverEvents.streams.count == 500)
        exchange.serverEvents.onRequest = nil
        try send(exchange, [Self.opened(2001)])
        for _ in 0..<500 { try send(exchange, [priority, frame(type: 0, stream: 2001, payload: [1])]) }
        for _ in 0..<50 {
            exchange.clock.advance(ms: 1000)
            try send(exchange, Array(repeating: priority, count: 20))
        }
        #expect(exchange.server.goAwaySent == nil)
        try send(exchange, Array(repeating: priority, count: 21))
        #expect(exchange.server.goAwaySent == .enhanceYourCalm)
    }

    @Test(arguments: [(16 << 10, false), ((16 << 10) + 1, true)])
    func `A header block may have 16 KiB and not a byte more`(size: Int, isCut: Bool) throws {
        let exchange = Exchange()
        // Each field counts with 32 bytes besides (RFC 9113, section 6.5.2); the other fields' share is measured.
        let probe = Exchange()
        let fixed = try requestSize(probe)
        _ = try exchange.request([("x-padding", String(repeating: "a", count: size - fixed - 32 - "x-padding".utf8.count))])
        try exchange.run()
        #expect(exchange.serverEvents.truncated == (isCut ? 1 : 0))
    }

    /// Names, values and 32 bytes a field of the exchange's usual request.
    private func requestSize(_ exchange: Exchange) throws -> Int {
        _ = try exchange.request()
        try exchange.run()
        let seen = try #require(exchange.serverEvents.streams.first?.recorder.headers.first)
        return seen.reduce(0) { $0 + $1.key.name.utf8CodeUnitCount + $1.value.utf8.count + 32 }
    }

    @Test func `A budget refills with time, never beyond its burst`() {
        let exchange = Exchange()
        var budget = TokenBucket(burst: 2, perSecond: 1, clock: exchange.clock)
        let outcomes = [budget.take(), budget.take(), budget.take()]
        #expect(outcomes == [true, true, false])
        exchange.clock.advance(ms: 10_000)
        let later = [budget.take(), budget.take(), budget.take()]
        #expect(later == [true, true, false])
    }
}

extension ByteBuffer {
    /// The codes of the RST_STREAM frames in these frames.
    fileprivate var resets: [UInt32] {
        var rest = self
        var codes: [UInt32] = []
        while let head = rest.readInteger(as: UInt32.self), rest.readSlice(length: 5) != nil,
            var payload = rest.readSlice(length: Int(head >> 8)) {
            if head & 0xff == 3, let code = payload.readInteger(as: UInt32.self) { codes.append(code) }
        }
        return codes
    }

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
