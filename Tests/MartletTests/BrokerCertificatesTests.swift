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
            let good = try TextFile.read(files.directory + "/server.pem", bytesMax: 65_536)
            try TextFile.replace(files.directory + "/server.pem", with: "no certificate")
            certificates.refresh(logger: logger)
            #expect(certificates.problem == nil, "it may be about to be replaced once more")
            certificates.refresh(logger: logger)
            #expect(certificates.problem?.contains("server.pem") == true)
            #expect(certificates.warnings.contains { $0.contains("the old ones stay in force") })
            #expect(certificates.healthWarning == "certificate files cannot be used")
            #expect(certificates.reloads.failed == 1)
            #expect(serial(certificates) == before)
            #expect(before != nil)
            try TextFile.replace(files.directory + "/server.pem", with: String(decoding: good, as: UTF8.self))
            certificates.refresh(logger: logger)
            #expect(certificates.problem == nil && certificates.warnings.isEmpty)
        }
    }

    @Test func `A key that comes before its certificate is no problem to anybody`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            let signer = try CertificateAuthority.load(
                certificateFile: files.authority, keyFile: files.directory + "/ca.key")
            let next = try signer.mintServer(hosts: ["localhost"], clock: clock)
            try TextFile.replace(files.directory + "/server.key", with: String(decoding: next.keyPEM, as: UTF8.self))
            certificates.refresh(logger: logger)
            #expect(serial(certificates) == before && certificates.problem == nil)
            try TextFile.replace(files.directory + "/server.pem", with: String(decoding: next.certificatePEM, as: UTF8.self))
            certificates.refresh(logger: logger)
            #expect(serial(certificates) == next.summary.serial && certificates.problem == nil)
            #expect(certificates.reloads.succeeded == 1 && certificates.reloads.failed == 0)
        }
    }

    @Test func `An expired certificate does not replace a good one`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            let signer = try CertificateAuthority.load(
                certificateFile: files.authority, keyFile: files.directory + "/ca.key")
            let old = ManualClock(nowMs: clock.nowMs() - 30 * 86_400_000)
            try DevelopmentCertificates(directory: files.directory).write(
                signer.mintServer(hosts: ["localhost"], clock: old), name: "server")
            certificates.refresh(logger: logger, isAsked: true)
            #expect(certificates.problem?.contains("it expired at") == true && serial(certificates) == before)
        }
    }

    @Test func `A certificate that is not a server's does not replace one that is`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            let signer = try CertificateAuthority.load(
                certificateFile: files.authority, keyFile: files.directory + "/ca.key")
            try DevelopmentCertificates(directory: files.directory).write(
                signer.mintClient(commonName: "client", clock: clock), name: "server")
            certificates.refresh(logger: logger, isAsked: true)
            #expect(certificates.problem?.contains("it is not meant for a server") == true && serial(certificates) == before)
            #expect(certificates.reloads.failed == 1 && certificates.reloads.succeeded == 0)
        }
    }

    @Test func `A certificate without the name that clients use does not replace one with it`() throws {
        var configuration = Configuration.fixture
        configuration.advertise = Address(host: "broker.example.org")
        let certificates = try BrokerCertificates(configuration, clock: clock)
        defer { certificates.removeTemporary() }
        let files = try #require(certificates.forClients)
        let before = serial(certificates)
        let signer = try CertificateAuthority.load(certificateFile: files.authority, keyFile: files.directory + "/ca.key")
        let own = DevelopmentCertificates(directory: files.directory)
        try own.write(signer.mintServer(hosts: ["localhost"], clock: clock), name: "server")
        certificates.refresh(logger: logger, isAsked: true)
        #expect(certificates.problem?.contains("it does not name broker.example.org") == true && serial(certificates) == before)
        try own.write(signer.mintServer(hosts: ["broker.example.org"], clock: clock), name: "server")
        certificates.refresh(logger: logger, isAsked: true)
        #expect(certificates.problem == nil && serial(certificates) != before)
    }

    @Test func `A chain that does not lead to the authority any more is refused`() throws {
        try make { certificates, files in
            let before = serial(certificates)
            let other = try CertificateAuthority.mint(commonName: "another")
            try DevelopmentCertificates(directory: files.directory).write(
                other.mintServer(hosts: ["localhost", "127.0.0.1"], clock: clock), name: "server")
            certificates.refresh(logger: logger, isAsked: true)
            #expect(certificates.problem?.contains("it does not lead to a CA") == true && serial(certificates) == before)
        }
    }

    @Test func `A file of CAs without a CA that is good does not replace one with it`() throws {
        try make { certificates, files in
            let good = try TextFile.read(files.authority, bytesMax: 100_000)
            let leaf = try TextFile.read(files.certificate, bytesMax: 100_000)
            for (content, words) in [(leaf, "no CA is in it, only CN="), (good, nil)] {
                try TextFile.replace(files.authority, with: String(decoding: content, as: UTF8.self))
                certificates.refresh(logger: logger, isAsked: true)
                #expect(certificates.problem?.contains(words ?? "") == words.map { _ in true }, "\(certificates.problem ?? "")")
            }
        }
    }

    @Test func `A revocation list is told of like a certificate`() throws {
        let day: Int64 = 86_400_000
        let list = RevocationListSummary(issuer: "CN=ca", issuedMs: 0, nextMs: 7 * day)
        let expiry = try #require(CertificateExpiry(list))
        #expect(!expiry.isNear(nowMs: 5 * day) && expiry.isNear(nowMs: 5 * day + 1))
        #expect(expiry.text(nowMs: 8 * day).hasPrefix("the revocation list (CN=ca) expired at 1970-01-08T"))
        #expect(CertificateExpiry(RevocationListSummary(issuer: "CN=ca", issuedMs: 0, nextMs: nil)) == nil)
    }

    @Test func `What expires soon is told in every place, and once a day in the log`() throws {
        try make { certificates, _ in
            #expect(certificates.warnings.isEmpty && certificates.healthWarning == nil)
            #expect(certificates.firstExpiries.map(\.kind) == [.authority, .server])
            let expiryMs = try #require(certificates.expiryMs)
            clock.advance(ms: expiryMs - clock.nowMs() - 24 * 3_600_000)
            #expect(certificates.warnings.count == 1 && certificates.warnings[0].contains("expires at"))
            #expect(certificates.healthWarning?.hasPrefix("server certificate expires at ") == true)
            let near = certificates.expiries().filter { $0.isNear(nowMs: clock.nowMs()) }
            #expect(certificates.takeUntold(near, nowMs: clock.nowMs()) == near)
            #expect(certificates.takeUntold(near, nowMs: clock.nowMs() + 86_399_000).isEmpty)
            #expect(certificates.takeUntold(near, nowMs: clock.nowMs() + 86_400_001) == near)
        }
    }

    @Test func `A certificate of a week is warned of 48 hours ahead`() {
        let day: Int64 = 86_400_000
        let expiry = CertificateExpiry(
            .server, PeerCertificate(subject: "CN=a", issuer: "CN=b", notBeforeMs: 0, notAfterMs: 7 * day, serial: "1"))
        #expect(!expiry.isNear(nowMs: 5 * day) && expiry.isNear(nowMs: 5 * day + 1))
    }

    @Test func `A certificate that lives for a day is not warned of all day`() {
        let day: Int64 = 86_400_000
        let expiry = CertificateExpiry(
            .client, PeerCertificate(subject: "CN=a", issuer: "CN=b", notBeforeMs: 0, notAfterMs: day, serial: "1"))
        #expect(!expiry.isNear(nowMs: day * 3 / 4))
        #expect(expiry.isNear(nowMs: day * 3 / 4 + 1))
        #expect(expiry.text(nowMs: day).contains("expired at"))
    }

    @Test func `The broker's own certificates are renewed before they expire`() throws {
        try make { certificates, _ in
            let before = serial(certificates)
            let expiryMs = try #require(certificates.expiryMs)
            clock.advance(ms: expiryMs - clock.nowMs() - 3 * 86_400_000)
            certificates.refresh(logger: logger)
            #expect(serial(certificates) == before)
            clock.advance(ms: 86_400_000)
            certificates.refresh(logger: logger)
            #expect(serial(certificates) != before)
            #expect(try #require(certificates.expiryMs) > expiryMs)
        }
    }
}
