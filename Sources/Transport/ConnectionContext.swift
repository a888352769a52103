// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what the edges are told about a connection.
//
// Plain values, made once when the protocol of a connection is known and never changed afterwards.
// Nothing here refers to the channel or to the TLS library.

import NIOCore

/// One connection as a protocol edge sees it.
package struct ConnectionContext: Sendable {
    /// Unique within this process, counted from 1.
    package var id: UInt64
    /// The host the client itself used: its SNI name under TLS, else the local address of the
    /// socket. This is what metadata advertises to it unless an address was configured.
    package var localHost: String
    /// The port the client connected to.
    package var localPort: Int
    /// The peer's address, without port, as text.
    package var remoteAddress: String
    package var remotePort: Int
    package var isTLS: Bool
    /// The SNI name, if the client sent one.
    package var serverName: String?
    /// `User:ANONYMOUS`, or what the listener makes of the client's certificate: `User:` and, if nothing else is set, its
    /// subject in RFC 2253 order.
    package var principal: String
    /// The client's verified certificate, if it sent one.
    package var peerCertificate: PeerCertificate?
    /// Name of the listener the connection came in by.
    package var listenerName: String

    /// Kafka's name for who did not say.
    package static let anonymous = "User:ANONYMOUS"

    package init(
        id: UInt64, localHost: String, localPort: Int, remoteAddress: String, remotePort: Int,
        isTLS: Bool = false, serverName: String? = nil,
        principal: String = ConnectionContext.anonymous,
        peerCertificate: PeerCertificate? = nil, listenerName: String = "default"
    ) {
        self.id = id
        self.localHost = localHost
        self.localPort = localPort
        self.remoteAddress = remoteAddress
        self.remotePort = remotePort
        self.isTLS = isTLS
        self.serverName = serverName
        self.principal = principal
        self.peerCertificate = peerCertificate
        self.listenerName = listenerName
    }
}

/// The certificate that a peer proved to own, after it was verified.
package struct PeerCertificate: Sendable, Equatable {
    /// One subject alternative name.
    package enum AlternativeName: Sendable, Hashable {
        case dns(String)
        case address(String)
        case uri(String)
        case email(String)
    }

    /// The subject in RFC 2253 form, most specific part first: `CN=client,O=Example`.
    package var subject: String
    package var issuer: String
    /// Of the most specific part of the subject that has one.
    package var commonName: String?
    package var alternativeNames: [AlternativeName]
    /// Milliseconds since the Unix epoch.
    package var notBeforeMs: Int64
    package var notAfterMs: Int64
    /// Lower-case hexadecimal, without separators.
    package var serial: String

    package init(
        subject: String, issuer: String, commonName: String? = nil, alternativeNames: [AlternativeName] = [],
        notBeforeMs: Int64,
        notAfterMs: Int64, serial: String
    ) {
        self.subject = subject
        self.issuer = issuer
        self.commonName = commonName
        self.alternativeNames = alternativeNames
        self.notBeforeMs = notBeforeMs
        self.notAfterMs = notAfterMs
        self.serial = serial
    }

    /// The names and addresses of a server.
    package var hosts: [String] {
        alternativeNames.compactMap { name in
            switch name {
            case .dns(let text), .address(let text): text
            case .email, .uri: nil
            }
        }
    }
}
