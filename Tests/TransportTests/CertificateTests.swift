// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: what is minted, judged by the openssl command, and kept or renewed.

import Bytes
import Foundation
import Testing

@testable import Transport

/// Runs the openssl command; its output and status.
private func openssl(_ arguments: String...) throws -> (status: Int32, output: String) {
    try run(["openssl"] + arguments)
}

private func mode(_ path: String) throws -> Int {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    return try #require(attributes[.posixPermissions] as? Int)
}

private func content(_ path: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: path))
}

@Suite("Development certificates")
struct DevelopmentCertificateTests {
    let directory = TemporaryDirectory()
    let clock = ManualClock(nowMs: TestAuthority.nowMs)
    var certs: String { directory.path + "/new/certs" }

    private func ensure(
        extraHosts: [String] = [], clock: ManualClock? = nil
    ) throws -> DevelopmentCertificates {
        try DevelopmentCertificates.ensure(
            directory: certs, extraHosts: extraHosts, clock: clock ?? self.clock)
    }

    @Test("are six files in a directory that is made, keys readable by their owner only")
    func files() throws {
        let made = try ensure()
        let names = try FileManager.default.contentsOfDirectory(atPath: certs).sorted()
        #expect(
            names == ["ca.key", "ca.pem", "client.key", "client.pem", "server.key", "server.pem"])
        #expect(made.minted.sorted() == names)
        for name in names {
            #expect(try mode(certs + "/" + name) == (name.hasSuffix(".key") ? 0o600 : 0o644))
        }
    }

    @Test("are what openssl expects of a CA, a server and a client")
    func openSSLAgrees() throws {
        let files = try ensure(extraHosts: ["broker.example", "192.0.2.7"])
        let at = String(TestAuthority.nowMs / 1000)
        for (file, purpose) in [
            (files.serverCertificateFile, "sslserver"), (files.clientCertificateFile, "sslclient"),
        ] {
            let verified = try openssl(
                "verify", "-x509_strict", "-attime", at, "-purpose", purpose, "-CAfile",
                files.authorityFile,
                file)
            #expect(verified.status == 0, "\(verified.output)")
        }
        let swapped = try openssl(
            "verify", "-attime", at, "-purpose", "sslclient", "-CAfile", files.authorityFile,
            files.serverCertificateFile)
        #expect(swapped.status != 0)
        let server = try openssl("x509", "-in", files.serverCertificateFile, "-noout", "-text")
            .output
        for part in [
            "DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1",
            "DNS:broker.example",
            "IP Address:192.0.2.7", "TLS Web Server Authentication", "prime256v1", "CA:FALSE",
            "Digital Signature", "ecdsa-with-SHA256",
        ] {
            #expect(server.contains(part), "missing \(part)")
        }
        let authority = try openssl("x509", "-in", files.authorityFile, "-noout", "-text").output
        for part in [
            "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "CN = Martlet development CA",
        ] {
            #expect(authority.contains(part), "missing \(part)")
        }
        let key = try openssl("pkey", "-in", files.serverKeyFile, "-noout", "-text").output
        #expect(key.contains("P-256"))
    }

    @Test("begin five minutes ago; leaves last 7 days, the CA ten years")
    func validity() throws {
        let files = try ensure()
        let server = try CertificateFile.summary(files.serverCertificateFile)
        #expect(server.notBeforeMs == TestAuthority.nowMs - 300_000)
        #expect(server.notAfterMs == TestAuthority.nowMs + 7 * dayMs)
        #expect(
            try CertificateFile.expiryMs(files.authorityFile) == TestAuthority.nowMs + 3650 * dayMs)
        let text = try openssl(
            "x509", "-in", files.serverCertificateFile, "-noout", "-enddate", "-serial"
        ).output
        #expect(text.contains("notAfter=Jun 22 00:00:00 2025 GMT"))
        #expect(text.lowercased().contains("serial=" + server.serial))
    }

    @Test("are left alone while they are good")
    func kept() throws {
        let files = try ensure()
        let before = try content(files.serverKeyFile)
        let again = try ensure()
        #expect(again.minted.isEmpty)
        #expect(try content(files.serverKeyFile) == before)
    }

    @Test("are renewed when a third of their time is left, below the same CA")
    func renewed() throws {
        let files = try ensure()
        let authority = try content(files.authorityFile)
        #expect(
            try ensure(clock: ManualClock(nowMs: TestAuthority.nowMs + 4 * dayMs)).minted
                .isEmpty)
        let later = try ensure(clock: ManualClock(nowMs: TestAuthority.nowMs + 5 * dayMs))
        #expect(later.minted == ["server.key", "server.pem", "client.key", "client.pem"])
        #expect(try content(files.authorityFile) == authority)
    }

    @Test("are all made anew when the CA expires, and no leaf outlives its CA")
    func authorityRenewed() throws {
        let files = try ensure()
        let late = ManualClock(nowMs: TestAuthority.nowMs + 3640 * dayMs)
        #expect(
            try ensure(clock: late).minted == [
                "server.key", "server.pem", "client.key", "client.pem",
            ])
        let signer = try CertificateAuthority.load(
            certificateFile: files.authorityFile, keyFile: files.authorityKeyFile)
        #expect(
            try signer.mintClient(commonName: "long", days: 90, clock: late).summary.notAfterMs
                == CertificateFile.expiryMs(files.authorityFile))
        late.advance(ms: 5 * dayMs)
        #expect(try ensure(clock: late).minted.count == 6)
    }

    @Test("are minted again for a host that they do not cover yet, in any spelling only once")
    func hosts() throws {
        _ = try ensure()
        #expect(
            try ensure(extraHosts: ["kafka.test", "FE80:0::1"]).minted == [
                "server.key", "server.pem",
            ])
        #expect(try ensure(extraHosts: ["kafka.test", "fe80::1"]).minted.isEmpty)
    }

    @Test("keep the names that the server's certificate had, for another broker or another start, within a bound")
    func hostsKept() throws {
        let first = try ensure(extraHosts: ["b1.test", "192.0.2.1"])
        #expect(first.serverHosts.contains("b1.test") && first.keptHosts.isEmpty)
        let second = try ensure(extraHosts: ["b2.test"])
        #expect(second.minted == ["server.key", "server.pem"])
        #expect(second.keptHosts == ["b1.test", "192.0.2.1"])
        let names = try CertificateFile.summary(second.serverCertificateFile).hosts
        #expect(names == second.serverHosts && names.contains("b2.test") && names.contains("b1.test"))
        #expect(try ensure(extraHosts: ["b1.test"]).minted.isEmpty)
        #expect(try ensure(extraHosts: ["b2.test"]).serverHosts.isEmpty)
        let late = ManualClock(nowMs: TestAuthority.nowMs + 6 * dayMs)
        #expect(try ensure(clock: late).keptHosts.sorted() == ["192.0.2.1", "b1.test", "b2.test"])
        let many = (0..<80).map { "n\($0).test" }
        let full = try ensure(extraHosts: many)
        #expect(full.keptHosts.isEmpty && full.serverHosts.suffix(80) == many[...])
        let bounded = try ensure(extraHosts: ["last.test"])
        #expect(bounded.serverHosts.count == DevelopmentCertificates.hostsMax)
        try FileManager.default.removeItem(atPath: bounded.serverCertificateFile)
        #expect(try ensure(extraHosts: ["b2.test"]).keptHosts.isEmpty)
    }

    @Test("name files within their directory only", arguments: ["a/b", "..", ".a", "", "a\nb", "a\u{1b}[2J", "a\\b", "\u{202e}a", "-a"])
    func fileNames(_ name: String) throws {
        #expect(!DevelopmentCertificates.isFileName(name))
        #expect(DevelopmentCertificates.isFileName("orders of Zoë"))
    }

    @Test("have common names without control characters")
    func commonNames() throws {
        _ = try ensure()
        let signer = try CertificateAuthority.load(certificateFile: certs + "/ca.pem", keyFile: certs + "/ca.key")
        let error = #expect(throws: TransportError.self) { try signer.mintClient(commonName: "a\nb", clock: clock) }
        #expect(error?.code == .invalidOptions)
    }

    @Test("are told apart from secrets that others may read")
    func exposed() throws {
        let files = try ensure()
        #expect(try files.exposedSecrets().isEmpty)
        for (name, mode) in [("ca.key", 0o640), ("client.key", 0o640), ("old.key", 0o644), ("java.p12.password", 0o604)] {
            if !PrivateFile.exists("\(certs)/\(name)") { try Data().write(to: URL(fileURLWithPath: "\(certs)/\(name)")) }
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: "\(certs)/\(name)")
        }
        let found = try files.exposedSecrets()
        #expect(found.map(\.severity) == [.error, .warning, .error, .error])
        #expect(found.first?.what.hasPrefix("the CA's private key \(certs)/ca.key: its group may read it") == true)
    }

    @Test(
        "of server and client are replaced when a file is missing, damaged or of another pair",
        arguments: [
            "missing key", "empty certificate", "damaged certificate", "other key",
        ])
    func replaced(fault: String) throws {
        let files = try ensure()
        switch fault {
        case "missing key": try FileManager.default.removeItem(atPath: files.serverKeyFile)
        case "empty certificate":
            try Data().write(to: URL(fileURLWithPath: files.serverCertificateFile))
        case "damaged certificate":
            try Data(content(files.serverCertificateFile).prefix(300))
                .write(to: URL(fileURLWithPath: files.serverCertificateFile))
        default:
            try content(files.clientKeyFile).write(to: URL(fileURLWithPath: files.serverKeyFile))
        }
        #expect(try ensure().minted == ["server.key", "server.pem"])
        #expect(try mode(files.serverKeyFile) == 0o600)
    }

    @Test("of a CA are never replaced when they are damaged: the error names the file")
    func damagedAuthority() throws {
        let files = try ensure()
        let good = try content(files.authorityFile)
        try Data(good.prefix(200)).write(to: URL(fileURLWithPath: files.authorityFile))
        let damaged = #expect(throws: TransportError.self) { try ensure() }
        #expect(
            damaged?.code == .invalidFile && damaged?.message.contains(files.authorityFile) == true)
        try good.write(to: URL(fileURLWithPath: files.authorityFile))
        try content(files.clientKeyFile).write(to: URL(fileURLWithPath: files.authorityKeyFile))
        let mismatch = #expect(throws: TransportError.self) { try ensure() }
        #expect(mismatch?.code == .keyMismatch)
        #expect(mismatch?.message.contains(files.authorityKeyFile) == true)
    }

    @Test("work without the CA's key until something must be signed")
    func keyless() throws {
        let files = try ensure()
        try FileManager.default.removeItem(atPath: files.authorityKeyFile)
        #expect(try ensure().minted.isEmpty)
        try FileManager.default.removeItem(atPath: files.clientCertificateFile)
        let error = #expect(throws: TransportError.self) { try ensure() }
        #expect(error?.code == .notFound && error?.message.contains("ca.key: missing") == true)
    }

    @Test("are not touched while another start makes them")
    func concurrent() async throws {
        let path = certs
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY)
        #expect(flock(descriptor, LOCK_EX) == 0)
        let (started, start) = AsyncStream<Void>.makeStream()
        let other = Task.detached {
            start.yield()
            return try DevelopmentCertificates.ensure(
                directory: path, clock: ManualClock(nowMs: TestAuthority.nowMs))
        }
        for await _ in started { break }
        // Another start, elsewhere, has made the whole set meanwhile.
        let elsewhere = try DevelopmentCertificates.ensure(
            directory: directory.path + "/elsewhere", clock: clock)
        for name in elsewhere.minted {
            try FileManager.default.copyItem(
                atPath: elsewhere.directory + "/" + name, toPath: path + "/" + name)
        }
        close(descriptor)
        #expect(try await other.value.minted.isEmpty)
    }

    @Test("cannot be put where a file is in the way")
    func notADirectory() throws {
        let path = try directory.file("file", "in the way")
        let error = #expect(throws: TransportError.self) {
            try DevelopmentCertificates.ensure(directory: path + "/certs", clock: clock)
        }
        #expect(error?.message.contains(path) == true)
    }
}

