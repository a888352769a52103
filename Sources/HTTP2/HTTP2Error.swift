// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: why a connection had to end, and the codes that go on the wire (RFC 9113, section 7).

/// The error codes of RST_STREAM and GOAWAY frames.
package struct HTTP2ErrorCode: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let noError = HTTP2ErrorCode(rawValue: 0x0)
    package static let protocolError = HTTP2ErrorCode(rawValue: 0x1)
    package static let internalError = HTTP2ErrorCode(rawValue: 0x2)
    package static let flowControlError = HTTP2ErrorCode(rawValue: 0x3)
    package static let streamClosed = HTTP2ErrorCode(rawValue: 0x5)
    package static let frameSizeError = HTTP2ErrorCode(rawValue: 0x6)
    package static let refusedStream = HTTP2ErrorCode(rawValue: 0x7)
    package static let cancel = HTTP2ErrorCode(rawValue: 0x8)
    package static let compressionError = HTTP2ErrorCode(rawValue: 0x9)
    package static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 0xb)
    package static let inadequateSecurity = HTTP2ErrorCode(rawValue: 0xc)
}

/// The connection cannot go on. What is queued (a GOAWAY, usually) is still worth sending.
package struct HTTP2Error: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// The peer's first bytes are not HTTP/2.
        case badPreface
        /// The peer sent more of what must be answered (PING, SETTINGS) than it reads answers.
        case flooded
        /// Out of memory, or nghttp2 refused to go on.
        case failed
    }

    package var code: Code
    /// What happened, for a log line.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (left: HTTP2Error, right: HTTP2Error) -> Bool { left.code == right.code }
}
