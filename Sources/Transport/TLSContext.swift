// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: certificates, key and rules of TLS, loaded once.
//
// Owns the SSL_CTX. Everything is set before the initialiser returns and nothing is changed
// afterwards, so a context is shared by all event loops; certificates are reloaded by making a new
// one (TLSContextStore). Session tickets are stateless; each context has ticket keys of its own
// (SessionTicketKeys), so a reload makes earlier tickets worthless and their holders do a full
// handshake.

import Bytes
import COpenSSL

/// What a `TLSContext` is made of.
package struct TLSOptions: Sendable {
    package enum Version: String, Sendable, Hashable, CaseIterable {
        case tls12 = "TLS 1.2"
        case tls13 = "TLS 1.3"
    }

    /// PEM file with the CA certificates that peers are checked against; nil trusts nobody (a
    /// server), or the machine's CAs (a client).
    package var authorityFile: String?
    /// PEM file with revocation lists of the CAs in `authorityFile`; nil looks for none.
    package var revocationFile: String?
    /// PEM file with our certificate, followed by its intermediate CAs; a server must have one.
    package var certificateFile: String?
    /// PEM file with the private key, not encrypted.
    package var keyFile: String?
    package var minimumVersion: Version
    /// Nil is the newest that the library knows.
    package var maximumVersion: Version?
    /// In order of preference. A client offers them; a server chooses the first that the client
    /// offers.
    package var applicationProtocols: [String]

    package init(
        authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
        minimumVersion: Version = .tls13, applicationProtocols: [String] = []
    ) {
        self.authorityFile = authorityFile
        self.certificateFile = certificateFile
        self.keyFile = keyFile
        self.minimumVersion = minimumVersion
        self.applicationProtocols = applicationProtocols
    }
}

