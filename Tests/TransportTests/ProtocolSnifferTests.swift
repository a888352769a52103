// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: telling protocols apart by their first bytes.

import NIOCore
import Testing

@testable import Transport

@Suite("The protocol sniffer")
struct ProtocolSnifferTests {
    let sniffer = ProtocolSniffer(kafkaFrameBytesMax: 100 * 1024 * 1024)

    static let known: [([UInt8], WireProtocol)] = [
        ([0x16, 0x03], .tls),
        ([0x16, 0x03, 0x01, 0x02, 0x00], .tls),
        (Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8), .http2),
        (Array("GET / HTTP/1.1\r\n".utf8), .http1),
        (Array("POST / HTTP/1.1\r\n".utf8), .http1),
        (Array("HEAD / HTTP/1.1\r\n".utf8), .http1),
        (Array("PUT / HTTP/1.1\r\n".utf8), .http1),
        (Array("OPTIONS * HTTP/1.1\r\n".utf8), .http1),
        (Array("DELETE /a HTTP/1.1\r\n".utf8), .http1),
        // ApiVersions v3 as librdkafka sends it: length, key 18, version 3.
        ([0, 0, 0, 0x2b, 0, 18, 0, 3, 0, 0, 0, 1], .kafka),
        // The shortest request there can be, and the longest.
        ([0, 0, 0, 8, 0, 0, 0, 0], .kafka),
        ([0x06, 0x40, 0, 0, 0, 0, 0, 9], .kafka),
        // A version far in the future is Kafka's to answer.
        ([0, 0, 0, 10, 0, 18, 0x7f, 0xff, 0, 0, 0, 0], .kafka),
    ]

    @Test("knows each protocol", arguments: known)
    func knows(bytes: [UInt8], wire: WireProtocol) {
        #expect(sniffer.judge(ByteBuffer(bytes: bytes)) == .found(wire))
    }

    @Test("waits while there are too few bytes, and never changes its mind", arguments: known)
    func waits(bytes: [UInt8], wire: WireProtocol) {
        for count in 0..<bytes.count {
            let verdict = sniffer.judge(ByteBuffer(bytes: bytes.prefix(count)))
            #expect(verdict == .undecided || verdict == .found(wire))
            if count >= ProtocolSniffer.bytesNeeded { #expect(verdict == .found(wire)) }
        }
    }

    static let unknown: [([UInt8], String)] = [
        ([0x16, 0x02, 0x01, 0x02], "unknown bytes 16 02 01 02"),
        ([0, 0, 0, 7, 0, 18, 0, 0], "unknown bytes 00 00 00 07 00 12 00 00"),
        ([0x06, 0x40, 0, 1, 0, 0, 0, 9], "unknown bytes"),
        ([0x80, 0x2e, 0x01, 0x03, 0x01], "an SSL 2 ClientHello"),
        ([0, 0, 0, 20, 0x01, 0x00, 0, 0], "a frame of 20 bytes whose Kafka API key would be 256"),
        (
            [0, 0, 0, 20, 0xff, 0xff, 0, 0],
            "a frame of 20 bytes whose Kafka API key would be -1"
        ),
        (Array("SSH-2.0".utf8), "an SSH client"),
        (Array("AMQP\u{0}\u{0}\u{9}\u{1}".utf8), "an AMQP client"),
        (Array("PROXY TCP4 1.2.3.4".utf8), "a proxy that sends the PROXY protocol header"),
        (Array("\r\n\r\n\u{0}\r\nQUIT\n".utf8), "a proxy that sends the PROXY protocol header"),
        (Array("get / HTTP/1.1".utf8), "unknown bytes 67 65 74 20"),
        ([0, 0, 0, 0, 0, 0], "unknown bytes 00 00 00 00 00 00"),
        ([0xff, 0xff, 0xff, 0xff, 0, 0], "unknown bytes ff ff ff ff 00 00"),
    ]

    @Test("refuses everything else, and says what it looks like", arguments: unknown)
    func refuses(bytes: [UInt8], prefix: String) {
        guard case .unknown(let what) = sniffer.judge(ByteBuffer(bytes: bytes)) else {
            Issue.record("accepted \(bytes)")
            return
        }
        #expect(what.hasPrefix(prefix))
    }

    @Test("decides any random bytes once there are six, and believes only plausible frames")
    func random() {
        var random = SeededBytes(seed: 11)
        for _ in 0..<20_000 {
            var bytes = random.bytes(Int.random(in: 6...12, using: &random))
            // Half of them begin with a small length, where Kafka frames are.
            if Bool.random(using: &random) { bytes.replaceSubrange(0..<3, with: [0, 0, 0]) }
            switch sniffer.judge(ByteBuffer(bytes: bytes)) {
            case .undecided: Issue.record("undecided about \(bytes)")
            case .found(.kafka):
                let length = bytes.prefix(4).reduce(0) { $0 << 8 | Int($1) }
                #expect((8...100 * 1024 * 1024).contains(length) && bytes[4] == 0)
            case .found(.tls): #expect(bytes[0] == 0x16 && bytes[1] == 3)
            case .found, .unknown: break
            }
        }
    }

    @Test("takes a frame limit that TLS could be mistaken for down to where it cannot")
    func limit() {
        let generous = ProtocolSniffer(kafkaFrameBytesMax: Int(Int32.max))
        #expect(generous.judge(ByteBuffer(bytes: [0x16, 0x03, 0x01, 0, 0, 1])) == .found(.tls))
        #expect(
            generous.judge(ByteBuffer(bytes: [0x16, 0x02, 0xff, 0xff, 0, 1])) == .found(.kafka))
        #expect(generous.judge(ByteBuffer(string: "GET / HTTP/1.1")) == .found(.http1))
    }
}
