// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the two SCRAM mechanisms that Kafka has, and their arithmetic (RFC 5802, RFC 7677).
//
// Owns nothing; every function is one call of OpenSSL over bytes that the caller has.

import COpenSSL

package enum ScramMechanism: String, Sendable, CaseIterable {
    case sha256 = "SCRAM-SHA-256"
    case sha512 = "SCRAM-SHA-512"

    /// As in Kafka's messages (KIP-554).
    package var number: Int8 { self == .sha256 ? 1 : 2 }

    package init?(number: Int8) {
        guard let found = Self.allCases.first(where: { $0.number == number }) else { return nil }
        self = found
    }

    /// Bytes of a digest, and so of keys and salted passwords.
    package var digestBytes: Int { self == .sha256 ? 32 : 64 }

    func hash(_ data: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: digestBytes)
        // SAFETY: the digest has room for what this algorithm writes; both buffers outlive the call.
        let done = unsafe EVP_Digest(data, data.count, &digest, nil, algorithm, nil)
        precondition(done == 1, "OpenSSL cannot hash")
        return digest
    }

    func authenticate(_ data: [UInt8], key: [UInt8]) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: digestBytes)
        // SAFETY: as above; a null result would be a failure of the library itself.
        let done = unsafe HMAC(algorithm, key, Int32(key.count), data, data.count, &code, nil)
        precondition(unsafe done != nil, "OpenSSL cannot authenticate")
        return code
    }

    /// Tells whether a password was seen before; says nothing without the key.
    package func fingerprint(of password: String, for user: String, key: [UInt8]) -> [UInt8] {
        authenticate(hash(Array(user.utf8)) + Array(password.utf8), key: key)
    }

    /// RFC 5802's Hi(): PBKDF2. Costs about a microsecond an iteration: not for an event loop that others wait for.
    func saltedPassword(_ password: [UInt8], salt: [UInt8], iterations: Int32) -> [UInt8] {
        var salted = [UInt8](repeating: 0, count: digestBytes)
        let done = unsafe password.withUnsafeBytes { bytes in
            unsafe PKCS5_PBKDF2_HMAC(
                bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count), salt, Int32(salt.count),
                iterations, algorithm, Int32(digestBytes), &salted)
        }
        precondition(done == 1, "OpenSSL cannot derive a key")
        return salted
    }

    /// Borrowed: OpenSSL's own, never freed.
    private var algorithm: OpaquePointer? { self == .sha256 ? unsafe EVP_sha256() : unsafe EVP_sha512() }
}

/// Whether both are the same, in a time that does not tell where they differ.
func isEqual(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    guard one.count == other.count else { return false }
    return unsafe CRYPTO_memcmp(one, other, one.count) == 0
}

/// Unpredictable bytes.
package func randomBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    precondition(unsafe RAND_bytes(&bytes, Int32(count)) == 1, "OpenSSL has no random bytes")
    return bytes
}
