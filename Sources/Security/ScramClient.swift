// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: the client's side of one SCRAM exchange (RFC 5802).
//
//   first() -> the broker's challenge -> answer(to:) -> the broker's signature -> accepts(_:)
//
// A value: no I/O, no clock. What the broker sends is bounded: it cannot make a client compute for ever.

import Bytes

package struct ScramClient: Sendable {
    package struct Failure: Error, Equatable, CustomStringConvertible {
        package var description: String
    }

    /// More iterations than any broker asks for.
    private static let iterationsMax: Int32 = 1_000_000
    private static let header = "n,,"

    private let mechanism: ScramMechanism
    private let password: [UInt8]
    private let bare: String
    private let nonce: String
    private var serverSignature: [UInt8] = []

    package init(
        _ mechanism: ScramMechanism, user: String, password: String, nonce: String = Base64.encode(randomBytes(24))
    ) {
        self.mechanism = mechanism
        self.password = Array(password.utf8)
        self.nonce = nonce
        bare = "n=\(user.replacing("=", with: "=3D").replacing(",", with: "=2C")),r=\(nonce)"
    }

    /// What the client says first.
    package func first() -> [UInt8] { Array((Self.header + bare).utf8) }

    /// What the client says to the broker's challenge. Costs milliseconds.
    package mutating func answer(to challenge: [UInt8]) throws(Failure) -> [UInt8] {
        let text = String(decoding: challenge.prefix(ScramExchange.messageBytesMax), as: UTF8.self)
        let fields = text.split(separator: ",", omittingEmptySubsequences: false)
        guard fields.count >= 3, fields[0].hasPrefix("r=\(nonce)"), fields[0].utf8.count > nonce.utf8.count + 2,
            fields[1].hasPrefix("s="), let salt = Base64.decode(Array(fields[1].dropFirst(2).utf8)), !salt.isEmpty,
            fields[2].hasPrefix("i="), let iterations = Int32(fields[2].dropFirst(2))
        else { throw Failure(description: "its challenge is malformed") }
        guard (ScramCredential.iterations.lowerBound...Self.iterationsMax).contains(iterations) else {
            throw Failure(description: "it asks for \(iterations) iterations")
        }
        let salted = mechanism.saltedPassword(password, salt: salt, iterations: iterations)
        let clientKey = mechanism.authenticate(Array("Client Key".utf8), key: salted)
        let serverKey = mechanism.authenticate(Array("Server Key".utf8), key: salted)
        let withoutProof = "c=\(Base64.encode(Self.header.utf8)),\(fields[0])"
        let signed = Array("\(bare),\(text),\(withoutProof)".utf8)
        let signature = mechanism.authenticate(signed, key: mechanism.hash(clientKey))
        serverSignature = mechanism.authenticate(signed, key: serverKey)
        let proof = zip(clientKey, signature).map { $0 ^ $1 }
        return Array("\(withoutProof),p=\(Base64.encode(proof))".utf8)
    }

    /// Whether the broker knows the password too.
    package func accepts(_ last: [UInt8]) -> Bool {
        guard !serverSignature.isEmpty, last.starts(with: "v=".utf8), let given = Base64.decode(last.dropFirst(2)) else {
            return false
        }
        return isEqual(given, serverSignature)
    }
}

extension ScramCredential {
    /// What an administration client sends of a new password.
    package static func saltedPassword(
        _ mechanism: ScramMechanism, password: String, salt: [UInt8], iterations: Int32
    ) -> [UInt8] {
        mechanism.saltedPassword(Array(password.utf8), salt: salt, iterations: iterations)
    }
}
