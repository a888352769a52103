// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: certificates that change, expire or break while the broker runs.

import Bytes
import Logging
import Testing
import Transport

@testable import Martlet

@Suite struct BrokerCertificatesTests {
    private let clock = ManualClock(nowMs: SystemClock().nowMs())
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func make(_ body: (BrokerCertificates, Broker.Certificates) throws -> Void) throws {
        let certificates = try BrokerCertificates(.fixture, clock: clock)
        defer { certificates.removeTemporary() }
        try body(certificates, try #require(certificates.forClients))
    }

    private func serial(_ certificates: BrokerCertificates) -> String? {
        certificates.store.current.certificate?.serial
    }

    @Test func `Files that did not change are not read again`() throws {
        try make { certificates, _ in
            let before = certificates.store.current
            certificates.refresh(logger: logger)
            #expect(certificates.store.current === before)
        }
    }

    @Test func `Files that changed are in force for the next handshake`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            // A host that the certificate does not name yet makes a new one necessary.
            _ = try DevelopmentCertificates.ensure(
                directory: files.directory, extraHosts: ["another.example.org"], clock: clock)
            certificates.refresh(logger: logger)
            #expect(serial(certificates) != before)
        }
    }

    @Test func `Files that cannot be used leave the old certificates in force`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            try TextFile.replace(files.directory + "/server.pem", with: "no certificate")
            certificates.refresh(logger: logger)
            #expect(serial(certificates) == before)
            #expect(before != nil)
        }
    }

    @Test func `The broker's own certificates are renewed before they expire`() throws {
        try make { certificates, _ in
            let before = serial(certificates)
            let expiryMs = try #require(certificates.expiryMs)
            clock.advance(ms: expiryMs - clock.nowMs() - 8 * 86_400_000)
            certificates.refresh(logger: logger)
            #expect(serial(certificates) == before)
            clock.advance(ms: 2 * 86_400_000)
            certificates.refresh(logger: logger)
            #expect(serial(certificates) != before)
            #expect(try #require(certificates.expiryMs) > expiryMs)
        }
    }
}
