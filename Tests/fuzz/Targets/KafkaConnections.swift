// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: a whole Kafka connection over an engine in memory.
//
//   two bytes say how what follows is cut into reads; the rest is what the client sends
//
// Properties: what comes back is whole frames, each carrying the id of a request, in their order; and
// the engine takes the next connection afterwards.

import Bytes
import KafkaWire
import Logging
import NIOCore
import NIOEmbedded
import Telemetry
import TestSupport
import Transport

@testable import Engine
@testable import KafkaServer

/// Says nothing: inputs make errors by the thousand.
let silent = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }

let fuzzPeer = ConnectionContext(
    id: 1, localHost: "localhost", localPort: 9092, remoteAddress: "127.0.0.1", remotePort: 50_000)

extension EmbeddedChannel {
    /// A connected channel on `loop`.
    static func connected(on loop: EmbeddedEventLoop) throws -> EmbeddedChannel {
        let channel = EmbeddedChannel(loop: loop)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
        return channel
    }

    /// Delivers bytes if the channel is open; what a handler reports is its own business.
    func deliver(_ bytes: ByteBuffer) {
        guard isActive else { return }
        _ = try? writeInbound(bytes)
    }

    /// Everything that was sent, file regions as zeros.
    func sentBytes() throws -> ByteBuffer {
        var sent = ByteBuffer()
        while let part = try readOutbound(as: IOData.self) {
            switch part {
            case .byteBuffer(let bytes): sent.writeImmutableBuffer(bytes)
            case .fileRegion(let region): sent.writeRepeatingByte(0, count: region.readableBytes)
            }
        }
        return sent
    }
}

@Sendable func fuzzKafkaConnection(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let test = try TestEngine(logger: silent) { $0.durability = .memory }
    _ = try test.makeTopic("orders", partitions: 2)
    let server = KafkaServer(
        engine: test.engine, advertised: nil, metrics: Metrics(), logger: silent)
    var sent = try converse(with: server, test, pieces(bytes, seed: seed))
    var asked = correlationIds(bytes)[...]
    while let length = sent.readInteger(as: Int32.self) {
        guard let frame = sent.readSlice(length: Int(length)),
            let id = frame.getInteger(at: frame.readerIndex, as: Int32.self)
        else { throw Violation(description: "a reply is cut short") }
        guard let place = asked.firstIndex(of: id) else {
            throw Violation(description: "a reply has the id \(id), which is not due")
        }
        asked = asked[(place + 1)...]
    }
    try require(sent.readableBytes == 0, "bytes follow the last reply")
    try askForVersions(server, test)
    try test.engine.shutDown()
}

/// What a connection answers to `received`, with all the time it may ask for.
private func converse(
    with server: KafkaServer, _ test: TestEngine, _ received: [ByteBuffer]
) throws -> ByteBuffer {
    let channel = try EmbeddedChannel.connected(on: test.loop)
    try server.configure(channel, fuzzPeer)
    var sent = ByteBuffer()
    for piece in received {
        channel.deliver(piece)
        test.turn()
        var more = try channel.sentBytes()
        sent.writeBuffer(&more)
    }
    for _ in 0..<3 {
        test.sync()
        test.clock.advance(ms: 10_000)
        test.loop.advanceTime(by: .seconds(10))
    }
    var more = try channel.sentBytes()
    sent.writeBuffer(&more)
    _ = try? channel.finish(acceptAlreadyClosed: true)
    return sent
}

/// The ids of the frames in what a client sends.
private func correlationIds(_ bytes: ByteBuffer) -> [Int32] {
    var rest = bytes
    var ids: [Int32] = []
    while let length = rest.readInteger(as: Int32.self), length >= 0,
        let frame = rest.readSlice(length: Int(length))
    {
        if let id = frame.getInteger(at: frame.readerIndex + 4, as: Int32.self) { ids.append(id) }
    }
    return ids
}

private func askForVersions(_ server: KafkaServer, _ test: TestEngine) throws {
    var request = ByteBuffer()
    try Frame.write(
        ApiVersionsRequest(), version: 0, correlationId: 77, clientId: nil, into: &request)
    let reply = try converse(with: server, test, [request])
    try require(reply.getInteger(at: 4, as: Int32.self) == 77, "the next connection gets no answer")
}
