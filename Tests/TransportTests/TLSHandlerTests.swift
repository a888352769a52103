// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: TLS in a pipeline: order of events, writing, closing, failing.

import COpenSSL
import Foundation
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@testable import Transport

@Suite("The TLS handler")
struct TLSHandlerTests {
    @Test(
        "shows later handlers nothing before the handshake, then the handshake, then channelActive")
    func order() throws {
        let pair = try TLSChannels()
        try pair.server.activate()
        try pair.client.activate()
        try pair.move(pair.client, pair.server)
        #expect(pair.client.recorder.events.isEmpty)
        #expect(pair.server.recorder.events.isEmpty)
        try pair.exchange()
        #expect(pair.client.recorder.events.prefix(2) == ["handshake", "active"])
        #expect(pair.server.recorder.events.prefix(2) == ["handshake", "active"])
        #expect(pair.server.recorder.handshake?.peerCertificate?.subject == "CN=client")
        #expect(pair.server.recorder.errors.isEmpty && pair.client.recorder.errors.isEmpty)
    }

    @Test("sends after the handshake what was written before it")
    func earlyWrite() throws {
        let pair = try TLSChannels()
        pair.client.write("early")
        try pair.connect()
        #expect(String(buffer: pair.server.recorder.received) == "early")
    }

    @Test("asks for more bytes itself while the handlers know of none")
    func reads() throws {
        let pair = try TLSChannels()
        pair.server.channel.pipeline.fireChannelReadComplete()
        let before = pair.server.spy.reads
        try pair.server.activate()
        try pair.client.activate()
        try pair.move(pair.client, pair.server)
        #expect(pair.server.spy.reads > before)
        #expect(!pair.server.recorder.events.contains("readComplete"))
    }

    @Test(
        "puts the small writes of one flush into one record, and completes every promise"
    )
    func coalescing() throws {
        let pair = try TLSChannels()
        try pair.connect()
        let loop = pair.client.channel.embeddedEventLoop
        var completed = 0
        let writes = pair.client.spy.writes
        for index in 0..<50 {
            let promise = loop.makePromise(of: Void.self)
            promise.futureResult.assumeIsolated().whenSuccess { completed += 1 }
            pair.client.channel.write(ByteBuffer(string: "message \(index)\n"), promise: promise)
        }
        #expect(completed == 0)
        pair.client.channel.flush()
        loop.run()
        #expect(completed == 50)
        #expect(pair.client.spy.writes == writes + 1)
        let records = try #require(try pair.client.channel.readOutbound(as: ByteBuffer.self))
        // One record: header, text, content type and tag.
        let text = (0..<50).map { "message \($0)\n" }.joined()
        #expect(records.readableBytes == 5 + text.utf8.count + 17)
        pair.server.channel.pipeline.fireChannelRead(records)
        #expect(String(buffer: pair.server.recorder.received) == text)
    }

    @Test("keeps the order of small and large writes")
    func mixedSizes() throws {
        let pair = try TLSChannels()
        try pair.connect()
        var random = SeededBytes(seed: 5)
        var expected = ByteBuffer()
        for _ in 0..<60 {
            let count = [0, 1, 100, 4095, 4096, 16_384, 300_000].randomElement(using: &random) ?? 0
            let bytes = ByteBuffer(bytes: random.bytes(count))
            expected.writeImmutableBuffer(bytes)
            pair.client.channel.write(bytes, promise: nil)
            if Bool.random(using: &random) { pair.client.channel.flush() }
        }
        pair.client.channel.flush()
        try pair.exchange()
        #expect(pair.server.recorder.received == expected)
    }

    @Test(
        "encrypts nothing for a channel that is full, and goes on when it is not"
    )
    func backpressure() throws {
        let pair = try TLSChannels()
        try pair.connect()
        let channel = pair.client.channel
        let data = ByteBuffer(repeating: 7, count: 1 << 20)
        channel.isWritable = false
        channel.writeAndFlush(data, promise: nil)
        #expect(try channel.readOutbound(as: ByteBuffer.self) == nil)
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        try pair.exchange()
        #expect(pair.server.recorder.received == data)
    }

