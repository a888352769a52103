// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a certificate authority of our own, for development and tests.
//
// Mints a CA and certificates below it, all on P-256. Values; nothing is written here
// (DevelopmentCertificates does that). Certificates begin five minutes ago, so that clocks may
// differ a little, and none outlives its CA. Serial numbers are random. Never meant for production:
// the CA's key lies next to what it signs.

import Bytes
import COpenSSL
import Glibc
import NIOCore

/// A certificate and its key, just made.
package struct MintedCertificate: Sendable {
    package var certificatePEM: [UInt8]
    /// PKCS #8, not encrypted.
    package var keyPEM: [UInt8]
    package var summary: PeerCertificate
}

/// A CA that can sign.
package struct CertificateAuthority {
    /// How long what is minted is good for.
    package enum Validity {
        package static let authorityDays = 3650
        package static let leafDays = 7
        static let backdatedSeconds: Int64 = 300
    }

    let certificate: X509Certificate
    let key: PrivateKey

    /// Makes a new CA.
    package static func mint(
        commonName: String = "Martlet development CA", days: Int = Validity.authorityDays,
        clock: any Clock = SystemClock()
    ) throws(TransportError) -> CertificateAuthority {
        let key = try newKey()
        let request = CertificateRequest(
            commonName: commonName, key: key, days: days, nowMs: clock.nowMs(),
            extensions: [
                (NID_basic_constraints, "critical,CA:TRUE,pathlen:0"),
                (NID_key_usage, "critical,keyCertSign,cRLSign"),
                (NID_subject_key_identifier, "hash"),
            ])
        return CertificateAuthority(certificate: try request.sign(issuer: nil, with: key), key: key)
    }

    /// Reads a CA from its two PEM files.
    package static func load(
        certificateFile: String, keyFile: String
    ) throws(TransportError) -> CertificateAuthority {
        let options = TLSOptions(certificateFile: certificateFile, keyFile: keyFile)
        guard let identity = try TLSIdentity.load(options) else {
            throw TransportError(
                .invalidOptions, "a CA has a certificate and a key; name both files")
        }
        return CertificateAuthority(certificate: identity.certificates[0], key: identity.key)
    }

    package var minted: MintedCertificate {
        MintedCertificate(
            certificatePEM: certificate.pem, keyPEM: key.pem, summary: certificate.summary)
    }

    /// A certificate for a server that clients reach by any of `hosts`, names or addresses; the
    /// first is also its common name.
    package func mintServer(
        hosts: [String], days: Int = Validity.leafDays, clock: any Clock = SystemClock()
    ) throws(TransportError) -> MintedCertificate {
        guard let first = hosts.first else {
            throw TransportError(
                .invalidOptions, "a server certificate needs a host name or address")
        }
        return try mint(
            commonName: first, alternativeNames: hosts, usage: "serverAuth", days: days,
            clock: clock)
    }

    /// A certificate for a client; `commonName` becomes its principal, `User:CN=<commonName>`.
    package func mintClient(
        commonName: String, days: Int = Validity.leafDays, clock: any Clock = SystemClock()
    ) throws(TransportError) -> MintedCertificate {
        try mint(
            commonName: commonName, alternativeNames: [], usage: "clientAuth", days: days,
            clock: clock)
    }

    private func mint(
        commonName: String, alternativeNames: [String], usage: String, days: Int, clock: any Clock
    ) throws(TransportError) -> MintedCertificate {
        var extensions: [(Int32, String)] = [
            (NID_basic_constraints, "critical,CA:FALSE"),
            (NID_key_usage, "critical,digitalSignature"),
            (NID_ext_key_usage, usage),
            (NID_subject_key_identifier, "hash"),
            (NID_authority_key_identifier, "keyid:always"),
        ]
        if !alternativeNames.isEmpty {
            extensions.append((NID_subject_alt_name, try Self.alternativeNames(alternativeNames)))
        }
        let leafKey = try Self.newKey()
        let request = CertificateRequest(
            commonName: commonName, key: leafKey, days: days, nowMs: clock.nowMs(),
            notAfterMaxMs: certificate.notAfterMs, extensions: extensions)
        let leaf = try request.sign(issuer: certificate, with: key)
        return MintedCertificate(
            certificatePEM: leaf.pem, keyPEM: leafKey.pem, summary: leaf.summary)
    }

    private static func newKey() throws(TransportError) -> PrivateKey {
        guard let key = PrivateKey.generate() else {
            throw TransportError(.library, "cannot make a P-256 key: \(takeOpenSSLError())")
        }
        return key
    }

    /// Names in the syntax of an OpenSSL configuration, where a comma would begin another entry.
    private static func alternativeNames(_ hosts: [String]) throws(TransportError) -> String {
        var entries: [String] = []
        for host in hosts {
            if isNumericAddress(host) {
                entries.append("IP:" + host)
            } else if isHostName(host) {
                entries.append("DNS:" + host)
            } else {
                throw TransportError(
                    .invalidOptions,
                    "'\(host)' is neither a host name nor an address; a certificate needs one")
            }
        }
        return entries.joined(separator: ",")
    }
}

