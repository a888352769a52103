// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: JSON, key sets, tokens and the messages around them. Signatures are those of RFC 7515 and of OpenSSL.

import Bytes
import Testing

@testable import Security

@Suite struct JSONValueTests {
    @Test(arguments: [
        ("{}", JSONValue.object([:])), (" [ 1 , -2.5e3, true,false,null ] ", .array([.number(1), .number(-2500), .bool(true), .bool(false), .null])),
        (#""a\u00e9\ud83d\ude00\n\/""#, .string("aé😀\n/")), (#"{"a":{"b":["c"]}}"#, .object(["a": .object(["b": .array([.string("c")])])])),
        ("0", .number(0)), ("-0.5", .number(-0.5)),
    ])
    func isRead(text: String, value: JSONValue) {
        #expect(JSONValue(Array(text.utf8)) == value)
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01", "+1", ".5", "1.", "nul", "\"\u{1}\"", "\"\\x\"", "\"\\ud800\"",
        "\"\\ud800\\u0041\"", "{} {}", "'a'", "{a:1}", "--1", "1e", String(repeating: "[", count: 17) + String(repeating: "]", count: 17),
    ])
    func isRefused(text: String) {
        #expect(JSONValue(Array(text.utf8)) == nil)
    }

    @Test func bytesThatAreNoUTF8AreRefused() {
        #expect(JSONValue([0x22, 0xff, 0x22]) == nil)
        #expect(JSONValue([UInt8](repeating: 0x20, count: JSONValue.bytesMax + 1)) == nil)
    }
}

