// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: mistakes in certificate and key files, named before a client meets them.

import Foundation
import Testing

@testable import Transport

@Suite("A TLS context")
struct TLSContextTests {
    let authority = TestAuthority.shared
    let directory = TemporaryDirectory()

    private func failure(_ options: TLSOptions) -> TransportError? {
        #expect(throws: TransportError.self) { try TLSContext.server(options) }
    }

    @Test("knows its own certificate")
    func ownCertificate() throws {
        let context = try authority.serverContext()
        #expect(context.certificate?.subject == "CN=localhost")
        #expect(context.certificate?.notAfterMs == TestAuthority.nowMs + 7 * dayMs)
        #expect(try authority.clientContext(hasCertificate: false).certificate == nil)
    }

    @Test("names the file that is missing")
    func missingFiles() {
        for (change, what) in [
            ({ $0.certificateFile = "/nowhere/a.pem" }, "certificate /nowhere/a.pem: no such file"),
            ({ $0.keyFile = "/nowhere/a.key" }, "private key /nowhere/a.key: no such file"),
            (
                { $0.authorityFile = "/nowhere/ca.pem" },
                "CA certificate /nowhere/ca.pem: no such file"
            ),
        ] as [((inout TLSOptions) -> Void, String)] {
            var options = authority.serverOptions()
            change(&options)
            let error = failure(options)
            #expect(error?.code == .notFound)
            #expect(error?.message.hasPrefix(what) == true)
        }
    }

    @Test("says that key and certificate do not belong together")
    func mismatch() {
        var options = authority.serverOptions()
        options.keyFile = authority.files.clientKeyFile
        let error = failure(options)
        #expect(error?.code == .keyMismatch)
        #expect(error?.message.contains(authority.files.clientKeyFile) == true)
        #expect(error?.message.contains(authority.files.serverCertificateFile) == true)
    }

    @Test("says what is wrong with the content of a file")
    func badContent() throws {
        let text = try directory.file("text.pem", "not a certificate\n")
        let damaged = try directory.file(
            "damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        let encrypted = try directory.file(
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIH=\n-----END ENCRYPTED PRIVATE KEY-----\n")
        var options = authority.serverOptions()
        options.certificateFile = text
        #expect(failure(options)?.message.contains("text.pem: no certificate in it") == true)
        options.certificateFile = damaged
        #expect(
            failure(options)?.message.contains("damaged.pem: a damaged certificate in it") == true)
        options = authority.serverOptions()
        options.keyFile = text
        #expect(failure(options)?.message.contains("text.pem: no private key in it") == true)
        options.keyFile = encrypted
        #expect(
            failure(options)?.message.contains("encrypted.key: it is encrypted; decrypt it") == true
        )
        options = authority.serverOptions()
        options.authorityFile = text
        #expect(failure(options)?.message.contains("text.pem: no certificate in it") == true)
    }

    @Test("refuses half a pair, and a server without a certificate")
    func halfPair() {
        var options = authority.serverOptions()
        options.keyFile = nil
        #expect(failure(options)?.code == .invalidOptions)
        options.certificateFile = nil
        #expect(failure(options)?.message.contains("TLS needs a certificate and a key") == true)
    }

    @Test("refuses a file too large to be a certificate")
    func large() throws {
        var options = authority.serverOptions()
        options.certificateFile = try directory.file(
            "large.pem", [UInt8](repeating: 65, count: PrivateFile.bytesMax + 1))
        #expect(failure(options)?.message.contains("larger than 1 MiB") == true)
    }

    @Test("refuses a key too weak for the library, and says so")
    func weakKey() throws {
        let key = directory.path + "/weak.key"
        let certificate = directory.path + "/weak.pem"
        _ = try run([
            "openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", key, "-out", certificate, "-subj",
            "/CN=weak",
        ])
        var options = authority.serverOptions()
        options.certificateFile = certificate
        options.keyFile = key
        let error = failure(options)
        #expect(error?.code == .invalidFile)
        #expect(error?.message.contains("weak.pem: the TLS library refuses it") == true)
    }
}
