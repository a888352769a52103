// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the public keys that tokens are signed for: a JSON Web Key Set (RFC 7517), and how signatures are
// checked.
//
// Each key is good for the algorithms of its own type only, so that nobody can choose another: there is no `none`, and
// nothing with a shared secret. Keys are never changed once they are read.

import Bytes
import COpenSSL

/// How a token is signed (RFC 7518 section 3).
package enum SigningAlgorithm: String, Sendable, CaseIterable {
    case rs256 = "RS256"
    case rs384 = "RS384"
    case rs512 = "RS512"
    case ps256 = "PS256"
    case es256 = "ES256"
    case es384 = "ES384"

    fileprivate enum KeyType: Equatable {
        case rsa
        case curve(bytes: Int)
    }

    fileprivate var keyType: KeyType {
        switch self {
        case .rs256, .rs384, .rs512, .ps256: .rsa
        case .es256: .curve(bytes: 32)
        case .es384: .curve(bytes: 48)
        }
    }

    /// Borrowed: OpenSSL's own, never freed.
    fileprivate var digest: OpaquePointer? {
        switch self {
        case .rs256, .ps256, .es256: unsafe EVP_sha256()
        case .rs384, .es384: unsafe EVP_sha384()
        case .rs512: unsafe EVP_sha512()
        }
    }
}

/// One public key.
// @unchecked: an EVP_PKEY is not changed once it was made, and verifying only reads it.
@safe package final class SigningKey: @unchecked Sendable {
    private static let rsaBits = 2_048...16_384

    package let id: String?
    private let algorithm: SigningAlgorithm?
    private let type: SigningAlgorithm.KeyType
    private let pointer: OpaquePointer

    /// nil: no key that is known here, or none to check signatures with.
    init?(_ key: JSONValue) {
        guard key["use"] == nil || key["use"]?.text == "sig" else { return nil }
        func bytes(_ name: String) -> [UInt8]? { key[name]?.text.flatMap { Base64.decodeURL(Array($0.utf8)) } }
        let made: OpaquePointer?
        switch key["kty"]?.text {
        case "RSA":
            guard let modulus = bytes("n"), let exponent = bytes("e"), Self.rsaBits.contains(Self.bits(modulus)),
                (1...8).contains(exponent.count)
            else { return nil }
            type = .rsa
            // SAFETY: both buffers are read within their counts, during the call.
            unsafe made = martlet_RSA_public_key(modulus, modulus.count, exponent, exponent.count)
        case "EC":
            guard let curve = key["crv"]?.text, curve == "P-256" || curve == "P-384", let x = bytes("x"),
                let y = bytes("y")
            else { return nil }
            let length = curve == "P-256" ? 32 : 48
            guard x.count == length, y.count == length else { return nil }
            type = .curve(bytes: length)
            let point = [4] + x + y
            // SAFETY: as above; a point that is not on the curve is refused by the library.
            unsafe made = martlet_EC_public_key(curve, point, point.count)
        default: return nil
        }
        ERR_clear_error()
        guard let made = unsafe made else { return nil }
        unsafe pointer = made
        id = key["kid"]?.text
        algorithm = key["alg"]?.text.flatMap { SigningAlgorithm(rawValue: $0) }
        if key["alg"] != nil, algorithm?.keyType != type { return nil }
    }

    deinit {
        // SAFETY: self owns the one reference.
        unsafe EVP_PKEY_free(pointer)
    }

    private static func bits(_ modulus: [UInt8]) -> Int {
        let significant = modulus.drop { $0 == 0 }
        return significant.count * 8 - (significant.first?.leadingZeroBitCount ?? 0)
    }

    func fits(_ wanted: SigningAlgorithm) -> Bool {
        type == wanted.keyType && (algorithm == nil || algorithm == wanted)
    }

    /// Whether the signature is this key's over `data`.
    func verifies(_ signature: [UInt8], of data: [UInt8], _ algorithm: SigningAlgorithm) -> Bool {
        var signature = signature
        if case .curve(let bytes) = algorithm.keyType {
            guard signature.count == 2 * bytes else { return false }
            let content = Self.integer(signature.prefix(bytes)) + Self.integer(signature.suffix(bytes))
            signature = [0x30, UInt8(content.count)] + content
        }
        // SAFETY: all buffers are read within their counts, during the call.
        return unsafe martlet_verify(
            pointer, algorithm.digest, algorithm == .ps256 ? 1 : 0, signature, signature.count, data, data.count) == 1
    }

    /// DER of a positive integer of at most 48 bytes.
    private static func integer(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var digits = Array(bytes.drop { $0 == 0 })
        if digits.first.map({ $0 >= 0x80 }) ?? true { digits.insert(0, at: 0) }
        return [2, UInt8(digits.count)] + digits
    }
}

/// All keys of an issuer.
package struct SigningKeys: Sendable {
    package struct Invalid: Error, Equatable, CustomStringConvertible {
        package var description: String

        package init(description: String) {
            self.description = description
        }
    }

    package static let keysMax = 64

    package let keys: [SigningKey]

    /// From the content of a file. Keys of kinds that are not known here are passed over.
    package init(jwks content: [UInt8]) throws(Invalid) {
        guard case .array(let values)? = JSONValue(content)?["keys"] else {
            throw Invalid(description: "it is no JSON object with an array `keys`")
        }
        guard values.count <= Self.keysMax else { throw Invalid(description: "it has more than \(Self.keysMax) keys") }
        keys = values.compactMap { SigningKey($0) }
        guard !keys.isEmpty else {
            throw Invalid(
                description: "it has no key of use: RSA of 2048 bits or more, or EC on P-256 or P-384, for signatures")
        }
    }

    /// Keys that a token with this header may be signed by.
    func candidates(_ algorithm: SigningAlgorithm, id: String?) -> [SigningKey] {
        keys.filter { $0.fits(algorithm) && (id == nil || $0.id == id) }
    }
}
