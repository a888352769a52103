// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: the HTTP/1.1 edge, the first bytes of a connection, and the configuration file.
//
// http1  two bytes say how what follows is cut into reads; the rest is what the client sends
// yaml   the text of a configuration file
//
// Properties: answers begin with a status line, and there is one answer a request at most; a verdict on
// first bytes never changes when more arrive; a configuration is taken or refused with its line.

import HTTPServer
import NIOCore
import NIOEmbedded
import NIOHTTP1
import Telemetry
import Transport

@testable import Martlet

@Sendable func fuzzHTTP1(_ input: ByteBuffer) throws {
    var bytes = input
    let seed = bytes.wideChoice()
    let server = HTTPServer(
        version: "1", metrics: Metrics(), logger: silent,
        readiness: { Readiness(durability: "disk") }, offload: { $0() })
    let loop = EmbeddedEventLoop()
    let channel = try EmbeddedChannel.connected(on: loop)
    try server.configure(channel, fuzzPeer)
    for piece in pieces(bytes, seed: seed) {
        channel.deliver(piece)
        loop.run()
    }
    loop.advanceTime(by: .seconds(61))
    let sent = try channel.sentBytes()
    if sent.readableBytes > 0 {
        let start = sent.getString(at: sent.readerIndex, length: min(9, sent.readableBytes))
        try require(start == "HTTP/1.1 ", "an answer begins with \(start ?? "nothing")")
    }
    try require(!channel.isActive, "an idle connection stays open")
    _ = try? channel.finish(acceptAlreadyClosed: true)
    try checkSniffer(bytes)
}

private func checkSniffer(_ bytes: ByteBuffer) throws {
    let sniffer = ProtocolSniffer(kafkaFrameBytesMax: 100 << 20)
    var settled: ProtocolSniffer.Verdict?
    for count in 0...min(bytes.readableBytes, 40) {
        let verdict = sniffer.judge(
            bytes.getSlice(at: bytes.readerIndex, length: count) ?? ByteBuffer())
        switch (settled, verdict) {
        case (nil, .undecided):
            try require(count < ProtocolSniffer.bytesNeeded, "\(count) bytes are not enough")
        case (nil, _): settled = verdict
        case (.found?, _): try require(verdict == settled, "a verdict changed with more bytes")
        // What is shown of unknown bytes grows with them.
        default:
            if case .unknown = verdict { continue }
            throw Violation(description: "unknown bytes became known")
        }
    }
}

@Sendable func fuzzYAML(_ input: ByteBuffer) throws {
    let text = String(buffer: input)
    var loader = ConfigurationLoader(Configuration())
    do throws(ConfigurationError) {
        try loader.readYAML(text, name: "martlet.yaml")
    } catch {
        try require("\(error)".contains("martlet.yaml"), "a refusal does not say where: \(error)")
    }
}
