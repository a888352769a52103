// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: one TLS connection without I/O: bytes in, bytes out.
//
// Owns the SSL object and its BIO. Not safe for concurrent use; its TLSHandler (or test) calls it
// from one event loop. Received bytes go in with `receive`; what must be sent comes out of
// `takeOutbound` and has to be taken after every call, also after one that throws: it may be the
// alert that tells the peer why.
//
//   handshake ──▶ read / write ──▶ shutdown      any ──throws──▶ failed (takeOutbound is left)
//
// After a fatal error the library refuses everything itself. Whether the transport ended, and what
// that means, is the caller's business (`hasPartialRecord`, `isCloseNotifyReceived`).

import Bytes
import COpenSSL
import NIOCore

/// One TLS connection without I/O.
@safe package final class TLSSession {
    /// Which side to play.
    package enum Role: Sendable {
        case server(ClientAuthentication)
        /// `host` is checked against the certificate and, if it is a name, sent as SNI; nil checks
        /// the certificate's chain only.
        case client(host: String?)
    }

    /// How reading ended.
    package enum ReadEnd: Sendable, Equatable {
        /// Nothing more can be decrypted until more is received.
        case exhausted
        /// The peer said that it sends nothing more.
        case closeNotify
    }

    let context: TLSContext
    let role: Role
    /// The first fault that certificate verification found; kept for the error's text.
    var verificationFault: VerificationFault?
    /// What the client offered by ALPN; server side.
    var applicationProtocolsOffered: [String] = []
    /// Client side: what the latest ticket lets a later session resume.
    package internal(set) var resumption: TLSResumption?
    package private(set) var isCloseNotifyReceived = false
    /// Whether the peer's very first byte was seen, and was that of a TLS record.
    private(set) var hasReceived = false
    let stream = TLSByteStream()
    let ssl: OpaquePointer

    var clock: any Clock { context.clock }

    package init(
        context: TLSContext, role: Role, resuming resumption: TLSResumption? = nil
    ) throws(TransportError) {
        // SAFETY: SSL_new takes its own reference to the context. SSL_set_bio hands the BIO's one
        // reference to the SSL, which frees it in deinit, while `stream` is still alive.
        guard let ssl = unsafe SSL_new(context.pointer) else {
            throw TransportError(.library, "cannot start a TLS session: \(takeOpenSSLError())")
        }
        guard let bio = unsafe TLSByteStream.makeBIO(over: stream) else {
            unsafe SSL_free(ssl)
            throw TransportError(.library, "cannot start a TLS session: out of memory")
        }
        unsafe SSL_set_bio(ssl, bio, bio)
        unsafe self.ssl = ssl
        self.context = context
        self.role = role
        // SAFETY: the callbacks find self by this unowned pointer; they run only inside calls on
        // `ssl`.
        unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        let time = Int(context.clock.nowMs() / 1000)
        unsafe X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), time)
        switch role {
        case .server(let authentication): setServer(authentication)
        case .client(let host): try setClient(host, resumption)
        }
    }

    deinit {
        // SAFETY: self is the only owner of the SSL. Said to be shut down, it leaves its session
        // resumable; else a client could resume only what was ended by close_notify, which TLS 1.3
        // does not ask for.
        unsafe SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        unsafe SSL_free(ssl)
    }

    /// The session behind an SSL, inside a callback.
    static func owner(of ssl: OpaquePointer?) -> TLSSession? {
        // SAFETY: index 0 is only ever set to the owning session, which is alive while a call on it
        // runs.
        guard let owner = unsafe SSL_get_ex_data(ssl, 0) else { return nil }
        return unsafe Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue()
    }

    // MARK: Bytes

    /// Adds what the transport received.
    package func receive(_ bytes: ByteBuffer) {
        if stream.inbound.readableBytes == 0 {
            stream.inbound = bytes
        } else {
            var bytes = bytes
            stream.inbound.writeBuffer(&bytes)
        }
    }

    /// What was received and not decrypted yet; plaintext is never more than its records, but for
    /// one record whose beginning the library has taken already.
    package var inboundBytes: Int {
        // SAFETY: `ssl` is live.
        stream.inbound.readableBytes + (unsafe SSL_has_pending(ssl) == 1 ? Self.recordBytesMax : 0)
    }

    /// Takes what must be sent to the peer, nil if nothing.
    package func takeOutbound() -> ByteBuffer? {
        guard stream.outbound.readableBytes > 0 else { return nil }
        var taken = ByteBuffer()
        swap(&taken, &stream.outbound)
        return taken
    }

    /// Gives back what `takeOutbound` returned, once it is sent. If nobody else holds its memory
    /// any more, and it is not large, the next records go there.
    package func reuse(_ sent: consuming ByteBuffer) {
        guard stream.outbound.storageCapacity == 0, sent.storageCapacity <= Self.keptBytesMax else {
            return
        }
        var sent = consume sent
        if sent.modifyIfUniquelyOwned({ $0.clear() }) != nil { swap(&sent, &stream.outbound) }
    }

    /// A buffer larger than this is not kept for the next flush.
    private static let keptBytesMax = 64 * 1024

    // MARK: A connection's life

    /// Drives the handshake; nil until it is over.
    package func handshake() throws(TLSError) -> TLSHandshake? {
        try checkFirstBytes()
        dropStaleErrors()
        // SAFETY: `ssl` is live; callbacks touch only self and the stream, of which no access is
        // under way.
        let result = unsafe SSL_do_handshake(ssl)
        guard result == 1 else {
            let error = unsafe SSL_get_error(ssl, result)
            if error == SSL_ERROR_WANT_READ { return nil }
            throw takeFailure(error)
        }
        return try agreement()
    }

    /// Decrypts everything that was received, appending to `plaintext`.
    package func read(into plaintext: inout ByteBuffer) throws(TLSError) -> ReadEnd {
        guard !isCloseNotifyReceived else { return .closeNotify }
        plaintext.reserveCapacity(minimumWritableBytes: inboundBytes)
        repeat {
            var result: Int32 = 0
            // SAFETY: the library writes at most `target.count` bytes into the buffer's own
            // writable bytes.
            _ = unsafe plaintext.writeWithUnsafeMutableBytes(
                minimumWritableBytes: Self.readBytesMin
            ) {
                target in
                var count = 0
                dropStaleErrors()
                unsafe result = SSL_read_ex(ssl, target.baseAddress, target.count, &count)
                return count
            }
            guard result == 1 else {
                switch unsafe SSL_get_error(ssl, result) {
                case SSL_ERROR_WANT_READ: return .exhausted
                case SSL_ERROR_ZERO_RETURN:
                    isCloseNotifyReceived = true
                    return .closeNotify
                case let error: throw takeFailure(error)
                }
            }
        } while unsafe stream.inbound.readableBytes > 0 || SSL_has_pending(ssl) == 1
        return .exhausted
    }

    /// Room for a read when a buffer is full but more may come.
    private static let readBytesMin = 512

    /// Encrypts all readable bytes of `plaintext`.
    package func write(_ plaintext: ByteBuffer) throws(TLSError) {
        // SAFETY: the bytes are borrowed for the call; the library reads within their count.
        let failure = unsafe plaintext.withUnsafeReadableBytes { unsafe write($0) }
        if let failure { throw failure }
    }

    /// Encrypts `bytes`; as a result and not a throw, because it is called within borrowing
    /// closures.
    func write(_ bytes: UnsafeRawBufferPointer) -> TLSError? {
        guard bytes.count > 0 else { return nil }
        let records = bytes.count / Self.recordBytesMax + 1
        stream.outbound.reserveCapacity(
            minimumWritableBytes: bytes.count + records * Self.recordOverheadMax)
        var count = 0
        dropStaleErrors()
        // SAFETY: as in the caller. The BIO takes everything, so one call writes all records.
        let result = unsafe SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count)
        if result == 1 { return nil }
        return unsafe takeFailure(SSL_get_error(ssl, result))
    }

    /// RFC 8446 section 5.2: 16 KiB of plaintext a record; header, content type and tag around it.
    static let recordBytesMax = 16 * 1024
    private static let recordOverheadMax = 32

    /// Says close_notify: nothing more will be sent. Reading goes on. Does nothing during a
    /// handshake.
    package func shutdown() {
        dropStaleErrors()
        // SAFETY: `ssl` is live. 0 and 1 mean sent, and sent and received; errors leave nothing to
        // do.
        if unsafe SSL_is_init_finished(ssl) == 1 { unsafe SSL_shutdown(ssl) }
        ERR_clear_error()
    }

    /// Whether the peer has begun a record that is not complete.
    package var hasPartialRecord: Bool {
        if stream.inbound.readableBytes > 0 { return true }
        // SAFETY: `ssl` is live; the state's name is a static string of two letters. "RB" is "read
        // body": of a record whose header alone has come, nothing is pending.
        return unsafe SSL_has_pending(ssl) == 1
            || SSL_rstate_string(ssl)[1] == CChar(UInt8(ascii: "B"))
    }

    /// Recognises plaintext before the library calls it a wrong version.
    private func checkFirstBytes() throws(TLSError) {
        guard !hasReceived,
            let first = stream.inbound.getInteger(
                at: stream.inbound.readerIndex, as: UInt8.self)
        else { return }
        hasReceived = true
        // Handshake, or an alert instead of it.
        if first != 0x16 && first != 0x15 { throw notTLS(stream.inbound) }
    }
}

