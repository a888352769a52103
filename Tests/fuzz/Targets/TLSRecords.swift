// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: the server's TLSHandler.
//
//   two bytes say how what follows is cut into reads; the third chooses:
//   even  what follows is sent as it is
//   odd   a real client shakes hands and speaks; what follows changes what it sends, four bytes a
//         change: which delivery, where (two bytes), the bits to flip
//
// Properties: what comes out of TLS is a prefix of what the client put in, whatever was changed on the
// way; nothing comes out before the handshake is over; one deadline later a dead connection is gone.

import Bytes
import Foundation
import NIOCore
import NIOEmbedded

@testable import Transport

private struct Contexts: Sendable {
    let server: TLSContext
    let client: TLSContext

    /// Minted once a process; the files are needed no longer than that.
    static let shared: Contexts = {
        let directory = NSTemporaryDirectory() + "martlet-fuzz-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let clock = ManualClock(nowMs: 1_749_945_600_000)
        do {
            let files = try DevelopmentCertificates.ensure(directory: directory, clock: clock)
            let server = TLSOptions(
                authorityFile: files.authorityFile, certificateFile: files.serverCertificateFile,
                keyFile: files.serverKeyFile, applicationProtocols: ["h2", "http/1.1"])
            let client = TLSOptions(
                authorityFile: files.authorityFile, certificateFile: files.clientCertificateFile,
                keyFile: files.clientKeyFile)
            return Contexts(
                server: try TLSContext.server(server, clock: clock),
                client: try TLSContext.client(client, clock: clock))
        } catch {
            fatalError("certificates for fuzzing cannot be made: \(error)")
        }
    }()
}

/// Keeps what comes out of TLS.
private final class Plaintext: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    var bytes = ByteBuffer()
    var hasHandshake = false
    var cameEarly = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if !hasHandshake { cameEarly = true }
        bytes.writeImmutableBuffer(unwrapInboundIn(data))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is TLSHandshake { hasHandshake = true }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

@Sendable func fuzzTLS(_ input: ByteBuffer) throws {
    var rest = input
    let seed = rest.wideChoice()
    let hasClient = rest.choice() & 1 != 0
    let loop = EmbeddedEventLoop()
    let plaintext = Plaintext()
    let channel = EmbeddedChannel(loop: loop)
    try channel.pipeline.syncOperations.addHandlers([
        TLSHandler.server(context: Contexts.shared.server, clientAuthentication: .required),
        plaintext,
    ])
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 9092)).wait()
    if hasClient {
        try speak(to: channel, plaintext, changes: rest, seed: seed)
    } else {
        for piece in pieces(rest, seed: seed) { channel.deliver(piece) }
        try require(!plaintext.hasHandshake, "a handshake without a client's key")
    }
    try require(!plaintext.cameEarly, "plaintext before the handshake was over")
    loop.advanceTime(by: .seconds(12))
    try require(
        plaintext.hasHandshake || !channel.isActive, "a handshake outlives its deadline")
    _ = try? channel.finish(acceptAlreadyClosed: true)
}

/// A client whose every delivery may be changed on the way.
private func speak(
    to channel: EmbeddedChannel, _ plaintext: Plaintext, changes: ByteBuffer, seed: UInt16
) throws {
    let client = try TLSSession(context: Contexts.shared.client, role: .client(host: "localhost"))
    let spoken = (0..<5).map { ByteBuffer(string: "message \($0) " + String(repeating: "x", count: $0 * 300)) }
    var isOpen = false
    var unsaid = spoken[...]
    for delivery in 0..<12 {
        do throws(TLSError) {
            if !isOpen { isOpen = try client.handshake() != nil }
            if isOpen, let next = unsaid.popFirst() { try client.write(next) }
        } catch {
            break
        }
        if let flight = client.takeOutbound() {
            for piece in pieces(changed(flight, changes, UInt8(delivery)), seed: seed) {
                channel.deliver(piece)
            }
        }
        while let answer = try channel.readOutbound(as: IOData.self) {
            if case .byteBuffer(let bytes) = answer { client.receive(bytes) }
        }
        guard isOpen else { continue }
        var ignored = ByteBuffer()
        _ = try? client.read(into: &ignored)
    }
    let all = spoken.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1) }
    let count = plaintext.bytes.readableBytes
    try require(
        all.getSlice(at: 0, length: count) == plaintext.bytes,
        "what comes out of TLS is not what went in")
    if changes.readableBytes == 0 {
        try require(plaintext.bytes == all, "an honest client was not heard to its end")
    }
}

private func changed(_ flight: ByteBuffer, _ changes: ByteBuffer, _ delivery: UInt8) -> ByteBuffer {
    var bytes = flight.ownCopy
    var rest = changes
    while rest.readableBytes >= 4 {
        let number = rest.choice()
        let place = Int(rest.wideChoice())
        let bits = rest.choice()
        guard number % 12 == delivery, bytes.readableBytes > 0 else { continue }
        let at = place % bytes.readableBytes
        bytes.setInteger((bytes.getInteger(at: at) ?? 0) ^ bits, at: at)
    }
    return bytes
}
