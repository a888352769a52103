// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: every finding that a check of certificate files can have.

import Bytes
import Glibc
import Testing

@testable import Transport

@Suite struct CertificateCheckTests {
    private let nowMs = SystemClock().nowMs()
    private let day: Int64 = 86_400_000

    private func inDirectory(_ body: (DevelopmentCertificates, CertificateAuthority) throws -> Void) throws {
        let directory = TemporaryDirectory()
        let files = try DevelopmentCertificates.ensure(directory: directory.path + "/certs")
        try body(files, .load(certificateFile: files.authorityFile, keyFile: files.authorityKeyFile))
    }

    private func check(
        _ files: DevelopmentCertificates, _ name: String, _ purpose: CertificateCheck.Purpose = .server
    ) -> CertificateCheck {
        CertificateCheck(
            certificateFile: "\(files.directory)/\(name).pem", keyFile: "\(files.directory)/\(name).key",
            authorityFile: files.authorityFile, purpose: purpose)
    }

    private func kinds(_ check: CertificateCheck, at ms: Int64? = nil) -> [CertificateFinding.Kind] {
        check.findings(nowMs: ms ?? nowMs).map(\.kind)
    }

    @Test func `What was just made has no findings`() throws {
        try inDirectory { files, _ in
            var server = check(files, "server")
            server.hosts = ["localhost", "127.0.0.1", "::1"]
            #expect(kinds(server).isEmpty)
            #expect(kinds(check(files, "client", .client)).isEmpty)
        }
    }

    @Test func `Dates: expired, not yet valid, soon`() throws {
        try inDirectory { files, _ in
            #expect(kinds(check(files, "server"), at: nowMs + 8 * day) == [.expired])
            #expect(kinds(check(files, "server"), at: nowMs - day) == [.notYetValid, .notYetValid])
            #expect(kinds(check(files, "server"), at: nowMs + 6 * day) == [.expiresSoon])
        }
    }

    @Test func `Keys: another one, none, one that everybody may read`() throws {
        try inDirectory { files, signer in
            try PrivateFile.write(signer.mintClient(commonName: "x").keyPEM, to: files.serverKeyFile, mode: 0o644)
            let found = check(files, "server").findings(nowMs: nowMs)
            #expect(found.map(\.kind) == [.keyMode, .keyMismatch])
            #expect(found[0].severity == .error && found[0].next == "chmod 0600 \(files.serverKeyFile)")
            _ = unsafe chmod(files.serverKeyFile, 0o640)
            #expect(check(files, "server").findings(nowMs: nowMs)[0].severity == .warning)
            _ = unsafe unlink(files.serverKeyFile)
            let missing = check(files, "server").findings(nowMs: nowMs)
            #expect(missing.map(\.kind) == [.unreadable] && missing[0].what.contains("server.key"))
        }
    }

    @Test func `Files: none, and one that is no certificate`() throws {
        try inDirectory { files, _ in
            #expect(kinds(check(files, "nobody")) == [.unreadable])
            try PrivateFile.write(Array("hello".utf8), to: files.serverCertificateFile, mode: 0o644)
            #expect(kinds(check(files, "server")) == [.unreadable])
        }
    }

    @Test func `Use and names`() throws {
        try inDirectory { files, _ in
            #expect(kinds(check(files, "client", .server)) == [.usage])
            #expect(kinds(check(files, "server", .client)) == [.usage])
            var server = check(files, "server")
            server.hosts = ["broker.example.org", "192.0.2.1"]
            #expect(kinds(server) == [.names, .names])
        }
    }

    @Test func `A chain that does not lead to the CA`() throws {
        try inDirectory { files, _ in
            let other = try CertificateAuthority.mint(commonName: "another")
            try PrivateFile.write(other.minted.certificatePEM, to: files.authorityFile, mode: 0o644)
            let found = check(files, "server").findings(nowMs: nowMs)
            #expect(found.map(\.kind) == [.chain] && found[0].what.contains("unable to get local issuer"))
        }
    }

    @Test func `Weak keys and signatures, and a CA that is none`() throws {
        try inDirectory { files, _ in
            let weak = files.directory + "/weak"
            for arguments in [
                ["req", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-keyout", weak + ".key", "-out", weak + ".csr"],
                [
                    "x509", "-req", "-in", weak + ".csr", "-CA", files.authorityFile, "-CAkey", files.authorityKeyFile,
                    "-CAcreateserial", "-sha1", "-days", "20", "-out", weak + ".pem",
                ],
            ] {
                let done = try run(["openssl"] + arguments)
                try #require(done.status == 0, "\(done.output)")
            }
            _ = unsafe chmod(weak + ".key", 0o600)
            #expect(kinds(check(files, "weak", .client), at: SystemClock().nowMs() + 1000).prefix(2) == [.weakKey, .weakSignature])
            var none = check(files, "client", .client)
            none.authorityFile = files.clientCertificateFile
            #expect(kinds(none) == [.noAuthority])
        }
    }

    @Test func `Successors keep name, hosts, use and life, and have a new key`() throws {
        try inDirectory { files, signer in
            try files.write(signer.mintServer(hosts: ["a.example.org", "192.0.2.7"], days: 3), name: "other")
            try files.write(signer.mintClient(commonName: "orders", days: 30), name: "orders")
            #expect(try files.issuedNames() == ["client", "orders", "other", "server"])
            let soon = ManualClock(nowMs: nowMs + 2 * day + day / 4)
            #expect(try files.isDue("other", clock: soon) && !files.isDue("orders", clock: soon))
            for name in ["other", "orders"] {
                let before = try CertificateFile.summary("\(files.directory)/\(name).pem")
                let key = try PrivateFile.read("\(files.directory)/\(name).key", what: "key")
                _ = try files.renew(name, clock: soon)
                let after = try CertificateFile.summary("\(files.directory)/\(name).pem")
                #expect(after.subject == before.subject && after.alternativeNames == before.alternativeNames)
                #expect(after.serial != before.serial)
                #expect(after.notAfterMs - after.notBeforeMs == before.notAfterMs - before.notBeforeMs)
                #expect(try PrivateFile.read("\(files.directory)/\(name).key", what: "key") != key)
            }
            #expect(CertificateFile.isServers("\(files.directory)/other.pem"))
        }
    }

    @Test func `A PKCS 12 file opens with its password and holds key, certificate and CA`() throws {
        try inDirectory { files, signer in
            let minted = try signer.mintClient(commonName: "java")
            try files.write(minted, name: "java")
            try files.writePKCS12(minted, name: "java", password: nil)
            let path = files.directory + "/java.p12"
            let password = String(decoding: try PrivateFile.read(path + ".password", what: "password"), as: UTF8.self)
            #expect(password.count == 24)
            let shown = try run(["openssl", "pkcs12", "-in", path, "-passin", "pass:" + password, "-nodes"])
            #expect(shown.status == 0, "\(shown.output)")
            for part in ["friendlyName: java", "BEGIN PRIVATE KEY", "Martlet development CA"] {
                #expect(shown.output.contains(part), "\(part)")
            }
            #expect(try run(["openssl", "pkcs12", "-in", path, "-passin", "pass:wrong", "-nodes"]).status != 0)
        }
    }
}
