// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: which protocol the first bytes belong to.
//
// A pure function over at most the first eight bytes. The protocols cannot be confused: TLS and
// HTTP begin with bytes that, read as a Kafka frame's length, exceed every allowed frame
// (0x1603_0000 is 369 MB).

import NIOCore

/// The protocols that share the port.
package enum WireProtocol: String, Sendable, Hashable {
    case tls = "TLS"
    case http2 = "HTTP/2"
    case http1 = "HTTP/1.1"
    case kafka = "Kafka"
}

/// Tells protocols apart by their first bytes.
package struct ProtocolSniffer: Sendable {
    package enum Verdict: Sendable, Equatable {
        /// More bytes are needed; never answered to `bytesNeeded` bytes or more.
        case undecided
        case found(WireProtocol)
        /// None of ours; what it looks like, for the log.
        case unknown(String)
    }

    /// With this many bytes the verdict is final.
    package static let bytesNeeded = 6
    /// The first four bytes of TLS and HTTP are at least this much when read as a length.
    static let kafkaFrameBytesLimit = 0x1603_0000
    /// Kafka's keys end below 100; what lies above a byte is no request of any version to come.
    static let kafkaApiKeyMax: UInt16 = 255
    /// Key, version and correlation id: no request is shorter.
    static let kafkaFrameBytesMin: UInt32 = 8

    private let kafkaFrameBytesMax: UInt32

    package init(kafkaFrameBytesMax: Int) {
        precondition(kafkaFrameBytesMax > 0, "a frame limit is positive")
        self.kafkaFrameBytesMax = UInt32(min(kafkaFrameBytesMax, Self.kafkaFrameBytesLimit - 1))
    }

    /// Judges the readable bytes of `bytes`, which begin where the connection began.
    package func judge(_ bytes: ByteBuffer) -> Verdict {
        let start = bytes.readerIndex
        guard let first = bytes.getInteger(at: start, as: UInt8.self) else { return .undecided }
        if first == 0x16 {
            guard let version = bytes.getInteger(at: start + 1, as: UInt8.self) else {
                return .undecided
            }
            if version == 0x03 { return .found(.tls) }
        }
        guard let word = bytes.getInteger(at: start, as: UInt32.self) else { return .undecided }
        if let found = Self.textProtocols[word] { return .found(found) }
        guard word >= Self.kafkaFrameBytesMin, word <= kafkaFrameBytesMax else {
            return .unknown(Self.describe(bytes, word: word))
        }
        guard let key = bytes.getInteger(at: start + 4, as: UInt16.self) else { return .undecided }
        guard key <= Self.kafkaApiKeyMax else {
            return .unknown("a frame of \(word) bytes whose Kafka API key would be \(Int16(bitPattern: key))")
        }
        return .found(.kafka)
    }

    /// HTTP/2's preface and HTTP/1.1's methods, by their first four bytes.
    private static let textProtocols: [UInt32: WireProtocol] = {
        var table = [word("PRI "): WireProtocol.http2]
        for method in ["GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "PATC", "CONN", "TRAC"] {
            table[word(method)] = .http1
        }
        return table
    }()

    /// What other well-known callers begin with.
    private static let strangers: [UInt32: String] = [
        word("SSH-"): "an SSH client",
        word("AMQP"): "an AMQP client",
        word("PROX"): "a proxy that sends the PROXY protocol header",
        word("\r\n\r\n"): "a proxy that sends the PROXY protocol header",
    ]

    private static func word(_ text: String) -> UInt32 {
        text.utf8.reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Names the caller if it is a well-known one, else shows the bytes.
    private static func describe(_ bytes: ByteBuffer, word: UInt32) -> String {
        if let stranger = strangers[word] { return stranger }
        if word >> 24 & 0x80 != 0, word >> 8 & 0xff == 0x01 { return "an SSL 2 ClientHello" }
        let count = min(bytes.readableBytes, 8)
        let shown = bytes.getBytes(at: bytes.readerIndex, length: count) ?? []
        return "unknown bytes " + shown.map(hexadecimal).joined(separator: " ")
    }
}

/// Two lower-case digits.
func hexadecimal(_ byte: UInt8) -> String {
    let text = String(byte, radix: 16)
    return byte < 16 ? "0" + text : text
}
