// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: owner of one X.509 certificate, and one private key.
//
// Wrap OpenSSL's reference-counted objects; each wrapper owns one reference and frees it in
// `deinit`. The objects are never changed once they are wrapped, so reading them from several
// threads is safe. Only the TLS and certificate code of this module sees their pointers.

import COpenSSL
import Glibc

/// One certificate.
@safe final class X509Certificate {
    let pointer: OpaquePointer

    /// Takes over one reference.
    init(taking pointer: OpaquePointer) {
        unsafe self.pointer = pointer
    }

    deinit {
        // SAFETY: `pointer` is a live X509 of which this object owns exactly one reference.
        unsafe X509_free(pointer)
    }

    /// All certificates of a PEM text, in order; text between them is skipped. Nil if one is
    /// damaged.
    static func parse(pem: [UInt8]) -> [X509Certificate]? {
        // SAFETY: the memory BIO reads `pem` in place and is freed before the closure returns; each
        // certificate read is a new reference that is handed to its owner.
        unsafe pem.withUnsafeBytes { bytes in
            guard let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count))
            else {
                return nil
            }
            defer { unsafe BIO_free_all(bio) }
            var certificates: [X509Certificate] = []
            while let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil) {
                unsafe certificates.append(X509Certificate(taking: certificate))
            }
            let error = ERR_peek_last_error()
            ERR_clear_error()
            // "No start line" is how the end of the text is reported.
            let isEnd = ERR_GET_REASON(error) == PEM_R_NO_START_LINE
            return isEnd ? certificates : nil
        }
    }

    /// The PEM text of this certificate.
    var pem: [UInt8] {
        // SAFETY: `pointer` lives as long as self; the BIO is private to the closure.
        unsafe memoryBIOBytes { bio in unsafe PEM_write_bio_X509(bio, pointer) == 1 }
    }

    var notBeforeMs: Int64 {
        // SAFETY: get0 results live as long as the certificate.
        unsafe milliseconds(of: X509_get0_notBefore(pointer))
    }

    var notAfterMs: Int64 {
        // SAFETY: as above.
        unsafe milliseconds(of: X509_get0_notAfter(pointer))
    }

    /// Whether `key` is the private half of this certificate's key.
    func matches(_ key: PrivateKey) -> Bool {
        // SAFETY: both live for the call, which only reads them.
        let matches = unsafe X509_check_private_key(pointer, key.pointer) == 1
        ERR_clear_error()
        return matches
    }

    /// Whether this certificate was signed by `authority`'s key.
    func isSigned(by authority: X509Certificate) -> Bool {
        // SAFETY: both live for the call; the public key is borrowed from `authority`.
        let isSigned = unsafe X509_verify(pointer, X509_get0_pubkey(authority.pointer)) == 1
        ERR_clear_error()
        return isSigned
    }

    /// `RSA`, `EC` or the like, and its bits.
    var keyKind: (name: String, bits: Int) {
        // SAFETY: the key is borrowed from the certificate for the calls; the name is a constant.
        let key = unsafe X509_get0_pubkey(pointer)
        let name = unsafe EVP_PKEY_get0_type_name(key).map { unsafe String(cString: $0) }
        return unsafe (name ?? "unknown", Int(EVP_PKEY_get_bits(key)))
    }

    /// The digest it is signed with, such as `SHA256`; nil if the algorithm has one of its own.
    var signatureDigest: String? {
        // SAFETY: reads the certificate; the name is a constant of the library.
        let digest = unsafe martlet_X509_signature_digest(pointer)
        guard digest != NID_undef, let name = unsafe OBJ_nid2sn(digest) else { return nil }
        return unsafe String(cString: name)
    }

    var commonName: String? {
        // SAFETY: the name is borrowed from the certificate and only read.
        unsafe Transport.commonName(of: X509_get_subject_name(pointer))
    }

    var isAuthority: Bool {
        // SAFETY: reads the certificate.
        unsafe X509_check_ca(pointer) > 0
    }

    /// What its extended key usage allows; both without one.
    var usages: (server: Bool, client: Bool) {
        // SAFETY: reads the certificate.
        let flags = unsafe X509_get_extended_key_usage(pointer)
        return (flags & UInt32(XKU_SSL_SERVER) != 0, flags & UInt32(XKU_SSL_CLIENT) != 0)
    }

    /// Whether it may stand for a name or an address.
    func covers(_ host: String) -> Bool {
        // SAFETY: the text is borrowed for the call, its length is passed.
        let isCovered = isNumericAddress(host)
            ? unsafe X509_check_ip_asc(pointer, host, 0) == 1
            // Clients do not look at the common name any more.
            : unsafe X509_check_host(pointer, host, host.utf8.count, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT), nil) == 1
        ERR_clear_error()
        return isCovered
    }

    /// What keeps a chain from being one.
    struct ChainFault {
        /// In the library's words.
        var reason: String
        /// The last certificate that could be looked at.
        var last: X509Certificate?
        /// That one's issuer is in neither file.
        var isIssuerMissing: Bool
    }

    /// Why `trusted` does not vouch for it; nil if it does.
    func chainFault(
        through chain: [X509Certificate], trusted: [X509Certificate], isServer: Bool, nowMs: Int64
    ) -> ChainFault? {
        var last: OpaquePointer?
        let others = unsafe chain.map { unsafe Optional($0.pointer) }
        let roots = unsafe trusted.map { unsafe Optional($0.pointer) }
        // SAFETY: all certificates live for the call; counts are those of the arrays.
        let error = unsafe martlet_X509_verify_chain(
            pointer, others, Int32(others.count), roots, Int32(roots.count),
            isServer ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT, time_t(nowMs / 1000), &last)
        // SAFETY: `last` is a reference of our own, or nil.
        let certificate = unsafe last.map { unsafe X509Certificate(taking: $0) }
        guard error != X509_V_OK else { return nil }
        let missing = [
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
        ]
        return ChainFault(
            reason: unsafe String(cString: X509_verify_cert_error_string(Int(error))), last: certificate,
            isIssuerMissing: missing.contains(error))
    }

    /// The certificate as plain values.
    var summary: PeerCertificate {
        // SAFETY: get0 results live as long as the certificate and are only read.
        PeerCertificate(
            subject: unsafe distinguishedName(X509_get_subject_name(pointer)),
            issuer: unsafe distinguishedName(X509_get_issuer_name(pointer)),
            commonName: commonName,
            alternativeNames: alternativeNames, notBeforeMs: notBeforeMs, notAfterMs: notAfterMs,
            serial: serial)
    }

    private var serial: String {
        // SAFETY: the serial number is borrowed from the certificate; its bytes are read within its
        // length.
        let number = unsafe X509_get0_serialNumber(pointer)
        let bytes = unsafe UnsafeBufferPointer(
            start: ASN1_STRING_get0_data(number), count: Int(ASN1_STRING_length(number)))
        return unsafe bytes.map(hexadecimal).joined()
    }

    private var alternativeNames: [PeerCertificate.AlternativeName] {
        // SAFETY: the list is a new object freed here; names and bytes are borrowed from it and
        // copied.
        guard let names = unsafe martlet_X509_subject_alternative_names(pointer) else { return [] }
        defer { unsafe GENERAL_NAMES_free(names) }
        return unsafe (0..<martlet_GENERAL_NAMES_count(names)).compactMap { index in
            var type: Int32 = 0
            var start: UnsafePointer<UInt8>?
            var count: Int32 = 0
            let name = unsafe martlet_GENERAL_NAMES_get0(names, index)
            guard unsafe martlet_GENERAL_NAME_get0(name, &type, &start, &count) == 1 else {
                return nil
            }
            let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: Int(count)))
            return alternativeName(type: type, bytes: bytes)
        }
    }
}

