// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: a whole gRPC connection over an engine in memory.
//
//   two bytes say how what follows is cut into reads; the third is 0 to send the rest as it is, else
//   HTTP/2's preface and SETTINGS are put before it, and lengths of frames that pass the end are cut
//
// Properties: what comes back is whole HTTP/2 frames, the first of them SETTINGS; a connection that was
// closed leaves no call behind; and the engine takes the next one.

import Bytes
import HTTP2
import NIOCore
import NIOEmbedded
import Telemetry
import TestSupport

@testable import Engine
@testable import GRPCServer

let http2Preface = ByteBuffer(string: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

@Sendable func fuzzGRPCConnection(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    if bytes.choice() != 0 {
        var opened = http2Preface
        opened.writeBytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        opened.writeImmutableBuffer(wholeFrames(bytes))
        bytes = opened
    }
    let test = try TestEngine(logger: silent) { $0.durability = .memory }
    _ = try test.makeTopic("orders", partitions: 2)
    let server = GRPCServer(engine: test.engine, metrics: Metrics(), logger: silent)
    let sent = try converse(with: server, test, pieces(bytes, seed: seed))
    try requireWholeFrames(sent)
    let next = try converse(with: server, test, [http2Preface])
    try require(next.readableBytes >= 9, "the next connection gets no SETTINGS")
    try test.engine.shutDown()
}

private func converse(
    with server: GRPCServer, _ test: TestEngine, _ received: [ByteBuffer]
) throws -> ByteBuffer {
    let channel = try EmbeddedChannel.connected(on: test.loop)
    try server.configure(channel, fuzzPeer)
    var sent = ByteBuffer()
    func collect() throws {
        while var part = try channel.readOutbound(as: ByteBuffer.self) { sent.writeBuffer(&part) }
    }
    for piece in received {
        channel.deliver(piece)
        test.turn()
        try collect()
    }
    for _ in 0..<3 {
        test.sync()
        test.clock.advance(ms: 10_000)
        test.loop.advanceTime(by: .seconds(10))
        try collect()
    }
    _ = try? channel.finish(acceptAlreadyClosed: true)
    test.loop.run()
    return sent
}

/// The input as frames, none of which announces more than there is.
private func wholeFrames(_ bytes: ByteBuffer) -> ByteBuffer {
    var rest = bytes
    var frames = ByteBuffer()
    while let announced = rest.getInteger(at: rest.readerIndex, as: UInt32.self),
        rest.readableBytes >= 9
    {
        let length = min(Int(announced >> 8), rest.readableBytes - 9)
        var head = rest.take(9)
        head = head.ownCopy
        head.setInteger(UInt32(length) << 8 | announced & 0xff, at: 0)
        frames.writeImmutableBuffer(head)
        frames.writeImmutableBuffer(rest.take(length))
    }
    return frames
}

private func requireWholeFrames(_ sent: ByteBuffer) throws {
    var rest = sent
    var isFirst = true
    while rest.readableBytes > 0 {
        guard let word = rest.getInteger(at: rest.readerIndex, as: UInt32.self),
            rest.readableBytes >= 9 + Int(word >> 8)
        else { throw Violation(description: "an HTTP/2 frame is cut short") }
        if isFirst { try require(word & 0xff == 4, "the server does not begin with SETTINGS") }
        isFirst = false
        _ = rest.take(9 + Int(word >> 8))
    }
}
