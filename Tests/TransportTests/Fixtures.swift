// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: what several tests need: files, certificates, a log that can be read.

import Bytes
import Foundation
import Logging
import Synchronization
import Testing

@testable import Transport

/// A directory that goes away with its owner.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("martlet-transport-\(UUID().uuidString)")
        try? FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// Writes a file and returns its path.
    func file(_ name: String, _ content: [UInt8]) throws -> String {
        let path = self.path + "/" + name
        try Data(content).write(to: URL(fileURLWithPath: path))
        return path
    }

    func file(_ name: String, _ content: String) throws -> String {
        try file(name, Array(content.utf8))
    }
}

let dayMs: Int64 = 86_400_000

/// A certificate authority with files, minted at a fixed time.
final class TestAuthority: Sendable {
    /// 2025-06-15, the time at which everything is minted.
    static let nowMs: Int64 = 1_749_945_600_000
    /// The authority that most tests use.
    static let shared = TestAuthority()

    let directory = TemporaryDirectory()
    let clock = ManualClock(nowMs: TestAuthority.nowMs)
    let files: DevelopmentCertificates

    init() {
        do {
            files = try DevelopmentCertificates.ensure(
                directory: directory.path + "/certs", extraHosts: ["broker.example"], clock: clock)
        } catch {
            fatalError("test certificates: \(error)")
        }
    }

    var authority: CertificateAuthority {
        get throws {
            try CertificateAuthority.load(
                certificateFile: files.authorityFile, keyFile: files.authorityKeyFile)
        }
    }

    /// A clock that stands at the time of minting.
    func clock(plusDays days: Int64 = 0) -> ManualClock {
        ManualClock(nowMs: Self.nowMs + days * dayMs)
    }

    func serverOptions(
        _ protocols: [String] = ["h2", "http/1.1"], minimum: TLSOptions.Version = .tls13
    ) -> TLSOptions {
        TLSOptions(
            authorityFile: files.authorityFile, certificateFile: files.serverCertificateFile,
            keyFile: files.serverKeyFile, minimumVersion: minimum, applicationProtocols: protocols)
    }

    func clientOptions(
        _ protocols: [String] = [], minimum: TLSOptions.Version = .tls13,
        hasCertificate: Bool = true
    ) -> TLSOptions {
        TLSOptions(
            authorityFile: files.authorityFile,
            certificateFile: hasCertificate ? files.clientCertificateFile : nil,
            keyFile: hasCertificate ? files.clientKeyFile : nil, minimumVersion: minimum,
            applicationProtocols: protocols)
    }

    func serverContext(
        _ protocols: [String] = ["h2", "http/1.1"], minimum: TLSOptions.Version = .tls13,
        clock: (any Clock)? = nil
    ) throws -> TLSContext {
        try TLSContext.server(
            serverOptions(protocols, minimum: minimum), clock: clock ?? self.clock())
    }

    func clientContext(
        _ protocols: [String] = [], minimum: TLSOptions.Version = .tls13,
        hasCertificate: Bool = true,
        clock: (any Clock)? = nil
    ) throws -> TLSContext {
        try TLSContext.client(
            clientOptions(protocols, minimum: minimum, hasCertificate: hasCertificate),
            clock: clock ?? self.clock())
    }

    /// Writes what was minted and returns client options that use it.
    func clientOptions(with minted: MintedCertificate, name: String) throws -> TLSOptions {
        TLSOptions(
            authorityFile: files.authorityFile,
            certificateFile: try directory.file("\(name).pem", minted.certificatePEM),
            keyFile: try directory.file("\(name).key", minted.keyPEM))
    }
}

/// Collects log lines.
final class LogCapture: Sendable {
    private let captured = Mutex<[String]>([])

    var lines: [String] { captured.withLock { $0 } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(capture: self) }
        logger.logLevel = .debug
        return logger
    }

    func contains(_ text: String) -> Bool {
        lines.contains { $0.contains(text) }
    }

    private struct Handler: LogHandler {
        let capture: LogCapture
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            capture.captured.withLock { $0.append("\(event.level): \(event.message)") }
        }
    }
}

/// Random bytes that are the same in every run.
struct SeededBytes: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }
}
