// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the server's side of one SCRAM exchange (RFC 5802), as Kafka's brokers speak it.
//
//   client-first  n,[a=user],n=user,r=nonce          ->  r=nonce+ours,s=salt,i=iterations
//   client-final  c=gs2 header,r=both nonces,p=proof ->  v=server signature
//
// A value: no I/O, no clock; the random part of the nonce comes in. A user who is not known is told so only at the end and in
// the words of a wrong password, with a salt that stays the same for the name, so that names cannot be tried.
// Messages are bounded before they are looked at. No channel binding; extensions are ignored, as RFC 5802 asks.

import Bytes

package struct ScramExchange: Sendable {
    package enum Step: Equatable, Sendable {
        /// To be sent; the client's next message goes into `receive`.
        case challenge([UInt8])
        /// The client is this user, and is to be sent this.
        case success([UInt8])
        /// Why not: for the log, not for the peer; and what the peer may be told in addition to that it failed.
        case failure(String, advice: String? = nil)
    }

    /// Bytes of one message of a client.
    package static let messageBytesMax = 4_096
    private static let nonceBytesMax = 256
    /// For clients that send their own nonce twice (confluentinc/librdkafka#4895).
    private static let doubledNonce =
        "the client's nonce is doubled, a mistake of librdkafka before 2.6.1; update it, or use another mechanism"

    package let mechanism: ScramMechanism
    /// Once the first message was read.
    package private(set) var user: String?
    private let serverNonce: String
    private let credential: @Sendable (String) -> ScramCredential?
    /// Makes up salts for those who are not known.
    private let secret: [UInt8]
    private var state = State.first

    private enum State: Sendable {
        case first
        case final(Challenge)
        case ended
    }

    private struct Challenge: Sendable {
        var credential: ScramCredential
        var isKnown: Bool
        var gs2Header: String
        var nonce: String
        /// client-first-message-bare "," server-first-message
        var messages: String
    }

    /// `credential` looks a user up. `secret`: the same for the whole life of the process.
    package init(
        _ mechanism: ScramMechanism, secret: [UInt8], nonce: String = Base64.encode(randomBytes(24)),
        credential: @escaping @Sendable (String) -> ScramCredential?
    ) {
        self.mechanism = mechanism
        self.secret = secret
        self.credential = credential
        serverNonce = nonce
    }

    package mutating func receive(_ message: [UInt8]) -> Step {
        guard message.count <= Self.messageBytesMax else { return fail("a message of \(message.count) bytes") }
        guard let text = String(validating: message, as: UTF8.self) else { return fail("a message that is not UTF-8") }
        switch state {
        case .first: return receiveFirst(text)
        case .final(let challenge): return receiveFinal(text, challenge)
        case .ended: return fail("a message after the end")
        }
    }

    private mutating func receiveFirst(_ text: String) -> Step {
        let parts = text.split(separator: ",", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3 else { return fail("its first message is malformed") }
        guard parts[0] == "n" || parts[0] == "y" else { return fail("it asks for channel binding, which is not offered") }
        let bare = parts[2]
        let fields = bare.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count >= 2, fields[0].hasPrefix("n="), fields[1].hasPrefix("r="),
            let user = Self.name(fields[0].dropFirst(2)), !user.isEmpty
        else { return fail("its first message is malformed") }
        let clientNonce = fields[1].dropFirst(2)
        guard !clientNonce.isEmpty, clientNonce.utf8.count <= Self.nonceBytesMax,
            clientNonce.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else { return fail("its nonce is malformed") }
        if !parts[1].isEmpty {
            guard parts[1].hasPrefix("a="), Self.name(parts[1].dropFirst(2)) == user else {
                return fail("it asks to act as somebody else than \(user)")
            }
        }
        self.user = user
        let known = credential(user)
        let nonce = clientNonce + serverNonce
        let used = known ?? unknown(user)
        let answer = "r=\(nonce),s=\(Base64.encode(used.salt)),i=\(used.iterations)"
        state = .final(
            Challenge(
                credential: used, isKnown: known != nil, gs2Header: "\(parts[0]),\(parts[1]),",
                nonce: String(nonce), messages: "\(bare),\(answer)"))
        return .challenge(Array(answer.utf8))
    }

    private mutating func receiveFinal(_ text: String, _ challenge: Challenge) -> Step {
        guard let proofAt = text.range(of: ",p="),
            let proof = Base64.decode(Array(text[proofAt.upperBound...].utf8)),
            proof.count == mechanism.digestBytes
        else { return fail("its last message is malformed") }
        let withoutProof = text[..<proofAt.lowerBound]
        let fields = withoutProof.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count >= 2, fields[0] == "c=" + Base64.encode(challenge.gs2Header.utf8) else {
            return fail("its channel binding is not what it began with")
        }
        guard fields[1] == "r=" + challenge.nonce else {
            guard fields[1].hasPrefix("r="), fields[1].hasSuffix(challenge.nonce) else {
                return fail("its nonce belongs to another exchange")
            }
            return fail(Self.doubledNonce, advice: Self.doubledNonce)
        }
        let signed = Array("\(challenge.messages),\(withoutProof)".utf8)
        let credential = challenge.credential
        let signature = mechanism.authenticate(signed, key: credential.storedKey)
        let clientKey = zip(proof, signature).map { $0 ^ $1 }
        let isRight = isEqual(mechanism.hash(clientKey), credential.storedKey)
        guard challenge.isKnown else { return fail("there is no user \(user ?? "")") }
        guard isRight else { return fail("wrong password for \(user ?? "")") }
        state = .ended
        return .success(Array("v=\(Base64.encode(mechanism.authenticate(signed, key: credential.serverKey)))".utf8))
    }

    private mutating func fail(_ cause: String, advice: String? = nil) -> Step {
        state = .ended
        return .failure(cause, advice: advice)
    }

    /// A credential that no password fits, always the same for one name.
    private func unknown(_ user: String) -> ScramCredential {
        let salt = ScramMechanism.sha256.authenticate(Array(user.utf8), key: secret)
        return ScramCredential(
            mechanism: mechanism, salt: Array(salt.prefix(24)), iterations: ScramCredential.iterations.lowerBound,
            storedKey: randomBytes(mechanism.digestBytes), serverKey: randomBytes(mechanism.digestBytes))
    }

    /// A saslname: `=2C` is a comma, `=3D` an equals sign; nil if there is any other use of `=`.
    static func name(_ text: Substring) -> String? {
        var name = ""
        var rest = text
        while let at = rest.firstIndex(of: "=") {
            name += rest[..<at]
            let code = rest[at...].prefix(3)
            switch code {
            case "=2C": name += ","
            case "=3D": name += "="
            default: return nil
            }
            rest = rest[code.endIndex...]
        }
        return name + rest
    }
}

extension String {
    /// The last place where `part` stands.
    fileprivate func range(of part: String) -> Range<Index>? {
        let bytes = Array(part.utf8)
        var start = utf8.index(utf8.endIndex, offsetBy: -bytes.count, limitedBy: utf8.startIndex)
        while let at = start {
            let end = utf8.index(at, offsetBy: bytes.count)
            if utf8[at..<end].elementsEqual(bytes) { return at..<end }
            start = at > utf8.startIndex ? utf8.index(before: at) : nil
        }
        return nil
    }
}
