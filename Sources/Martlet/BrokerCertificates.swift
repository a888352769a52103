// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: which certificates a broker uses, from its start to its end.
//
// Either files that were configured, or its own, minted at the first start. They are watched: when the files change, new
// handshakes use the new ones and connections that exist are left alone; when the broker's own are about to expire they
// are minted again. Files that cannot be used leave the old ones in force and a line in the log. `refresh` is called by the
// housekeeping loop only; the stamp of the files is guarded by the mutex.

import Bytes
import Glibc
import Logging
import Synchronization
import Transport

/// The broker's side of TLS, and what its clients need when the certificates are its own.
final class BrokerCertificates: Sendable {
    let store: TLSContextStore
    /// Present when the broker minted them.
    let forClients: Broker.Certificates?
    /// Names of files that were made at the start, for the log.
    let minted: [String]
    private let options: TLSOptions
    private let hosts: [String]
    /// Removed with the broker.
    private let temporaryDirectory: String?
    private let clock: any Clock
    private let stamps: Mutex<[FileStamp?]>

    /// In order of preference. gRPC clients offer h2 alone and Kafka clients nothing; whoever offers both is curl or a
    /// browser and wants a page.
    private static let applicationProtocols = ["http/1.1", "h2"]
    /// Certificates of our own are minted again when they have less than this left.
    private static let renewalMs: Int64 = 7 * 24 * 3600 * 1000

    init(_ configuration: Configuration, clock: any Clock) throws(BrokerError) {
        var options = TLSOptions(
            authorityFile: configuration.tls.authority, certificateFile: configuration.tls.certificate,
            keyFile: configuration.tls.key, applicationProtocols: Self.applicationProtocols)
        options.minimumVersion = configuration.tlsVersion == .tls12 ? .tls12 : .tls13
        options.revocationFile = configuration.tls.revocationLists
        hosts = Self.hosts(configuration)
        self.clock = clock
        temporaryDirectory =
            configuration.hasOwnCertificateDirectory && options.certificateFile == nil
            ? try Self.makeTemporaryDirectory() : nil
        do {
            if options.certificateFile == nil {
                let own = try DevelopmentCertificates.ensure(
                    directory: temporaryDirectory ?? absolute(configuration.certificateDirectory), extraHosts: hosts,
                    clock: clock)
                options.certificateFile = own.serverCertificateFile
                options.keyFile = own.serverKeyFile
                options.authorityFile = options.authorityFile ?? own.authorityFile
                forClients = Broker.Certificates(
                    directory: own.directory, authority: own.authorityFile, certificate: own.clientCertificateFile,
                    key: own.clientKeyFile)
                minted = own.minted
            } else {
                forClients = nil
                minted = []
            }
            stamps = Mutex(Self.stamps(options))
            store = TLSContextStore(try .server(options, clock: clock))
        } catch {
            throw BrokerError(error.message)
        }
        self.options = options
    }

    /// The last moment of the certificate in force, in milliseconds since the epoch.
    var expiryMs: Int64? { store.current.certificate?.notAfterMs }

    /// Looks whether the files changed or must be renewed.
    func refresh(logger: Logger) {
        renew(logger: logger)
        let found = Self.stamps(options)
        let isChanged = stamps.withLock { stamps in
            defer { stamps = found }
            return stamps != found
        }
        guard isChanged else { return }
        do {
            store.replace(with: try .server(options, clock: clock))
            logger.notice("certificates were read again, their files have changed")
        } catch {
            logger.error("the certificates changed and cannot be used, the old ones stay in force: \(error.message)")
        }
    }

    private func renew(logger: Logger) {
        guard let forClients, let expiryMs, expiryMs - clock.nowMs() < Self.renewalMs else { return }
        do {
            let own = try DevelopmentCertificates.ensure(directory: forClients.directory, extraHosts: hosts, clock: clock)
            if own.minted.isEmpty { return }
            logger.notice("certificates were renewed", metadata: ["files": "\(own.minted.joined(separator: " "))"])
        } catch {
            logger.error("certificates cannot be renewed: \(error.message)")
        }
    }

    /// Removes what was made for this broker alone.
    func removeTemporary() {
        guard let temporaryDirectory else { return }
        for name in ["ca", "server", "client"] {
            TextFile.remove("\(temporaryDirectory)/\(name).pem")
            TextFile.remove("\(temporaryDirectory)/\(name).key")
        }
        // SAFETY: the path is a C string for the duration of the call.
        _ = unsafe rmdir(temporaryDirectory)
    }

    /// Names under which clients will look for this broker, besides those of the machine itself.
    private static func hosts(_ configuration: Configuration) -> [String] {
        let named = configuration.listen.map(\.host) + (configuration.advertise.map { [$0.host] } ?? [])
        return named.filter { !["*", "0.0.0.0", "::", ""].contains($0) }
    }

    private static func stamps(_ options: TLSOptions) -> [FileStamp?] {
        [options.certificateFile, options.keyFile, options.authorityFile, options.revocationFile]
            .map { $0.flatMap(FileStamp.init(path:)) }
    }

    private static func makeTemporaryDirectory() throws(BrokerError) -> String {
        var template = Array("/tmp/martlet-certs-XXXXXX".utf8CString)
        // SAFETY: the array is live and NUL-terminated; mkdtemp changes its last six letters in place.
        let isMade = unsafe template.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe mkdtemp(base) != nil
        }
        guard isMade else {
            throw BrokerError(
                "cannot make a directory in /tmp: \(TextFile.reason(errno)); make room or allow writing there")
        }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