/// Certificates, key and rules of TLS; immutable.
// @unchecked: the SSL_CTX is changed only before `init` returns; libssl counts references to it
// atomically and locks what its own sessions share.
@safe package final class TLSContext: @unchecked Sendable {
    /// Which side of a connection a context is for.
    enum Side: Sendable {
        case server
        case client
    }

    package let options: TLSOptions
    /// Our own certificate; nil for a client without one.
    package let certificate: PeerCertificate?
    /// Whom peers' certificates are checked against.
    package let authorities: [PeerCertificate]
    /// What those have taken back.
    private let revocationLists: [RevocationList]
    /// Ours, the leaf first, and the authorities.
    private let chain: [X509Certificate]
    private let trusted: [X509Certificate]
    /// The certificates in PEM, ours first: two contexts with the same ones need not replace each other.
    private let certificateTexts: [[UInt8]]
    let side: Side
    let clock: any Clock
    /// What a server seals its session tickets with.
    let ticketKeys = SessionTicketKeys()
    let pointer: OpaquePointer

    /// Loads the files for the server's side.
    package static func server(
        _ options: TLSOptions, clock: any Clock = SystemClock()
    ) throws(TransportError) -> TLSContext {
        guard options.certificateFile != nil else {
            throw TransportError(
                .invalidOptions,
                "TLS needs a certificate and a key; name both files, or none for plaintext")
        }
        return try TLSContext(options, side: .server, clock: clock)
    }

    /// Loads the files for the client's side.
    package static func client(
        _ options: TLSOptions, clock: any Clock = SystemClock()
    ) throws(TransportError) -> TLSContext {
        try TLSContext(options, side: .client, clock: clock)
    }

    private init(_ options: TLSOptions, side: Side, clock: any Clock) throws(TransportError) {
        // SAFETY: method tables are static; the new SSL_CTX is owned by self and freed in deinit,
        // which also runs when a later step of this initialiser throws, since every property is set
        // by then.
        let method = unsafe side == .server ? TLS_server_method() : TLS_client_method()
        guard let pointer = unsafe SSL_CTX_new(method) else {
            throw TransportError(.library, "cannot start TLS: \(takeOpenSSLError())")
        }
        let identity: TLSIdentity?
        let authorities: [X509Certificate]
        var revoked: [UInt8] = []
        var lists: [RevocationList] = []
        do {
            if let file = options.revocationFile { (revoked, lists) = try RevocationList.load(file) }
            identity = try TLSIdentity.load(options)
            authorities = try options.authorityFile.map { file throws(TransportError) in
                try TLSIdentity.certificates(in: file, what: "CA certificate")
            } ?? []
        } catch {
            unsafe SSL_CTX_free(pointer)
            throw error
        }
        unsafe self.pointer = pointer
        self.options = options
        self.side = side
        self.clock = clock
        self.certificate = identity?.certificates.first?.summary
        self.authorities = authorities.map(\.summary)
        self.revocationLists = lists
        self.chain = identity?.certificates ?? []
        self.trusted = authorities
        self.certificateTexts = ((identity?.certificates ?? []) + authorities).map(\.pem) + [revoked]
        try setRules()
        if let identity { try use(identity) }
        trust(authorities)
    }

    /// What is wrong with our own certificate, for a server that is reached by these names.
    package func faults(hosts: [String], nowMs: Int64) -> [CertificateFinding] {
        var check = CertificateCheck(
            certificateFile: options.certificateFile ?? "", keyFile: nil, authorityFile: options.authorityFile,
            purpose: .server)
        check.hosts = hosts
        return check.faults(of: chain, trusted, nowMs: nowMs)
    }

    /// The intermediate CA that `other` sends with a certificate of the same CA as ours, and we do not.
    package func missingIntermediate(sentBy other: TLSContext) -> String? {
        guard let issuer = chain.first?.summary.issuer else { return nil }
        func sends(_ context: TLSContext) -> Bool {
            context.chain.dropFirst().contains { $0.summary.subject == issuer && $0.summary.issuer != issuer }
        }
        return sends(other) && !sends(self) ? issuer : nil
    }

    /// Whether both show and trust the same certificates, and refuse the same ones.
    package func hasSameCertificates(as other: TLSContext) -> Bool {
        certificateTexts == other.certificateTexts
    }

    /// Changes the keys of session tickets when it is time, also where nobody connects.
    package func rotateTicketKeys() {
        ticketKeys.rotate(nowMs: monotonicMs)
    }

    var monotonicMs: Int64 { Int64(clock.monotonicNs() / 1_000_000) }

    package var revocationSummaries: [RevocationListSummary] { revocationLists.map(\.summary) }

    /// Whether there is anything that could be revoked.
    package var hasRevocationLists: Bool { !revocationLists.isEmpty }

    /// Whether its CA has taken it back since its handshake. Of a chain only the certificate itself is known here.
    package func hasRevoked(_ certificate: PeerCertificate) -> Bool {
        revocationLists.contains { $0.issuer == certificate.issuer && $0.has(serial: certificate.serial) }
    }

    deinit {
        // SAFETY: self owns one reference; sessions hold their own.
        unsafe SSL_CTX_free(pointer)
    }
}

extension TLSOptions.Version {
    fileprivate var number: Int32 {
        switch self {
        case .tls12: TLS1_2_VERSION
        case .tls13: TLS1_3_VERSION
        }
    }
}

// MARK: - Set-up, called by the initialiser only

extension TLSContext {
    /// AES-128 before AES-256: a quarter cheaper on full records (`openssl speed`, docs/decisions),
    /// and no known attack tells them apart. A client that puts ChaCha20 first has no AES
    /// instructions and gets ChaCha20.
    private static let suites13 =
        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    /// For TLS 1.2 only what has forward secrecy and authenticated encryption.
    private static let suites12 = "ECDHE+AESGCM:ECDHE+CHACHA20"
    /// Elliptic curves only: the library would offer finite fields up to ffdhe8192 too, where anybody could make one
    /// handshake cost a hundred times as much (D(HE)at).
    private static let groups = "X25519:P-256:X448:P-384:P-521"
    /// Certificates of a peer's chain, all together.
    private static let chainBytesMax = 64 * 1024