// MARK: - Set-up, called by the initialiser only

extension TLSSession {
    private func setServer(_ authentication: ClientAuthentication) {
        let mode: Int32 =
            switch authentication {
            case .required: SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
            case .requested: SSL_VERIFY_PEER
            case .none: SSL_VERIFY_NONE
            }
        // A ticket of a listener that asks for no certificate must not open one that does.
        let scope = Array("martlet \(authentication.rawValue)".utf8)
        // SAFETY: `ssl` is live; the context id, at most 32 bytes, is copied.
        unsafe SSL_set_verify(ssl, mode, judgeCertificate)
        unsafe SSL_set_session_id_context(ssl, scope, UInt32(scope.count))
        unsafe SSL_set_accept_state(ssl)
    }

    private func setClient(_ host: String?, _ resumption: TLSResumption?) throws(TransportError) {
        // SAFETY: `ssl` is live; names are copied; the library takes its own reference to the
        // session.
        unsafe SSL_set_verify(ssl, SSL_VERIFY_PEER, judgeCertificate)
        if let resumption { unsafe SSL_set_session(ssl, resumption.pointer) }
        unsafe SSL_set_connect_state(ssl)
        guard let host else { return }
        if isNumericAddress(host) {
            unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host)
        } else if unsafe SSL_set1_host(ssl, host) != 1
            || martlet_SSL_set_tlsext_host_name(ssl, host) != 1
        {
            throw TransportError(
                .invalidOptions,
                "'\(host)' is no host name that TLS can check: \(takeOpenSSLError())")
        }
    }
}