/// What a new certificate shall say.
private struct CertificateRequest {
    var commonName: String
    var key: PrivateKey
    var days: Int
    var nowMs: Int64
    var notAfterMaxMs = Int64.max
    var extensions: [(nid: Int32, value: String)]

    /// Makes and signs the certificate; without an issuer it signs itself.
    func sign(
        issuer: X509Certificate?, with signer: PrivateKey
    ) throws(TransportError) -> X509Certificate {
        // SAFETY: the new X509 belongs to the wrapper from here on.
        guard (1...64).contains(commonName.unicodeScalars.count) else {
            throw TransportError(.invalidOptions, "a common name has 1 to 64 characters")
        }
        guard isPrintable(commonName) else {
            throw TransportError(.invalidOptions, "a common name has no control characters; choose another one")
        }
        guard let pointer = unsafe X509_new() else {
            throw TransportError(.library, "cannot make a certificate: out of memory")
        }
        let certificate = unsafe X509Certificate(taking: pointer)
        let issuer = issuer ?? certificate
        // SAFETY: all objects are alive for the calls; the library copies names and key references.
        let isSigned =
            unsafe X509_set_version(pointer, 2) == 1
            && setSerial(pointer) && setTimes(pointer) && setSubject(pointer)
            && X509_set_issuer_name(pointer, X509_get_subject_name(issuer.pointer)) == 1
            && X509_set_pubkey(pointer, key.pointer) == 1
            && addExtensions(pointer, issuer: issuer.pointer)
            && X509_sign(pointer, signer.pointer, EVP_sha256()) > 0
        guard isSigned else {
            throw TransportError(.library, "cannot make a certificate: \(takeOpenSSLError())")
        }
        return certificate
    }

    private func setSerial(_ certificate: OpaquePointer) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 16)
        // SAFETY: `bytes` has the length that is passed; the number is freed here.
        guard unsafe RAND_bytes(&bytes, Int32(bytes.count)) == 1 else { return false }
        // Positive, and never shorter than 16 bytes (RFC 5280 section 4.1.2.2).
        bytes[0] = bytes[0] & 0x7f | 0x40
        guard let number = unsafe BN_bin2bn(bytes, Int32(bytes.count), nil) else { return false }
        defer { unsafe BN_free(number) }
        return unsafe BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
    }

    private func setTimes(_ certificate: OpaquePointer) -> Bool {
        let now = nowMs / 1000
        let begin = now - CertificateAuthority.Validity.backdatedSeconds
        let end = min(now + Int64(days) * 86_400, notAfterMaxMs / 1000)
        // SAFETY: the time fields are borrowed from the certificate.
        return unsafe ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(begin)) != nil
            && ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(end)) != nil
    }

    private func setSubject(_ certificate: OpaquePointer) -> Bool {
        let name = Array(commonName.utf8)
        // SAFETY: the name is borrowed from the certificate; the text is copied within its length.
        return unsafe X509_NAME_add_entry_by_txt(
            X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, name, Int32(name.count), -1, 0)
            == 1
    }

    private func addExtensions(_ certificate: OpaquePointer, issuer: OpaquePointer) -> Bool {
        // SAFETY: the context only points to certificates that live for this call and is used
        // within it; each extension is a new object, copied by X509_add_ext and freed here.
        var context = unsafe X509V3_CTX()
        unsafe X509V3_set_ctx(&context, issuer, certificate, nil, nil, 0)
        for entry in extensions {
            guard let item = unsafe X509V3_EXT_nconf_nid(nil, &context, entry.nid, entry.value)
            else {
                return false
            }
            defer { unsafe X509_EXTENSION_free(item) }
            guard unsafe X509_add_ext(certificate, item, -1) == 1 else { return false }
        }
        return true
    }
}

/// Whether `text` is an IPv4 or IPv6 address.
func isNumericAddress(_ text: String) -> Bool {
    var bytes = [UInt8](repeating: 0, count: 16)
    // SAFETY: 16 bytes are enough for both families.
    return unsafe inet_pton(AF_INET, text, &bytes) == 1 || inet_pton(AF_INET6, text, &bytes) == 1
}

/// A host name as it is, an address in the spelling that certificates are compared by.
func canonicalHost(_ text: String) -> String {
    guard isNumericAddress(text), let address = try? SocketAddress(ipAddress: text, port: 0) else {
        return text
    }
    return address.ipAddress ?? text
}

/// Whether nothing in it ends a line, steers a terminal or hides.
func isPrintable(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { scalar in
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: false
        default: true
        }
    }
}

/// Whether `text` is spelt like a DNS name, a wildcard in front included.
func isHostName(_ text: String) -> Bool {
    guard (1...253).contains(text.utf8.count) else { return false }
    return text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"),
            UInt8(ascii: "_"), UInt8(ascii: "*"):
            true
        default: false
        }
    }
}