    private func setRules() throws(TransportError) {
        // SAFETY: `pointer` is live; strings are copied by the library; callbacks capture nothing.
        let accepted =
            unsafe martlet_SSL_CTX_set_min_proto_version(pointer, options.minimumVersion.number)
            == 1
            && martlet_SSL_CTX_set_max_proto_version(pointer, options.maximumVersion?.number ?? 0)
                == 1
            && SSL_CTX_set_ciphersuites(pointer, Self.suites13) == 1
            && SSL_CTX_set_cipher_list(pointer, Self.suites12) == 1
            && martlet_SSL_CTX_set1_groups_list(pointer, Self.groups) == 1
        guard accepted else {
            throw TransportError(
                .library, "the TLS library refuses the cipher suites or groups: \(takeOpenSSLError())")
        }
        unsafe SSL_CTX_set_options(
            pointer,
            martlet_SSL_OP_NO_RENEGOTIATION() | martlet_SSL_OP_NO_COMPRESSION()
                | martlet_SSL_OP_CIPHER_SERVER_PREFERENCE() | martlet_SSL_OP_PRIORITIZE_CHACHA())
        // An idle connection gives back its two record buffers, 34 KiB.
        unsafe martlet_SSL_CTX_set_mode(pointer, Int(SSL_MODE_RELEASE_BUFFERS))
        // One read takes a whole small record, and what follows it, instead of header and body
        // separately.
        unsafe martlet_SSL_CTX_set_read_ahead(pointer, 1)
        unsafe martlet_SSL_CTX_set_max_cert_list(pointer, Self.chainBytesMax)
        if side == .server { setServerRules() } else { try setClientRules() }
    }

    private func setServerRules() {
        // SAFETY: as in setRules.
        unsafe martlet_SSL_CTX_set_session_cache_mode(pointer, Int(SSL_SESS_CACHE_OFF))
        // One ticket a handshake; the library lets it be used more than once.
        unsafe SSL_CTX_set_num_tickets(pointer, 1)
        unsafe SSL_CTX_set_session_ticket_cb(pointer, nil, judgeTicket, nil)
        unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(pointer, chooseTicketKey)
        unsafe SSL_CTX_set_timeout(pointer, Int(SessionTicketKeys.ticketMs / 1000))
        unsafe SSL_CTX_set_alpn_select_cb(pointer, selectApplicationProtocol, nil)
        unsafe martlet_SSL_CTX_set_server_name_callback(pointer, acceptServerName)
    }

    private func setClientRules() throws(TransportError) {
        let cacheMode = SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
        // SAFETY: as in setRules.
        unsafe martlet_SSL_CTX_set_session_cache_mode(pointer, Int(cacheMode))
        unsafe SSL_CTX_sess_set_new_cb(pointer, keepSession)
        guard !options.applicationProtocols.isEmpty else { return }
        var offer: [UInt8] = []
        for name in options.applicationProtocols {
            precondition((1...255).contains(name.utf8.count), "an ALPN name has 1 to 255 bytes")
            offer.append(UInt8(name.utf8.count))
            offer += Array(name.utf8)
        }
        // SAFETY: the list is copied during the call. This one function returns 0 for success.
        guard unsafe SSL_CTX_set_alpn_protos(pointer, offer, UInt32(offer.count)) == 0 else {
            throw TransportError(
                .library, "the TLS library refuses the ALPN list: \(takeOpenSSLError())")
        }
    }

    private func use(_ identity: TLSIdentity) throws(TransportError) {
        // SAFETY: the library takes its own references to certificates and key.
        var isUsed = unsafe SSL_CTX_use_certificate(pointer, identity.certificates[0].pointer) == 1
        for certificate in identity.certificates.dropFirst() where isUsed {
            isUsed = unsafe martlet_SSL_CTX_add1_chain_cert(pointer, certificate.pointer) == 1
        }
        if isUsed { isUsed = unsafe SSL_CTX_use_PrivateKey(pointer, identity.key.pointer) == 1 }
        guard isUsed else {
            throw TransportError(
                .invalidFile,
                "certificate \(identity.certificateFile): the TLS library refuses it "
                    + "(\(takeOpenSSLError())); use a P-256 or an RSA key of 2048 bits or more")
        }
    }

