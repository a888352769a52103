// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: why a connection is turned away, and how that is said in its own protocol.
//
// Values only. Kafka has no frame for "go away", so Kafka clients are closed and the log says why.

import NIOCore

/// Why a connection is turned away before an edge sees it.
enum Refusal: Sendable, Equatable {
    /// Plaintext on a listener that takes none.
    case plaintextOff
    /// Plaintext from another machine on a listener that takes it from this machine only.
    case plaintextNotLoopback
    /// TLS on a listener without certificates.
    case tlsOff
    case tooManyConnections(max: Int)
    case tooManyFromAddress(String, max: Int)
    /// A good certificate whose owner has no name here.
    case noPrincipal(subject: String, reason: String)
    /// A certificate that was revoked while its handshake was under way.
    case revoked(subject: String)
    /// HTTP/2 inside TLS whose client did not offer it in the handshake (RFC 9113 section 3.2).
    case http2WithoutALPN

    /// The cause and the next step, for the peer and for the log.
    var explanation: String {
        switch self {
        case .plaintextOff:
            "this listener speaks TLS only; connect with TLS and the CA certificate of the broker"
        case .plaintextNotLoopback:
            "this listener takes plaintext from the loopback address only; "
                + "connect with TLS, or allow plaintext for this listener"
        case .tlsOff:
            "this listener has no certificates and speaks plaintext only; "
                + "connect without TLS, or configure certificates for it"
        case .tooManyConnections(let max):
            "the broker already has \(max) connections; close some, or raise max.connections"
        case .tooManyFromAddress(let address, let max):
            "\(address) already has \(max) connections; close some, or raise max.connections.per.ip"
        case .noPrincipal(let subject, let reason):
            // A subject may be as long as a certificate, and an HTTP/2 frame may not.
            "client certificate (\(subject.prefix(1_000))) names nobody here: \(reason.prefix(1_000))"
        case .revoked(let subject): "client certificate (\(subject.prefix(1_000))) was revoked by its CA"
        case .http2WithoutALPN: "HTTP/2 over TLS is agreed upon by ALPN; let the client offer h2 in its handshake"
        }
    }

    /// Whether trying again later may help.
    private var isTooMany: Bool {
        switch self {
        case .tooManyConnections, .tooManyFromAddress: true
        case .plaintextOff, .plaintextNotLoopback, .tlsOff, .noPrincipal, .revoked, .http2WithoutALPN: false
        }
    }

    /// What is written to the peer before the connection is closed; nil where its protocol has no
    /// words.
    func answer(in wire: WireProtocol) -> ByteBuffer? {
        switch wire {
        case .tls: tlsAlert
        case .http1: http1Response
        case .http2: http2GoAway
        case .kafka: nil
        }
    }

    /// A fatal alert in a plaintext record (RFC 8446 section 6): handshake_failure, or
    /// internal_error where trying again later may help.
    private var tlsAlert: ByteBuffer {
        let description: UInt8 = isTooMany ? 80 : 40
        return ByteBuffer(bytes: [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, description])
    }

    private var http1Response: ByteBuffer {
        let status = isTooMany ? "503 Service Unavailable" : "403 Forbidden"
        let body = "martlet: " + explanation + "\n"
        return ByteBuffer(
            string: "HTTP/1.1 \(status)\r\ncontent-type: text/plain; charset=utf-8\r\n"
                + "content-length: \(body.utf8.count)\r\nconnection: close\r\n\r\n" + body)
    }

    /// The server's preface, an empty SETTINGS frame, and GOAWAY with the explanation as debug data
    /// (RFC 9113 sections 3.4 and 6.8). INADEQUATE_SECURITY, or ENHANCE_YOUR_CALM for too many.
    private var http2GoAway: ByteBuffer {
        let code: UInt32 = isTooMany ? 0x0b : 0x0c
        let debug = Array(explanation.utf8)
        var frames = ByteBuffer(bytes: [0, 0, 0, 4, 0, 0, 0, 0, 0])
        frames.writeInteger(UInt8(0))
        frames.writeInteger(UInt16(8 + debug.count))
        frames.writeBytes([7, 0, 0, 0, 0, 0])
        frames.writeInteger(UInt32(0))
        frames.writeInteger(code)
        frames.writeBytes(debug)
        return frames
    }
}
