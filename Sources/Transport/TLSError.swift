// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a TLS peer did wrong, or found wrong with us.

/// Why a TLS connection failed. Concerns one connection; equality is by code.
package struct TLSError: Error, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// The peer's certificate is past its last day, or before its first.
        case certificateExpired
        case certificateNotYetValid
        /// A client without a certificate where one is required.
        case certificateMissing
        /// Its CA has taken it back, or there is no current list that would say so.
        case certificateRevoked
        /// The certificate was not signed by a CA we were given.
        case unknownAuthority
        /// The server's certificate is for another host.
        case hostnameMismatch
        /// Any other fault of the peer's certificate.
        case certificateInvalid
        /// The peer speaks only versions that are not allowed.
        case versionTooOld
        /// No cipher, group or signature algorithm in common.
        case nothingInCommon
        /// The client wants only application protocols that are not spoken here.
        case applicationProtocol
        /// Not TLS at all: plaintext of a known protocol, or unknown bytes.
        case notTLS
        /// The peer ended the connection with an alert.
        case alertReceived
        /// The connection ended in the middle of the handshake or of a record.
        case truncated
        /// The handshake took too long or too many bytes.
        case handshakeBound
        /// More control messages than the peer reads answers.
        case controlFlood
        /// The peer broke the protocol: bad record, bad MAC, unexpected message.
        case protocolViolation
        /// The TLS library failed for a reason of its own.
        case library
        /// A file that was being sent cannot be read.
        case fileUnreadable
    }

    package var code: Code
    /// What happened, in words for a person; one line.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (left: TLSError, right: TLSError) -> Bool { left.code == right.code }
}
