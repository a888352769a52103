// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: JSON Web Tokens (RFC 7519) as Kafka's brokers take them (KIP-768).
//
// The signature is checked before anything in the token is believed. What a token must have: an algorithm that is
// known, a key of the set, `exp` and `iat`, a subject; the audience and the issuer if they are set. Causes of refusals
// are for the log and never contain the token.

import Bytes

/// What a token must be like.
package struct TokenRules: Equatable, Sendable {
    /// One of them must be among the token's; empty: not looked at.
    package var audiences: [String] = []
    package var issuer: String?
    package var clockSkewSeconds: Int64 = 30
    package var scopeClaim = "scope"
    package var subjectClaim = "sub"

    package init() {}
}

/// Whom a token names.
package struct TokenIdentity: Equatable, Sendable {
    package var name: String
    package var expiresMs: Int64
}

package struct TokenRefusal: Error, Equatable, CustomStringConvertible {
    package var description: String

    package init(_ description: String) {
        self.description = description
    }
}

package enum BearerToken {
    package static let bytesMax = 16 * 1024
    private static let nameBytesMax = 1_024

    package static func verify(
        _ token: String, keys: SigningKeys, rules: TokenRules, nowMs: Int64
    ) throws(TokenRefusal) -> TokenIdentity {
        guard token.utf8.count <= bytesMax else { throw TokenRefusal("the token is longer than \(bytesMax) bytes") }
        let parts = token.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let headerBytes = Base64.decodeURL(parts[0]), let header = JSONValue(headerBytes),
            let payload = Base64.decodeURL(parts[1]), let signature = Base64.decodeURL(parts[2])
        else { throw TokenRefusal("the token is no signed JSON Web Token") }
        guard let name = header["alg"]?.text, let algorithm = SigningAlgorithm(rawValue: name) else {
            throw TokenRefusal("the token's algorithm is not accepted")
        }
        guard header["crit"] == nil else { throw TokenRefusal("the token has extensions that must be understood") }
        let id = header["kid"]?.text
        guard header["kid"] == nil || id != nil else { throw TokenRefusal("the token's key id is no string") }
        let candidates = keys.candidates(algorithm, id: id)
        guard !candidates.isEmpty else {
            throw TokenRefusal("the key set has no \(algorithm.rawValue) key of the token's key id")
        }
        let signed = Array(parts[0]) + [UInt8(ascii: ".")] + Array(parts[1])
        guard candidates.contains(where: { $0.verifies(signature, of: signed, algorithm) }) else {
            throw TokenRefusal("the token's signature is wrong")
        }
        guard let claims = JSONValue(payload), case .object = claims else {
            throw TokenRefusal("the token's claims are no JSON object")
        }
        return try identity(claims, rules, nowMs: nowMs)
    }

    /// Whom the claims of a token name whose signature was good.
    static func identity(
        _ claims: JSONValue, _ rules: TokenRules, nowMs: Int64
    ) throws(TokenRefusal) -> TokenIdentity {
        let now = Double(nowMs) / 1000
        let skew = Double(rules.clockSkewSeconds)
        guard let expires = claims["exp"]?.seconds, let issued = claims["iat"]?.seconds else {
            throw TokenRefusal("the token does not say when it was issued and when it expires")
        }
        guard expires >= issued else { throw TokenRefusal("the token expires before it was issued") }
        guard expires + skew > now else { throw TokenRefusal("the token has expired") }
        guard issued - skew <= now else { throw TokenRefusal("the token is from the future; check the clocks") }
        if let from = claims["nbf"] {
            guard let from = from.seconds, from - skew <= now else { throw TokenRefusal("the token is not valid yet") }
        }
        if let issuer = rules.issuer, claims["iss"]?.text != issuer { throw TokenRefusal("the token is of another issuer") }
        if !rules.audiences.isEmpty {
            guard let audiences = claims["aud"]?.texts, audiences.contains(where: rules.audiences.contains) else {
                throw TokenRefusal("the token is for another audience")
            }
        }
        if let scope = claims[rules.scopeClaim] {
            guard let scopes = scope.texts, !scopes.contains("") else {
                throw TokenRefusal("the token's claim \(rules.scopeClaim) has no list of scopes")
            }
        }
        guard let name = claims[rules.subjectClaim]?.text, !name.isEmpty, name.utf8.count <= nameBytesMax else {
            throw TokenRefusal("the token's claim \(rules.subjectClaim) has no name")
        }
        return TokenIdentity(name: name, expiresMs: Int64(expires * 1000))
    }
}