private func alternativeName(type: Int32, bytes: [UInt8]) -> PeerCertificate.AlternativeName? {
    switch type {
    case GEN_DNS: .dns(withoutControls(String(decoding: bytes, as: UTF8.self)))
    case GEN_EMAIL: .email(withoutControls(String(decoding: bytes, as: UTF8.self)))
    case GEN_URI: .uri(withoutControls(String(decoding: bytes, as: UTF8.self)))
    case GEN_IPADD: addressText(bytes).map { .address($0) }
    default: nil
    }
}

/// One private key.
@safe final class PrivateKey {
    let pointer: OpaquePointer

    /// Takes over one reference.
    init(taking pointer: OpaquePointer) {
        unsafe self.pointer = pointer
    }

    deinit {
        // SAFETY: `pointer` is a live EVP_PKEY of which this object owns exactly one reference.
        unsafe EVP_PKEY_free(pointer)
    }

    /// A new key on P-256.
    static func generate() -> PrivateKey? {
        // SAFETY: the new reference is handed to its owner.
        unsafe martlet_P256_key().map { unsafe PrivateKey(taking: $0) }
    }

    /// The first private key of a PEM text; nil if there is none or it needs a password.
    static func parse(pem: [UInt8]) -> PrivateKey? {
        guard let pem = block(of: pem) else { return nil }
        // What we mint ourselves is EC in PKCS #8: naming that saves the library from trying every
        // decoder it has, three quarters of the time.
        return parse(pem: pem, structure: "PrivateKeyInfo", type: "EC")
            ?? parse(pem: pem, structure: nil, type: nil)
    }