@Suite struct BearerTokenTests {
    /// RFC 7515 appendix A.3: the key, and a token that is signed with it.
    private static let keys = #"""
        {"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}
        """#
    private static let token =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

    @Test func aSignatureIsCheckedBeforeTheClaims() throws {
        let keys = try SigningKeys(jwks: Array(Self.keys.utf8))
        #expect(keys.keys.count == 1)
        // The signature is right, and the claims lack a time of issue: so it is the claims that are refused.
        #expect(throws: TokenRefusal("the token does not say when it was issued and when it expires")) {
            try BearerToken.verify(Self.token, keys: keys, rules: TokenRules(), nowMs: 1_300_819_000_000)
        }
        for index in Self.token.indices where Self.token[index] != "." {
            var changed = Self.token
            changed.replaceSubrange(index...index, with: Self.token[index] == "B" ? "C" : "B")
            #expect(throws: TokenRefusal.self) {
                try BearerToken.verify(changed, keys: keys, rules: TokenRules(), nowMs: 1_300_819_000_000)
            }
            do {
                _ = try BearerToken.verify(changed, keys: keys, rules: TokenRules(), nowMs: 1_300_819_000_000)
            } catch {
                #expect(!error.description.contains("issued"))
            }
        }
    }

    @Test(arguments: [
        "", "[]", "{}", #"{"keys":[]}"#, #"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
        // A point that is not on the curve, an RSA key of 16 bits, a key that is for encryption.
        #"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}]}"#,
        #"{"keys":[{"kty":"RSA","n":"-_8","e":"AQAB"}]}"#,
        #"{"keys":[{"kty":"EC","use":"enc","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        // A curve's key that says it is for RSA.
        #"{"keys":[{"kty":"EC","alg":"RS256","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    ])
    func aSetWithoutAKeyOfUseIsRefused(text: String) {
        #expect(throws: SigningKeys.Invalid.self) { try SigningKeys(jwks: Array(text.utf8)) }
    }

    @Test func messages() {
        func message(_ text: String) -> OAuthBearerMessage? { OAuthBearerMessage(Array(text.utf8)) }
        #expect(message("n,,\u{1}auth=Bearer abc\u{1}\u{1}")?.token == "abc")
        let full = message("n,a=al=2Cice,\u{1}traceId=1\u{1}auth=bearer abc\u{1}x=y\u{1}\u{1}")
        #expect(full?.token == "abc" && full?.user == "al,ice")
        for bad in [
            "", "n,,", "n,,\u{1}\u{1}", "n,,\u{1}auth=Bearer abc\u{1}", "n,,\u{1}auth=Basic abc\u{1}\u{1}", "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "p=x,,\u{1}auth=Bearer abc\u{1}\u{1}", "n,b=x,\u{1}auth=Bearer abc\u{1}\u{1}", "n,,\u{1}auth=Bearer a\u{1}auth=Bearer b\u{1}\u{1}",
            "n,,\u{1}noequals\u{1}auth=Bearer abc\u{1}\u{1}",
        ] {
            #expect(message(bad) == nil, "\(bad.debugDescription)")
        }
        #expect(OAuthBearerMessage([UInt8](repeating: 0x61, count: OAuthBearerMessage.bytesMax + 1)) == nil)
    }

    @Test func base64OfURLs() {
        #expect(Base64.decodeURL(Array("-_8".utf8)) == [0xfb, 0xff])
        for bad in ["+/8", "-_8=", "-", "-_9"] { #expect(Base64.decodeURL(Array(bad.utf8)) == nil) }
    }
}

@Suite struct ScramClientTests {
    @Test(arguments: ScramMechanism.allCases)
    func theClientAndTheServerAgree(mechanism: ScramMechanism) throws {
        let credential = ScramCredential(mechanism: mechanism, password: "pass,word", salt: Array(0..<16), iterations: 4_096)
        for (password, isRight) in [("pass,word", true), ("other", false)] {
            var client = ScramClient(mechanism, user: "a=b,c", password: password)
            var server = ScramExchange(mechanism, secret: [1]) { $0 == "a=b,c" ? credential : nil }
            guard case .challenge(let challenge) = server.receive(client.first()) else {
                Issue.record("no challenge")
                return
            }
            let last = server.receive(try client.answer(to: challenge))
            if case .success(let signature) = last {
                #expect(isRight && client.accepts(signature))
                #expect(!client.accepts(Array("v=AAAA".utf8)))
            } else {
                #expect(!isRight)
            }
        }
    }

    @Test func aBrokerThatAsksForTooMuchOrTooLittleIsLeft() {
        for challenge in ["", "r=other,s=AAAA,i=4096", "r=nonce,s=AAAA,i=4096", "r=nonceX,s=AAAA,i=1", "r=nonceX,s=AAAA,i=2000000000"] {
            var client = ScramClient(.sha256, user: "a", password: "b", nonce: "nonce")
            #expect(throws: ScramClient.Failure.self) { try client.answer(to: Array(challenge.utf8)) }
        }
    }

    /// What one exchange proved proves nothing in the next: the broker's part of the nonce is new.
    @Test func aReplayedProofIsRefused() throws {
        let credential = ScramCredential(mechanism: .sha256, password: "p", salt: [1], iterations: 4_096)
        func server() -> ScramExchange { ScramExchange(.sha256, secret: [1]) { _ in credential } }
        var client = ScramClient(.sha256, user: "a", password: "p")
        var first = server()
        guard case .challenge(let challenge) = first.receive(client.first()) else {
            Issue.record("no challenge")
            return
        }
        let proof = try client.answer(to: challenge)
        guard case .success = first.receive(proof) else {
            Issue.record("not logged in")
            return
        }
        #expect(first.receive(proof) == .failure("a message after the end"))
        var second = server()
        _ = second.receive(client.first())
        #expect(second.receive(proof) == .failure("its nonce belongs to another exchange"))
        // Nor can the nonce be exchanged for the new one: it is part of what was signed.
        var third = server()
        guard case .challenge(let other) = third.receive(client.first()) else {
            Issue.record("no challenge")
            return
        }
        func nonce(_ challenge: [UInt8]) -> String {
            String(decoding: challenge.prefix { $0 != UInt8(ascii: ",") }, as: UTF8.self)
        }
        let forged = String(decoding: proof, as: UTF8.self).replacing(nonce(challenge), with: nonce(other))
        #expect(third.receive(Array(forged.utf8)) == .failure("wrong password for a"))
    }
}
