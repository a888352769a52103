// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a certificate, its key and its chain in one file with a password (PKCS #12), as Java wants them.
//
// Made with the library's defaults: AES-256 and SHA-256, which Java reads since 8u301 and 11.0.12.

import COpenSSL
import Glibc

package enum PKCS12File {
    /// The file's bytes.
    package static func make(
        _ minted: MintedCertificate, chain: [UInt8], name: String, password: String
    ) throws(TransportError) -> [UInt8] {
        guard let key = PrivateKey.parse(pem: minted.keyPEM),
            let certificate = X509Certificate.parse(pem: minted.certificatePEM)?.first,
            let others = X509Certificate.parse(pem: chain)
        else { throw TransportError(.library, "the certificate that was just made cannot be read") }
        var der: UnsafeMutablePointer<UInt8>?
        // SAFETY: all objects are kept alive for the call; what it allocates is copied and freed below, `length` bytes long.
        let length = withExtendedLifetime((key, certificate, others)) {
            let pointers = unsafe others.map { unsafe Optional($0.pointer) }
            return unsafe martlet_PKCS12(
                password, name, key.pointer, certificate.pointer, pointers, Int32(pointers.count), &der)
        }
        defer { unsafe CRYPTO_free(der, #fileID, #line) }
        guard length > 0, let der = unsafe der else {
            throw TransportError(.library, "cannot make a PKCS #12 file: \(takeOpenSSLError())")
        }
        return unsafe Array(UnsafeBufferPointer(start: der, count: Int(length)))
    }

    /// 24 random letters and digits.
    package static func newPassword() throws(TransportError) -> String {
        var bytes = [UInt8](repeating: 0, count: 24)
        // SAFETY: `bytes` has the length that is passed.
        guard unsafe RAND_bytes(&bytes, Int32(bytes.count)) == 1 else {
            throw TransportError(.library, "no random numbers: \(takeOpenSSLError())")
        }
        let letters = Array("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789-_.~+=@".utf8)
        return String(decoding: bytes.map { letters[Int($0 & 63)] }, as: UTF8.self)
    }
}
