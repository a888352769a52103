// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: SCRAM against the examples of RFC 7677 and against an independent client side.

import Bytes
import Testing

@testable import Security

/// What a client does, written from RFC 5802 section 3 and not from the server's code.
private struct Client {
    let mechanism: ScramMechanism
    let user: String
    let password: String
    let nonce = "rOprNGfwEbeRWgbNEkqO"
    var header = "n,,"

    var bare: String { "n=\(user),r=\(nonce)" }
    var first: [UInt8] { Array((header + bare).utf8) }

    func final(after challenge: [UInt8]) -> (message: [UInt8], signature: String) {
        let text = String(decoding: challenge, as: UTF8.self)
        let fields = Dictionary(
            uniqueKeysWithValues: text.split(separator: ",").map { (String($0.prefix(1)), String($0.dropFirst(2))) })
        let salt = Base64.decode(Array(fields["s", default: ""].utf8)) ?? []
        let salted = mechanism.saltedPassword(
            Array(password.utf8), salt: salt, iterations: Int32(fields["i", default: ""]) ?? 1)
        let unproven = "c=\(Base64.encode(header.utf8)),r=\(fields["r", default: ""])"
        let signed = Array("\(bare),\(text),\(unproven)".utf8)
        let clientKey = mechanism.authenticate(Array("Client Key".utf8), key: salted)
        let signature = mechanism.authenticate(signed, key: mechanism.hash(clientKey))
        let proof = Base64.encode(zip(clientKey, signature).map { $0 ^ $1 })
        let serverKey = mechanism.authenticate(Array("Server Key".utf8), key: salted)
        return (
            Array("\(unproven),p=\(proof)".utf8),
            "v=" + Base64.encode(mechanism.authenticate(signed, key: serverKey))
        )
    }
}

@Suite struct ScramTests {
    private let secret: [UInt8] = [1, 2, 3]

    private func server(_ mechanism: ScramMechanism, password: String = "pencil") -> ScramExchange {
        let known = ScramCredential(mechanism: mechanism, password: password, salt: [7, 7, 7], iterations: 4_096)
        return ScramExchange(mechanism, secret: secret) { $0 == "user" ? known : nil }
    }