// MARK: - The end of the handshake

extension TLSSession {
    private func agreement() throws(TLSError) -> TLSHandshake {
        // SAFETY: get0 results and names are copied at once; get1 returns a reference that the
        // wrapper frees.
        let peer = unsafe SSL_get1_peer_certificate(ssl).map { unsafe X509Certificate(taking: $0) }
        if case .server(.required) = role, peer == nil {
            // Cannot happen unless a resumption slipped through; never let it pass.
            throw TLSError(.certificateMissing, "client sent no certificate")
        }
        return unsafe TLSHandshake(
            version: String(cString: SSL_get_version(ssl)), cipher: cipher,
            applicationProtocol: applicationProtocol, serverName: serverName,
            peerCertificate: peer?.summary, isCertificateShown: hasSigned, isResumed: SSL_session_reused(ssl) == 1)
    }

    /// Whoever shows a certificate signs with its key.
    private var hasSigned: Bool {
        var algorithm: Int32 = 0
        // SAFETY: `ssl` is live, `algorithm` a live local.
        return unsafe SSL_get_signature_type_nid(ssl, &algorithm) == 1
    }

    private var cipher: String {
        // SAFETY: cipher names are static.
        unsafe SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)).map {
            unsafe String(cString: $0)
        } ?? ""
    }

    private var applicationProtocol: String? {
        var start: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        // SAFETY: the name is borrowed from the SSL and copied within its length.
        unsafe SSL_get0_alpn_selected(ssl, &start, &count)
        guard count > 0 else { return nil }
        return unsafe String(
            decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }

    /// The SNI name, if it is spelt like a host name: it goes into logs and into metadata.
    private var serverName: String? {
        guard case .server = role else { return nil }
        // SAFETY: the name is borrowed from the SSL and copied.
        guard let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else {
            return nil
        }
        let text = unsafe String(cString: name)
        return isHostName(text) ? text : nil
    }
}

/// What lets a later session of a client skip most of the handshake. Opaque and immutable.
// @unchecked: an SSL_SESSION is reference-counted atomically and not changed once it was issued.
@safe package final class TLSResumption: @unchecked Sendable {
    let pointer: OpaquePointer

    /// Takes over one reference.
    init(taking pointer: OpaquePointer) {
        unsafe self.pointer = pointer
    }

    deinit {
        // SAFETY: self owns one reference.
        unsafe SSL_SESSION_free(pointer)
    }
}