    @Test("sends each record once when the channel becomes writable within a write")
    func writableWithinWrite() throws {
        let pair = try TLSChannels()
        try pair.connect()
        let data = ByteBuffer(bytes: (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 251) })
        try pair.client.channel.pipeline.syncOperations.addHandler(
            WritableWithinFlush(), position: .first)
        pair.client.channel.writeAndFlush(data, promise: nil)
        try pair.exchange()
        #expect(pair.server.recorder.received == data)
        #expect(pair.server.recorder.errors.isEmpty)
    }

    @Test("sends stretches of files between other bytes")
    func files() throws {
        let pair = try TLSChannels()
        try pair.connect()
        var random = SeededBytes(seed: 9)
        let content = random.bytes(200_000)
        let directory = TemporaryDirectory()
        let handle = try NIOFileHandle(_deprecatedPath: try directory.file("segment", content))
        defer { try? handle.close() }
        let channel = pair.server.channel
        channel.write(ByteBuffer(string: "head"), promise: nil)
        let promise = channel.eventLoop.makePromise(of: Void.self)
        var isDone = false
        promise.futureResult.assumeIsolated().whenSuccess { isDone = true }
        let region = FileRegion(fileHandle: handle, readerIndex: 1000, endIndex: 180_000)
        channel.write(IOData.fileRegion(region), promise: promise)
        channel.write(ByteBuffer(string: "tail"), promise: nil)
        channel.flush()
        channel.embeddedEventLoop.run()
        #expect(isDone)
        try pair.exchange()
        let expected = Array("head".utf8) + content[1000..<180_000] + Array("tail".utf8)
        #expect(Array(buffer: pair.client.recorder.received) == expected)
    }

    @Test("fails the connection when a file is shorter than promised")
    func shortFile() throws {
        let pair = try TLSChannels()
        try pair.connect()
        let directory = TemporaryDirectory()
        let handle = try NIOFileHandle(_deprecatedPath: try directory.file("segment", "short"))
        defer { try? handle.close() }
        let channel = pair.server.channel
        let promise = channel.eventLoop.makePromise(of: Void.self)
        let region = FileRegion(fileHandle: handle, readerIndex: 0, endIndex: 6)
        channel.writeAndFlush(IOData.fileRegion(region), promise: promise)
        #expect(throws: TLSError.self) { try promise.futureResult.wait() }
        #expect(pair.server.recorder.tlsError?.code == .fileUnreadable)
    }

    @Test("says close_notify, and the other side closes as well")
    func close() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.client.channel.close(promise: nil)
        try pair.exchange()
        #expect(!pair.client.channel.isActive)
        #expect(!pair.server.channel.isActive)
        #expect(pair.server.recorder.errors.isEmpty)
    }

    @Test("passes a half closure on, and still sends")
    func halfClosure() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.server.channel.allowRemoteHalfClosure = true
        pair.client.write("question")
        pair.client.channel.close(mode: .output, promise: nil)
        try pair.exchange()
        #expect(pair.client.spy.closes == [.output])
        #expect(String(buffer: pair.server.recorder.received) == "question")
        #expect(pair.server.recorder.events.contains("inputClosed"))
        // The end of TCP follows; the handlers hear of it once.
        pair.server.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        #expect(pair.server.recorder.events.filter { $0 == "inputClosed" }.count == 1)
        pair.server.write("answer")
        try pair.exchange()
        #expect(String(buffer: pair.client.recorder.received) == "answer")
    }

    @Test("refuses to write after its output was closed")
    func writeAfterClose() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.client.channel.close(mode: .output, promise: nil)
        let written = pair.client.channel.writeAndFlush(ByteBuffer(string: "late"))
        #expect(throws: ChannelError.self) { try written.wait() }
    }

    @Test("closes the output only when everything written before is sent")
    func closeOutputWaits() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.client.channel.isWritable = false
        pair.client.write("slow")
        pair.client.channel.close(mode: .output, promise: nil)
        #expect(pair.client.spy.closes.isEmpty)
        pair.client.channel.isWritable = true
        pair.client.channel.pipeline.fireChannelWritabilityChanged()
        #expect(pair.client.spy.closes == [.output])
        try pair.exchange()
        #expect(String(buffer: pair.server.recorder.received) == "slow")
    }

    @Test("tells both sides why, sends the alert, and closes the channel")
    func failure() throws {
        let authority = TestAuthority.shared
        let pair = try TLSChannels(client: authority.clientContext(hasCertificate: false))
        try pair.connect()
        #expect(pair.server.recorder.tlsError?.code == .certificateMissing)
        #expect(pair.client.recorder.tlsError?.code == .alertReceived)
        // Input of a failed connection is thrown away, and it ends at the latest after the time to
        // linger.
        pair.server.channel.pipeline.fireChannelRead(ByteBuffer(string: "more"))
        #expect(pair.server.recorder.received.readableBytes == 0)
        pair.server.channel.embeddedEventLoop.advanceTime(by: TransportLimits().lingerTimeout)
        #expect(!pair.server.channel.isActive)
    }

    @Test("gives up a handshake that takes too long")
    func timeout() throws {
        let pair = try TLSChannels()
        try pair.server.activate()
        pair.server.channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        #expect(pair.server.recorder.errors.isEmpty)
        pair.server.channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(pair.server.recorder.tlsError?.code == .handshakeBound)
        #expect(pair.server.recorder.tlsError?.message == "TLS handshake not over after 10 s")
    }

    @Test("does not time a connection out after its handshake")
    func noTimeout() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.server.channel.embeddedEventLoop.advanceTime(by: .hours(1))
        pair.client.write("still here")
        try pair.exchange()
        #expect(String(buffer: pair.server.recorder.received) == "still here")
    }

    @Test("gives up a handshake of too many bytes")
    func handshakeBytes() throws {
        var limits = TransportLimits()
        limits.handshakeBytesMax = 64
        let pair = try TLSChannels(limits: limits)
        try pair.connect()
        #expect(pair.server.recorder.tlsError?.code == .handshakeBound)
        #expect(pair.server.recorder.tlsError?.message.contains("64 bytes") == true)
    }

    @Test("reports a connection that ends within the handshake, or within a record")
    func truncation() throws {
        let early = try TLSChannels()
        try early.server.activate()
        try early.client.activate()
        try early.move(early.client, early.server)
        early.server.channel.close(promise: nil)
        // We closed it ourselves: no error.
        #expect(early.server.recorder.errors.isEmpty)
        early.client.channel.pipeline.fireChannelInactive()
        #expect(early.client.recorder.tlsError?.code == .truncated)

        let late = try TLSChannels()
        try late.connect()
        late.client.write("whole")
        var record = try #require(try late.client.channel.readOutbound(as: ByteBuffer.self))
        let beginning = try #require(record.readSlice(length: 10) as ByteBuffer?)
        late.server.channel.pipeline.fireChannelRead(beginning)
        late.server.channel.pipeline.fireChannelInactive()
        #expect(late.server.recorder.tlsError?.code == .truncated)
    }

    @Test("answers key updates, and ends a peer that asks for ever more and reads no answer")
    func controlFlood() throws {
        let authority = TestAuthority.shared
        var limits = TransportLimits()
        limits.unreadControlBytesMax = 1000
        let side = try Side(
            TLSHandler.server(
                context: authority.serverContext(), clientAuthentication: .required, limits: limits)
        )
        let client = try TLSSession(
            context: authority.clientContext(), role: .client(host: "localhost"))
        try side.activate()
        while try client.handshake() == nil {
            if let bytes = client.takeOutbound() { side.channel.pipeline.fireChannelRead(bytes) }
            if let bytes = try side.channel.readOutbound(as: ByteBuffer.self) {
                client.receive(bytes)
            }
        }
        side.channel.pipeline.fireChannelRead(try #require(client.takeOutbound()))
        func askForKeyUpdate() throws {
            #expect(unsafe SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED) == 1)
            try client.write(ByteBuffer(string: "x"))
            side.channel.pipeline.fireChannelRead(try #require(client.takeOutbound()))
        }
        for _ in 0..<100 { try askForKeyUpdate() }
        #expect(side.recorder.errors.isEmpty)
        #expect(side.recorder.received.readableBytes == 100)
        side.channel.isWritable = false
        for _ in 0..<100 where side.recorder.errors.isEmpty { try askForKeyUpdate() }
        #expect(side.recorder.tlsError?.code == .controlFlood)
        #expect(!side.channel.isActive)
    }

    @Test("calls the end of TCP between records no error, with close_notify or without")
    func cleanEnd() throws {
        let pair = try TLSChannels()
        try pair.connect()
        pair.server.channel.pipeline.fireChannelInactive()
        #expect(pair.server.recorder.errors.isEmpty)
        #expect(pair.server.recorder.events.last == "inactive")
    }
}

/// Does what a socket channel does when a flush drains it: says so before the flush returns.
private final class WritableWithinFlush: ChannelOutboundHandler {
    typealias OutboundIn = IOData

    func flush(context: ChannelHandlerContext) {
        context.flush()
        context.pipeline.fireChannelWritabilityChanged()
    }
}
