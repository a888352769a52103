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
            // Both the certificate and the key.
            #expect(kinds(check(files, "nobody")) == [.unreadable, .unreadable])
            try PrivateFile.write(Array("hello".utf8), to: files.serverCertificateFile, mode: 0o644)
            #expect(kinds(check(files, "server")) == [.unreadable])
        }
    }

    @Test func `Files: whatever else people name instead`() throws {
        try inDirectory { files, signer in
            let key = try PrivateFile.read(files.serverKeyFile, what: "key")
            let certificate = try PrivateFile.read(files.serverCertificateFile, what: "certificate")
            func der(_ arguments: [String]) throws -> [UInt8] {
                let done = try run(["openssl"] + arguments + ["-out", files.directory + "/converted"])
                try #require(done.status == 0, "\(done.output)")
                return try PrivateFile.read(files.directory + "/converted", what: "file")
            }
            let indented = Array("  ".utf8) + certificate.flatMap { $0 == 10 ? [10, 32, 32] : [$0] }
            try files.writePKCS12(signer.mintClient(commonName: "java"), name: "java", password: "changeit")
            let keystore = try PrivateFile.read(files.directory + "/java.p12", what: "file")
            let request = try der(["req", "-new", "-key", files.serverKeyFile, "-subj", "/CN=x"])
            let pkcs7 = try der(["crl2pkcs7", "-nocrl", "-certfile", files.serverCertificateFile])
            let cases: [([UInt8], WrongFile.Wanted, String, String)] = [
                ([], .certificate, "it is empty", "write it again"),
                (key, .certificate, "but a private key", "exchanged"),
                (certificate, .key, "but a certificate", "exchanged"),
                (try der(["x509", "-in", files.serverCertificateFile, "-outform", "DER"]), .certificate, "it is DER", "openssl x509 -inform DER -in F -out F.pem"),
                (try der(["pkey", "-in", files.serverKeyFile, "-outform", "DER"]), .key, "it is DER", "openssl pkey -inform DER"),
                (keystore, .certificate, "PKCS #12", "openssl pkcs12 -in F -nokeys"), (keystore, .key, "PKCS #12", "-nocerts -nodes"),
                ([0xfe, 0xed, 0xfe, 0xed, 0, 0], .key, "JKS", "keytool -importkeystore"),
                (request, .certificate, "a request for one (CSR)", "have a CA sign it"),
                (pkcs7, .certificate, "PKCS #7", "-print_certs"), (indented, .certificate, "whose lines begin", "remove"),
                ([0xff, 0xfe, 0x2d, 0], .certificate, "UTF-16", "UTF-8"),
                (try der(["pkey", "-in", files.serverKeyFile, "-pubout"]), .key, "a public one", "private key's file"),
                (try der(["pkey", "-in", files.serverKeyFile, "-aes256", "-passout", "pass:x"]), .key, "encrypted", "openssl pkey -in F -out"),
                (try der(["ec", "-in", files.serverKeyFile, "-aes256", "-passout", "pass:x"]), .key, "encrypted", "openssl pkey -in F -out"),
                (Array("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n".utf8), .key, "a key of SSH", "ssh-keygen -p"),
                (Array(key.prefix(60)), .key, "a damaged private key", "again"),
                (Array("hello".utf8), .certificate, "no certificate in it", "PEM"), (Array("hello".utf8), .key, "no private key in it", "PEM"),
            ]
            for (content, wanted, found, next) in cases {
                let wrong = WrongFile(content, "F", wanted: wanted)
                #expect(wrong.found.contains(found) && wrong.next.contains(next), "\(wrong) instead of \(found)")
            }
        }
    }

    @Test func `Files: what openssl ecparam writes, and a certificate before the key, are read`() throws {
        try inDirectory { files, _ in
            let traditional = try run(["openssl", "ec", "-in", files.serverKeyFile, "-out", files.directory + "/ec.key"])
            try #require(traditional.status == 0, "\(traditional.output)")
            let parameters = Array("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n".utf8)
            let key = try PrivateFile.read(files.directory + "/ec.key", what: "key")
            for before in [parameters, try PrivateFile.read(files.serverCertificateFile, what: "certificate")] {
                try PrivateFile.write(before + key, to: files.serverKeyFile, mode: 0o600)
                #expect(kinds(check(files, "server")).isEmpty)
            }
        }
    }

    @Test func `Files: a path from elsewhere, and one that a shell would have changed`() throws {
        func message(_ path: String) -> String {
            do throws(TransportError) {
                _ = try PrivateFile.read(path, what: "certificate")
                return "read"
            } catch { return error.message }
        }
        #expect(message("no/such.pem").contains("counts from where the program was started"))
        #expect(message("~/such.pem").contains("write the whole path") && message("$HOME/such.pem").contains("write the whole path"))
        #expect(message("/no/such.pem").hasSuffix("no such file; check the path"))
        #expect(message("/tmp").hasSuffix("a directory; name a file in it"))
    }

    @Test func `The CA's certificate first, and the CA file with the certificate itself`() throws {
        try inDirectory { files, _ in
            let server = try PrivateFile.read(files.serverCertificateFile, what: "certificate")
            let authority = try PrivateFile.read(files.authorityFile, what: "certificate")
            try PrivateFile.write(authority + server, to: files.serverCertificateFile, mode: 0o644)
            let found = check(files, "server").findings(nowMs: nowMs)
            #expect(found.first?.kind == .keyMismatch && found.first?.what.contains("is further down") == true, "\(found)")
            try PrivateFile.write(server, to: files.serverCertificateFile, mode: 0o644)
            var own = check(files, "server")
            own.authorityFile = files.serverCertificateFile
            #expect(own.findings(nowMs: nowMs).contains { $0.kind == .noAuthority && $0.what.contains("but the certificate itself") })
        }
    }

    @Test func `A CA that has expired beside its successor is a warning`() throws {
        try inDirectory { files, _ in
            let late = nowMs + 400 * 10 * day
            let next = try CertificateAuthority.mint(commonName: "next", clock: ManualClock(nowMs: late - day))
            let both = try PrivateFile.read(files.authorityFile, what: "CA certificate") + next.minted.certificatePEM
            let old = check(files, "server").findings(nowMs: late).filter { $0.kind == .expired && $0.subject == .authority }
            #expect(old.map(\.severity) == [.error])
            try PrivateFile.write(both, to: files.authorityFile, mode: 0o644)
            let found = check(files, "server").findings(nowMs: late).filter { $0.kind == .expired && $0.subject == .authority }
            #expect(found.map(\.severity) == [.warning] && found[0].next.contains("remove it"))
        }
    }

    @Test func `A name in the common name alone, an address as a DNS name`() throws {
        try inDirectory { files, _ in
            let path = files.directory + "/odd"
            for (subject, names) in [("broker.example.org", ""), ("x", "subjectAltName=DNS:192.0.2.7")] {
                var arguments = [
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=" + subject,
                    "-keyout", path + ".key", "-out", path + ".pem",
                ]
                if !names.isEmpty { arguments += ["-addext", names] }
                let done = try run(["openssl"] + arguments)
                try #require(done.status == 0, "\(done.output)")
                _ = unsafe chmod(path + ".key", 0o600)
                var odd = check(files, "odd")
                odd.authorityFile = nil
                odd.hosts = [names.isEmpty ? subject : "192.0.2.7"]
                let found = odd.findings(nowMs: SystemClock().nowMs() + 1000)
                #expect(found.map(\.kind) == [.names])
                #expect(found.first?.what.contains(names.isEmpty ? "its common name does" : "as a DNS name") == true)
            }
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
            #expect(found.map(\.kind) == [.chain] && found[0].what.contains("unable to get local issuer certificate (CN=Martlet development CA"), "\(found)")
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
