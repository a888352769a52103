// SPDX-License-Identifier: Apache-2.0
// Martlet, Security: what is kept of a password: enough to check it, not enough to use it (RFC 5802 section 3).

package struct ScramCredential: Equatable, Sendable {
    /// What Kafka accepts (ScramMechanism.minIterations, and its bound on what an administrator may ask for).
    package static let iterations: ClosedRange<Int32> = 4_096...16_384

    package var mechanism: ScramMechanism
    package var salt: [UInt8]
    package var iterations: Int32
    package var storedKey: [UInt8]
    package var serverKey: [UInt8]

    /// As it was stored.
    package init(mechanism: ScramMechanism, salt: [UInt8], iterations: Int32, storedKey: [UInt8], serverKey: [UInt8]) {
        self.mechanism = mechanism
        self.salt = salt
        self.iterations = iterations
        self.storedKey = storedKey
        self.serverKey = serverKey
    }

    /// From what an administration client has made of the password.
    package init(mechanism: ScramMechanism, salt: [UInt8], iterations: Int32, saltedPassword: [UInt8]) {
        let clientKey = mechanism.authenticate(Array("Client Key".utf8), key: saltedPassword)
        self.init(
            mechanism: mechanism, salt: salt, iterations: iterations, storedKey: mechanism.hash(clientKey),
            serverKey: mechanism.authenticate(Array("Server Key".utf8), key: saltedPassword))
    }

    package init(mechanism: ScramMechanism, password: String, salt: [UInt8], iterations: Int32) {
        self.init(
            mechanism: mechanism, salt: salt, iterations: iterations,
            saltedPassword: mechanism.saltedPassword(Array(password.utf8), salt: salt, iterations: iterations))
    }

    /// Whether this is the password. Costs as much as making the credential.
    package func accepts(password: String) -> Bool {
        let offered = ScramCredential(mechanism: mechanism, password: password, salt: salt, iterations: iterations)
        return isEqual(offered.storedKey, storedKey)
    }
}
