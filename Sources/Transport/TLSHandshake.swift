// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what a TLS handshake agreed on.

/// The outcome of a handshake; sent down the pipeline as a user inbound event, once, before
/// `channelActive`.
package struct TLSHandshake: Sendable, Equatable {
    /// `TLSv1.3` or `TLSv1.2`.
    package var version: String
    /// The cipher suite, by its IANA name.
    package var cipher: String
    /// What ALPN chose; nil when the client did not offer any.
    package var applicationProtocol: String?
    /// Server side: the name the client asked for (SNI).
    package var serverName: String?
    /// The peer's certificate, verified.
    package var peerCertificate: PeerCertificate?
    /// Whether this side showed a certificate: it has one, and the peer asked for it. Not known of resumed sessions.
    package var isCertificateShown: Bool
    /// Whether an earlier session was resumed by a ticket.
    package var isResumed: Bool
}
