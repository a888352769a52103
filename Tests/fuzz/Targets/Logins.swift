// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: what clients say to log in: SASL messages, tokens and key sets, `authorization` of calls, and the names of
// their certificates; and what an external policy says of them.
//
// Properties: nobody is logged in who does not know the password or has no signed token; a message is read the same
// twice; JSON that is read holds within its bounds; a pattern decides alike with and without captures, whatever the
// name is.

import Bytes
import NIOCore

@testable import Engine
@testable import GRPCServer
@testable import PolicyClient
@testable import Security

/// A byte of choices (0: SCRAM, 1: PLAIN, 2: OAUTHBEARER), then messages, each after its length in one byte (SCRAM) or whole.
@Sendable func fuzzSasl(_ input: ByteBuffer) throws {
    var bytes = input
    switch bytes.choice() % 3 {
    case 0:
        let credential = ScramCredential(
            mechanism: .sha256, salt: [1], iterations: 4_096, storedKey: [UInt8](repeating: 7, count: 32),
            serverKey: [UInt8](repeating: 8, count: 32))
        var exchange = ScramExchange(.sha256, secret: [1], nonce: "server") { $0 == "alice" ? credential : nil }
        while bytes.readableBytes > 0 {
            let message = bytes.take(Int(bytes.choice())).array
            if case .success = exchange.receive(message) {
                throw Violation(description: "somebody is logged in without a password")
            }
        }
    case 1:
        guard let message = PlainMessage(bytes.array) else { return }
        try require(!message.user.isEmpty && !message.password.isEmpty, "an empty name or password")
    default:
        guard let message = OAuthBearerMessage(bytes.array) else { return }
        try require(!message.token.isEmpty && !message.token.utf8.contains(0x20), "a token with a space")
    }
}

/// RFC 7515 appendix A.3.
private let knownKeys = #"""
    {"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}
    """#

/// A byte of choices (0: a token, 1: a key set, 2: JSON, 3: the claims of a token that was signed), then the text.
@Sendable func fuzzTokens(_ input: ByteBuffer) throws {
    var bytes = input
    switch bytes.choice() % 4 {
    case 0:
        let keys = try SigningKeys(jwks: Array(knownKeys.utf8))
        let token = String(decoding: bytes.array, as: UTF8.self)
        guard (try? BearerToken.verify(token, keys: keys, rules: TokenRules(), nowMs: 1_300_000_000_000)) == nil else {
            throw Violation(description: "a token is taken that nobody signed")
        }
    case 1:
        guard let keys = try? SigningKeys(jwks: bytes.array) else { return }
        try require((1...SigningKeys.keysMax).contains(keys.keys.count), "a key set without bounds")
        for key in keys.keys {
            for algorithm in SigningAlgorithm.allCases where key.fits(algorithm) {
                try require(!key.verifies([UInt8](repeating: 1, count: 64), of: [1], algorithm), "a signature that is none")
            }
        }
    case 3:
        guard let claims = JSONValue(bytes.array) else { return }
        let nowMs: Int64 = 1_300_000_000_000
        var rules = TokenRules()
        (rules.audiences, rules.issuer) = (["martlet"], "joe")
        guard let identity = try? BearerToken.identity(claims, rules, nowMs: nowMs) else { return }
        try require((1...1_024).contains(identity.name.utf8.count), "a name without bounds")
        try require(identity.expiresMs > nowMs - rules.clockSkewSeconds * 1000, "an expired token is taken")
        try require(
            claims["iss"]?.text == "joe" && claims["aud"]?.texts?.contains("martlet") == true, "a token for somebody else is taken")
    default:
        let value = JSONValue(bytes.array)
        try require(value == JSONValue(bytes.array), "JSON reads differently the second time")
    }
}

/// The value of `authorization`.
@Sendable func fuzzCredentials(_ input: ByteBuffer) throws {
    let text = String(decoding: input.array, as: UTF8.self)
    try require(["basic", "bearer", "authorization"].contains(CallCredentials.scheme(text)), "a scheme that a caller made up")
    guard let given = BasicCredentials(text) else { return }
    try require(!given.user.isEmpty && !given.user.contains(":"), "a name that is none")
    let again = BasicCredentials("Basic " + Base64.encode(Array("\(given.user):\(given.password)".utf8)))
    try require(
        again.map { Array($0.user.utf8) == Array(given.user.utf8) && Array($0.password.utf8) == Array(given.password.utf8) } == true,
        "a name or password is read differently")
}

/// Two bytes of status, then a body.
@Sendable func fuzzPolicyAnswers(_ input: ByteBuffer) throws {
    var bytes = input
    let status = Int(bytes.wideChoice())
    let body = bytes.array
    let answer = PolicyDocument.answer(status: status, body: body)
    try require(answer == PolicyDocument.answer(status: status, body: body), "an answer is read differently the second time")
    if answer == .allowed {
        try require(status == 200 && String(decoding: body, as: UTF8.self).contains("true"), "what says nothing of the kind allows")
    }
    if case .failed(let words) = answer {
        try require(words.utf8.count < 2_000 && !words.unicodeScalars.contains { $0.value < 0x20 }, "words that a log cannot have")
    }
}

/// The rules after their length in one byte, then the name.
@Sendable func fuzzPrincipals(_ input: ByteBuffer) throws {
    var bytes = input
    let rules = String(decoding: bytes.take(Int(bytes.choice())).array, as: UTF8.self)
    let name = String(decoding: bytes.array.prefix(400), as: UTF8.self)
    if let mapping = try? PrincipalMapping(rules: rules) {
        let names = CertificateNames(subject: name)
        let first = try? mapping.principal(of: names)
        try require(first == (try? mapping.principal(of: names)), "a name is mapped differently the second time")
        try require(first?.hasPrefix("User:") ?? true && first != "User:", "a principal without a name")
    }
    guard let pattern = try? CapturingPattern(rules) else { return }
    let match = pattern.firstMatch(in: Array(name.utf8), from: 0)
    if pattern.matches(name) { try require(match != nil, "a pattern that matches everything is not found in it") }
    guard let match else { return }
    try require(0 <= match[0] && match[0] <= match[1] && match[1] <= name.utf8.count, "a match outside of the name")
    for group in stride(from: 2, to: match.count, by: 2) where match[group] >= 0 && match[group + 1] >= 0 {
        try require(match[0] <= match[group] && match[group + 1] <= match[1], "a group outside of the match")
    }
}
