// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServerTests: of whom a login is wanted, and before what.

import Engine
import KafkaWire
import NIOCore
import Security
import TestSupport
import Testing
import Transport

@testable import KafkaServer

@Suite struct LoginTests {
    private static func rules(isForAll: Bool) -> LoginConfiguration {
        var configuration = LoginConfiguration(mechanisms: [.plain, .scramSHA256])
        configuration.isForAll = isForAll
        return configuration
    }

    private let logins = ByListener(
        LoginConfiguration(), own: ["some": rules(isForAll: false), "all": rules(isForAll: true)])

    private func connect(_ test: TestEngine, _ listener: String, certificate: Bool = false) throws -> TestConnection {
        try TestConnection(test, logins: logins) {
            $0.listenerName = listener
            guard certificate else { return }
            $0.principal = "User:CN=client"
            $0.peerCertificate = PeerCertificate(
                subject: "CN=client", issuer: "CN=ca", notBeforeMs: 0, notAfterMs: .max, serial: "01")
        }
    }

    private func isServed(_ connection: TestConnection) throws -> Bool {
        try connection.send(MetadataRequest(), version: 9)
        connection.test.sync()
        return connection.isOpen
    }

    @Test(arguments: [
        ("other", false, true), ("other", true, true), ("some", false, false), ("some", true, true), ("all", false, false),
        ("all", true, false),
    ])
    func `Whether a client is served without a login depends on its listener and its certificate`(
        listener: String, certificate: Bool, expected: Bool
    ) throws {
        let test = try TestEngine()
        #expect(try isServed(connect(test, listener, certificate: certificate)) == expected)
    }

    @Test func `Who has a certificate and logs in where both are wanted is who the login says`() throws {
        let test = try TestEngine()
        let key = CredentialKey(user: "alice", mechanism: .sha512)
        let credential = ScramCredential(mechanism: .sha512, password: "right", salt: [1], iterations: 4_096)
        test.engine.access.set([key: credential], on: test.loop) { _ in }
        test.sync()
        let connection = try connect(test, "all", certificate: true)
        var handshake = SaslHandshakeRequest()
        handshake.mechanism = "PLAIN"
        #expect(try connection.call(handshake, version: 1).errorCode == .none)
        var token = SaslAuthenticateRequest()
        token.authBytes = ByteBuffer(string: "\0alice\0right")
        #expect(try connection.call(token, version: 1).errorCode == .none)
        #expect(connection.kafka.login.principal == "User:alice")
        #expect(try isServed(connection))
    }

    @Test func `A connection ends with its user, and one by a certificate does not`() throws {
        let test = try TestEngine()
        let key = CredentialKey(user: "alice", mechanism: .sha512)
        func set(_ password: String?) {
            let credential = password.map { ScramCredential(mechanism: .sha512, password: $0, salt: [1], iterations: 4_096) }
            test.engine.access.set([key: credential], on: test.loop) { _ in }
            test.sync()
        }
        set("right")
        let connection = try connect(test, "some")
        let certified = try connect(test, "some", certificate: true)
        var handshake = SaslHandshakeRequest()
        handshake.mechanism = "PLAIN"
        _ = try connection.call(handshake, version: 1)
        var token = SaslAuthenticateRequest()
        token.authBytes = ByteBuffer(string: "\0alice\0right")
        #expect(try connection.call(token, version: 1).errorCode == .none)
        set("another")
        #expect(connection.isOpen)
        set(nil)
        #expect(!connection.isOpen && certified.isOpen)
    }

    @Test func `Listeners offer their own mechanisms`() throws {
        let test = try TestEngine()
        var handshake = SaslHandshakeRequest()
        handshake.mechanism = "SCRAM-SHA-512"
        let response = try connect(test, "some").call(handshake, version: 1)
        #expect(response.errorCode == .unsupportedSaslMechanism && response.mechanisms == ["PLAIN", "SCRAM-SHA-256"])
        #expect(try connect(test, "other").call(handshake, version: 1).errorCode == .illegalSaslState)
    }
}