@Suite("A certificate authority")
struct CertificateAuthorityTests {
    let clock = ManualClock(nowMs: TestAuthority.nowMs)

    @Test("gives every certificate a serial number of its own")
    func serials() throws {
        let authority = try CertificateAuthority.mint(clock: clock)
        let serials = try (0..<50).map { _ in
            try authority.mintClient(commonName: "many", clock: clock).summary.serial
        }
        #expect(Set(serials).count == 50)
        #expect(serials.allSatisfy { $0.count == 32 })
    }

    @Test(
        "refuses host names that would smuggle in other names",
        arguments: [
            "a,DNS:b", "a b", "", "a:b", "a\n", "*@x", String(repeating: "a", count: 254),
        ])
    func smuggling(host: String) throws {
        let authority = try CertificateAuthority.mint(clock: clock)
        let error = #expect(throws: TransportError.self) {
            try authority.mintServer(hosts: ["localhost", host], clock: clock)
        }
        #expect(error?.code == .invalidOptions)
    }

    @Test("refuses a common name that is empty or too long", arguments: [0, 65])
    func commonName(length: Int) throws {
        let authority = try CertificateAuthority.mint(clock: clock)
        #expect(throws: TransportError.self) {
            try authority.mintClient(
                commonName: String(repeating: "é", count: length), clock: clock)
        }
        let longest = try authority.mintClient(
            commonName: String(repeating: "é", count: 64), clock: clock)
        #expect(longest.summary.subject == "CN=" + String(repeating: "é", count: 64))
    }

    @Test("describes a certificate in words")
    func describe() throws {
        let files = TestAuthority.shared.files
        let text = try CertificateFile.describe(files.serverCertificateFile)
        #expect(text.contains("subject  CN=localhost"))
        #expect(text.contains("issuer   CN=Martlet development CA"))
        #expect(text.contains("localhost, 127.0.0.1, ::1"))
        #expect(text.contains("2025-06-14 to 2025-06-22"))
    }

    @Test(
        "counts days by the calendar",
        arguments: [
            (0, "1970-01-01"), (-1, "1969-12-31"), (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"), (1_735_689_599_999, "2024-12-31"),
            (4_107_542_400_000, "2100-03-01"),
            (253_402_300_799_000, "9999-12-31"), (-62_135_596_800_000, "1-01-01"),
        ] as [(Int64, String)])
    func days(ms: Int64, text: String) {
        #expect(dateText(ms) == text)
    }
}