    /// Loads the CAs that peers are checked against.
    private func trust(_ authorities: [X509Certificate]) {
        guard options.authorityFile != nil else {
            // SAFETY: `pointer` is live.
            if side == .client { _ = unsafe SSL_CTX_set_default_verify_paths(pointer) }
            return
        }
        // SAFETY: store and list take their own references.
        let store = unsafe SSL_CTX_get_cert_store(pointer)
        // What the file names is trusted, an intermediate CA or a single certificate too, as in
        // Java and Go.
        unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_PARTIAL_CHAIN))
        for authority in authorities {
            unsafe X509_STORE_add_cert(store, authority.pointer)
            // Tells clients which certificates would do, so that they can choose one.
            if side == .server { unsafe SSL_CTX_add_client_CA(pointer, authority.pointer) }
        }
        if hasRevocationLists { useRevocationLists() }
        ERR_clear_error()
    }

    /// Loads what CAs have taken back. From then on a peer's certificate must be on a list that is there and current.
    private func useRevocationLists() {
        // SAFETY: the store takes its own references.
        let store = unsafe SSL_CTX_get_cert_store(pointer)
        for list in revocationLists { unsafe X509_STORE_add_crl(store, list.pointer) }
        unsafe X509_STORE_set_flags(store, UInt(X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL))
    }
}

// MARK: - What the library calls back

/// Refuses to resume with a ticket whose client certificate has expired since: resumption does not
/// look at certificates, the full handshake that follows does, and says so to the client.
private func judgeTicket(
    ssl: OpaquePointer?, session: OpaquePointer?, name: UnsafePointer<UInt8>?, nameLength: Int,
    status: SSL_TICKET_STATUS, argument: UnsafeMutableRawPointer?
) -> SSL_TICKET_RETURN {
    switch status {
    case SSL_TICKET_SUCCESS, SSL_TICKET_SUCCESS_RENEW: break
    default: return SSL_TICKET_RETURN_IGNORE_RENEW
    }
    // SAFETY: the session's certificate is borrowed; up_ref makes the reference that the wrapper
    // frees.
    if let peer = unsafe SSL_SESSION_get0_peer(session), unsafe X509_up_ref(peer) == 1 {
        let certificate = unsafe X509Certificate(taking: peer)
        let nowMs = unsafe TLSSession.owner(of: ssl)?.clock.nowMs() ?? Int64.max
        if certificate.notAfterMs < nowMs { return SSL_TICKET_RETURN_IGNORE_RENEW }
    }
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW
}

/// Chooses the first of our protocols that the client offers (RFC 7301). No overlap is fatal, so
/// that one protocol's client is never served another protocol.
private func selectApplicationProtocol(
    ssl: OpaquePointer?, chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    chosenLength: UnsafeMutablePointer<UInt8>?, offered: UnsafePointer<UInt8>?,
    offeredLength: UInt32,
    argument: UnsafeMutableRawPointer?
) -> Int32 {
    guard let session = unsafe TLSSession.owner(of: ssl) else { return SSL_TLSEXT_ERR_ALERT_FATAL }
    // SAFETY: the library passes a well-formed list of `offeredLength` bytes that lives longer than
    // the call; `chosen` points into it.
    let list = unsafe UnsafeBufferPointer(start: offered, count: Int(offeredLength))
    var names: [(text: String, range: Range<Int>)] = []
    var index = 0
    while index < list.count {
        let end = unsafe min(index + 1 + Int(list[index]), list.count)
        let range = index + 1..<end
        names.append((unsafe String(decoding: list[range], as: UTF8.self), range))
        index = end
    }
    session.applicationProtocolsOffered = names.map(\.text)
    for wanted in session.context.options.applicationProtocols {
        guard let found = names.first(where: { $0.text == wanted }) else { continue }
        unsafe chosen?.pointee = list.baseAddress?.advanced(by: found.range.lowerBound)
        unsafe chosenLength?.pointee = UInt8(found.range.count)
        return SSL_TLSEXT_ERR_OK
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}

/// Accepts every SNI name, so that TLS 1.2 keeps it with the session.
private func acceptServerName(
    ssl: OpaquePointer?, alert: UnsafeMutablePointer<Int32>?, argument: UnsafeMutableRawPointer?
) -> Int32 {
    SSL_TLSEXT_ERR_OK
}

/// Keeps a client's latest session, for `TLSSession.resumption`. Returning 1 takes over the
/// reference.
private func keepSession(ssl: OpaquePointer?, session: OpaquePointer?) -> Int32 {
    guard let owner = unsafe TLSSession.owner(of: ssl), let session = unsafe session else {
        return 0
    }
    unsafe owner.resumption = TLSResumption(taking: session)
    return 1
}