    /// The exchange of RFC 7677 section 3, byte for byte.
    @Test func exampleOfTheStandard() {
        let salt = Base64.decode(Array("W22ZaJ0SNY7soEsUEjb6gQ==".utf8)) ?? []
        let credential = ScramCredential(mechanism: .sha256, password: "pencil", salt: salt, iterations: 4_096)
        var server = ScramExchange(.sha256, secret: secret, nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0") { _ in credential }
        let first = server.receive(Array("n,,n=user,r=rOprNGfwEbeRWgbNEkqO".utf8))
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        #expect(first == .challenge(Array("r=\(nonce),s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".utf8)))
        let last = server.receive(
            Array("c=biws,r=\(nonce),p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".utf8))
        #expect(last == .success(Array("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".utf8)))
        #expect(server.user == "user")
    }

    @Test(arguments: ScramMechanism.allCases)
    func bothSidesProveThatTheyKnowThePassword(_ mechanism: ScramMechanism) {
        let client = Client(mechanism: mechanism, user: "user", password: "pencil")
        var server = server(mechanism)
        guard case .challenge(let challenge) = server.receive(client.first) else {
            return #expect(Bool(false), "no challenge")
        }
        let (message, signature) = client.final(after: challenge)
        #expect(server.receive(message) == .success(Array(signature.utf8)))
        #expect(server.receive(message) == .failure("a message after the end"))
    }

    @Test func aWrongPasswordAndAnUnknownUserLookTheSameToAClient() {
        for (user, password) in [("user", "wrong"), ("nobody", "pencil")] {
            let client = Client(mechanism: .sha256, user: user, password: password)
            var server = server(.sha256)
            guard case .challenge(let challenge) = server.receive(client.first) else {
                return #expect(Bool(false), "no challenge for \(user)")
            }
            guard case .failure = server.receive(client.final(after: challenge).message) else {
                return #expect(Bool(false), "\(user) was let in")
            }
        }
    }

    @Test func theSaltOfAnUnknownUserStaysTheSame() {
        func salt() -> String? {
            var server = server(.sha256)
            guard case .challenge(let bytes) = server.receive(Array("n,,n=nobody,r=abc".utf8)) else { return nil }
            return String(decoding: bytes, as: UTF8.self).split(separator: ",").first { $0.hasPrefix("s=") }.map(String.init)
        }
        #expect(salt() != nil)
        #expect(salt() == salt())
    }

    @Test(arguments: [
        "", "n", "n,,", "n,,n=user", "n,,r=abc,n=user", "n,,n=,r=abc", "n,,n=user,r=", "p=tls-unique,,n=user,r=abc",
        "n,a=other,n=user,r=abc", "n,,n=us=er,r=abc", "n,,n=user,r=a\u{7f}c",
    ])
    func malformedBeginningsEndTheExchange(_ message: String) {
        var server = server(.sha256)
        guard case .failure = server.receive(Array(message.utf8)) else {
            return #expect(Bool(false), "\(message) was taken")
        }
    }

    @Test func aReplayedEndIsRefused() {
        let client = Client(mechanism: .sha256, user: "user", password: "pencil")
        var first = server(.sha256)
        var second = server(.sha256)
        guard case .challenge(let challenge) = first.receive(client.first),
            case .challenge = second.receive(client.first)
        else { return #expect(Bool(false), "no challenge") }
        #expect(second.receive(client.final(after: challenge).message) == .failure("its nonce belongs to another exchange"))
    }

    /// librdkafka before 2.6.1 sends its own nonce, and then the whole one (confluentinc/librdkafka#4895).
    @Test func aDoubledNonceIsRefusedAndTheClientIsToldWhy() throws {
        let client = Client(mechanism: .sha256, user: "user", password: "pencil")
        var server = server(.sha256)
        guard case .challenge(let challenge) = server.receive(client.first) else {
            return #expect(Bool(false), "no challenge")
        }
        let message = String(decoding: client.final(after: challenge).message, as: UTF8.self)
        let doubled = message.replacing(",r=\(client.nonce)", with: ",r=\(client.nonce)\(client.nonce)")
        guard case .failure(let cause, let advice) = server.receive(Array(doubled.utf8)) else {
            return #expect(Bool(false), "a wrong nonce was taken")
        }
        #expect(cause.contains("librdkafka before 2.6.1"))
        #expect(advice?.contains("librdkafka before 2.6.1") == true)
    }

    @Test func namesAreEscaped() {
        let credential = ScramCredential(mechanism: .sha256, password: "p", salt: [1], iterations: 4_096)
        var server = ScramExchange(.sha256, secret: secret) { $0 == "a,b=c" ? credential : nil }
        let client = Client(mechanism: .sha256, user: "a=2Cb=3Dc", password: "p", header: "n,a=a=2Cb=3Dc,")
        guard case .challenge(let challenge) = server.receive(client.first) else {
            return #expect(Bool(false), "no challenge")
        }
        guard case .success = server.receive(client.final(after: challenge).message) else {
            return #expect(Bool(false), "the right password was refused")
        }
        #expect(server.user == "a,b=c")
    }

    @Test func base64IsStrict() {
        #expect(Base64.encode([UInt8]()) == "")
        #expect(Base64.encode([0xff]) == "/w==")
        #expect(Base64.encode(Array("any carnal pleas".utf8)) == "YW55IGNhcm5hbCBwbGVhcw==")
        for text in ["A", "A===", "AB=C", "AA=A", "AB==", "AAB=", "AA==AA==", "A A="] {
            #expect(Base64.decode(Array(text.utf8)) == nil, "\(text)")
        }
        for count in 0...9 {
            let bytes = (0..<count).map { UInt8($0 * 29 % 256) }
            #expect(Base64.decode(Array(Base64.encode(bytes).utf8)) == bytes)
        }
    }

    @Test func plainMessages() {
        #expect(PlainMessage(Array("\0me\0secret".utf8))?.user == "me")
        #expect(PlainMessage(Array("me\0me\0secret".utf8))?.password == "secret")
        for text in ["", "me", "\0me", "\0me\0", "\0\0secret", "other\0me\0secret", "\0me\0se\0cret"] {
            #expect(PlainMessage(Array(text.utf8)) == nil, "\(text)")
        }
    }
}
