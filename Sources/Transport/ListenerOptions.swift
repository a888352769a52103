// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the rules of one listener.

/// Who may speak without TLS.
package enum PlaintextPolicy: String, Sendable, Hashable, CaseIterable {
    /// Peers on this machine only; the default.
    case loopbackOnly
    /// Everybody.
    case allowed
    /// Nobody.
    case off
}

/// What a TLS server asks of its clients.
package enum ClientAuthentication: String, Sendable, Hashable, CaseIterable {
    /// A client without a good certificate is refused; the default.
    case required
    /// A certificate is asked for; if one comes it must be good.
    case requested
    /// No certificate is asked for.
    case none
}

/// `User:` and a name, or why a certificate that was verified names nobody here.
package typealias PrincipalChoice = @Sendable (PeerCertificate) -> Result<String, NoPrincipal>

/// In words for the log.
package struct NoPrincipal: Error, Equatable {
    package var reason: String

    package init(_ reason: String) {
        self.reason = reason
    }
}

/// Where a listener listens, and whom it lets in.
package struct ListenerOptions: Sendable {
    /// Shown in logs and in `ConnectionContext.listenerName`.
    package var name: String
    /// A host name, an IPv4 or IPv6 address; `*` is every address of the machine.
    package var host: String
    /// 0 lets the kernel choose; `Listener.port` says what it chose.
    package var port: Int
    package var plaintext: PlaintextPolicy
    /// Certificates for TLS; nil refuses TLS on this listener.
    package var tls: TLSContextStore?
    package var clientAuthentication: ClientAuthentication
    /// Where the certificates of clients are noted, to tell which expire.
    package var seenClients: SeenClientCertificates?
    /// Who the owner of a client's certificate is.
    package var principal: PrincipalChoice
    /// Connections the kernel queues until they are accepted.
    package var backlog: Int
    package var limits: TransportLimits
    /// Of all listeners together; nil: only this listener's own.
    package var connectionLimits: ConnectionLimits?
    /// Told which connection failed its TLS handshake, or proved a certificate that names nobody, and why. On its loop.
    package var onFailedLogin: (@Sendable (ConnectionContext, _ cause: String) -> Void)?
    /// Connections accepted a second; nil: as many as come.
    package var acceptedPerSecond: Int?

    package init(
        name: String = "default", host: String = "127.0.0.1", port: Int = 9092,
        plaintext: PlaintextPolicy = .loopbackOnly, tls: TLSContextStore? = nil,
        clientAuthentication: ClientAuthentication = .required,
        seenClients: SeenClientCertificates? = nil,
        principal: @escaping PrincipalChoice = { .success("User:" + $0.subject) }, backlog: Int = 1024,
        limits: TransportLimits = TransportLimits()
    ) {
        self.name = name
        self.host = host
        self.port = port
        self.plaintext = plaintext
        self.tls = tls
        self.clientAuthentication = clientAuthentication
        self.seenClients = seenClients
        self.principal = principal
        self.backlog = backlog
        self.limits = limits
    }
}