    /// From the line on that begins a private key: what `openssl ecparam -genkey` writes before it, or a certificate, would
    /// be taken for all there is.
    private static func block(of pem: [UInt8]) -> [UInt8]? {
        var rest = pem[...]
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            let line = String(decoding: rest[rest.startIndex..<end].prefix(80), as: UTF8.self)
            if line.contains("-----BEGIN "), line.contains("PRIVATE KEY-----") { return Array(rest) }
            rest = rest[end...].dropFirst()
        }
        return nil
    }

    private static func parse(pem: [UInt8], structure: String?, type: String?) -> PrivateKey? {
        var key: OpaquePointer?
        // SAFETY: `key` outlives the decoder, which is freed here; the decoder reads `pem` within
        // its length and has no password to offer.
        guard
            let decoder = unsafe OSSL_DECODER_CTX_new_for_pkey(
                &key, "PEM", structure, type, martlet_EVP_PKEY_KEYPAIR(), nil, nil)
        else { return nil }
        defer {
            unsafe OSSL_DECODER_CTX_free(decoder)
            ERR_clear_error()
        }
        unsafe OSSL_DECODER_CTX_set_pem_password_cb(decoder, { _, _, _, _ in -1 }, nil)
        let isRead = unsafe pem.withUnsafeBufferPointer { bytes in
            var start = bytes.baseAddress
            var count = bytes.count
            return unsafe OSSL_DECODER_from_data(decoder, &start, &count) == 1
        }
        guard isRead, let key = unsafe key else { return nil }
        return unsafe PrivateKey(taking: key)
    }

    /// The PEM text (PKCS #8, not encrypted).
    var pem: [UInt8] {
        // SAFETY: `pointer` lives as long as self; the BIO is private to the closure; no password
        // is used.
        unsafe memoryBIOBytes { bio in
            unsafe PEM_write_bio_PKCS8PrivateKey(bio, pointer, nil, nil, 0, nil, nil) == 1
        }
    }
}

/// What `write` put into a memory BIO; empty if it failed.
private func memoryBIOBytes(_ write: (OpaquePointer) -> Bool) -> [UInt8] {
    // SAFETY: the BIO is freed here; its bytes are copied before, within the length it reports.
    guard let bio = unsafe BIO_new(BIO_s_mem()) else { return [] }
    defer { unsafe BIO_free_all(bio) }
    guard unsafe write(bio) else {
        ERR_clear_error()
        return []
    }
    var start: UnsafeMutablePointer<CChar>?
    let count = unsafe martlet_BIO_get_mem_data(bio, &start)
    return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
}

/// Milliseconds since the epoch of an ASN.1 time, which has whole seconds.
func milliseconds(of time: UnsafePointer<ASN1_TIME>?) -> Int64 {
    var parts = unsafe tm()
    // SAFETY: `parts` is a live local; the time is borrowed from a certificate that the caller
    // holds.
    guard unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
    return unsafe Int64(timegm(&parts)) * 1000
}

/// An IPv4 or IPv6 address from its 4 or 16 bytes.
private func addressText(_ bytes: [UInt8]) -> String? {
    guard bytes.count == 4 || bytes.count == 16 else { return nil }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let family = bytes.count == 4 ? AF_INET : AF_INET6
    // SAFETY: `bytes` has the length that the family asks for; `text` has room for any address.
    guard unsafe inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
