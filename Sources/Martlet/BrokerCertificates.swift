// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: which certificates a broker uses, from its start to its end.
//
// Either files that were configured, or its own, minted at the first start. They are watched: when the files change, new
// handshakes use the new ones and connections that exist are left alone; when the broker's own are about to expire they
// are minted again. Files that cannot be used leave the old ones in force, which the log, the metrics and `/readyz` say.
// Certificate and key are two files and may be replaced one after the other: what does not fit is looked at once more
// before anything is said. `refresh` is called by the control loop only; what others read is guarded by the mutex.

import Bytes
import Glibc
import Logging
import Synchronization
import Telemetry
import Transport

/// The broker's side of TLS, and what its clients need when the certificates are its own.
final class BrokerCertificates: Sendable {
    let store: TLSContextStore
    /// Present when the broker minted them.
    let forClients: Broker.Certificates?
    /// Names of files that were made at the start, for the log.
    let minted: [String]
    /// What the server's certificate is for, if it is one of them.
    let mintedHosts: [String]
    private let options: TLSOptions
    private let hosts: [String]
    /// Of these, those that only a certificate with that name is good for.
    private let namedHosts: [String]
    /// Removed with the broker.
    private let temporaryDirectory: String?
    let clock: any Clock
    let seenClients = SeenClientCertificates()
    private let state: Mutex<State>

    /// How often changed files were read.
    struct Reloads: Sendable {
        var succeeded = 0
        var failed = 0
    }

    private struct State: Sendable {
        var stamps: [FileStamp?]
        /// The files must be read although their stamps are the same.
        var mustLookAgain = false
        /// They did not fit the last time, and nothing was said of it yet.
        var isInDoubt = false
        var problem: String?
        var reloads = Reloads()
        var expiryCheckedMs: Int64
        /// When something was said of certificates that expire soon, by kind and serial number.
        var toldMs: [String: Int64] = [:]
    }

    /// In order of preference. gRPC clients offer h2 alone and Kafka clients nothing; whoever offers both is curl or a
    /// browser and wants a page.
    private static let applicationProtocols = ["http/1.1", "h2"]

    init(_ configuration: Configuration, clock: any Clock) throws(BrokerError) {
        var options = TLSOptions(
            authorityFile: configuration.tls.authority, certificateFile: configuration.tls.certificate,
            keyFile: configuration.tls.key, applicationProtocols: Self.applicationProtocols)
        options.minimumVersion = configuration.tlsVersion == .tls12 ? .tls12 : .tls13
        options.revocationFile = configuration.tls.revocationLists
        hosts = Self.hosts(configuration)
        namedHosts = configuration.namedHosts
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
                mintedHosts = own.serverHosts
            } else {
                forClients = nil
                minted = []
                mintedHosts = []
            }
            let stamps = Self.stamps(options)
            store = TLSContextStore(try .server(options, clock: clock))
            state = Mutex(State(stamps: stamps, mustLookAgain: true, expiryCheckedMs: .min))
        } catch {
            throw BrokerError(error.message)
        }
        self.options = options
    }

    /// The last moment of the certificate in force, in milliseconds since the epoch.
    var expiryMs: Int64? { store.current.certificate?.notAfterMs }

    /// Why changed files cannot be used; nil if those in force are those on disk.
    var problem: String? { state.withLock { $0.problem } }
    var reloads: Reloads { state.withLock { $0.reloads } }

    /// Looks whether the files changed, must be renewed, or expire soon. `isAsked`: somebody wants to hear what became of it.
    /// Returns whether others are in force now.
    @discardableResult
    func refresh(logger: Logger, isAsked: Bool = false) -> Bool {
        let before = store.current
        let isDue = state.withLock { state in
            guard isAsked || clock.nowMs() - Limits.expiryCheckMs >= state.expiryCheckedMs else { return false }
            state.expiryCheckedMs = clock.nowMs()
            return true
        }
        if isDue { renew(logger: logger) }
        store.current.rotateTicketKeys()
        let found = Self.stamps(options)
        let mustRead = state.withLock { isAsked || $0.mustLookAgain || $0.stamps != found }
        if mustRead { read(found, logger, isAsked: isAsked) }
        if isDue || mustRead { warnOfExpiry(logger: logger) }
        return store.current !== before
    }

    private func read(_ found: [FileStamp?], _ logger: Logger, isAsked: Bool) {
        do {
            let new = try TLSContext.server(options, clock: clock)
            let isChange = !new.hasSameCertificates(as: store.current)
            if isChange {
                try refuseWorse(new)
                store.replace(with: new)
            }
            let isCured = state.withLock { state in
                state.stamps = found
                state.mustLookAgain = found.contains { $0?.isFresh(nowMs: SystemClock().nowMs()) ?? false }
                state.isInDoubt = false
                if isChange { state.reloads.succeeded += 1 }
                defer { state.problem = nil }
                return state.problem != nil
            }
            if isChange {
                logger.notice(
                    "certificates were read again, their files have changed",
                    metadata: ["expires": "\(Timestamp.iso8601(new.certificate?.notAfterMs ?? 0))"])
            } else if isCured || isAsked {
                logger.notice("the certificate files are those in force")
            }
        } catch {
            refuse(error, found, logger, isAsked: isAsked)
        }
    }

    private func refuse(_ error: TransportError, _ found: [FileStamp?], _ logger: Logger, isAsked: Bool) {
        let isTold = state.withLock { state in
            let isTold = isAsked || state.isInDoubt
            // What is not valid yet becomes so without a change of its file.
            state.mustLookAgain = !isTold || error.code == .notYetValid
            state.isInDoubt = !isTold
            state.stamps = found
            guard isTold, isAsked || state.problem != error.message else { return false }
            state.problem = error.message
            state.reloads.failed += 1
            return true
        }
        guard isTold else { return }
        logger.error("the certificates changed and cannot be used, the old ones stay in force: \(error.message)")
    }

    /// A certificate that clients would refuse does not replace one that is good.
    private func refuseWorse(_ new: TLSContext) throws(TransportError) {
        let nowMs = clock.nowMs()
        guard let certificate = new.certificate, let file = options.certificateFile, (expiryMs ?? 0) > nowMs else { return }
        if certificate.notAfterMs <= nowMs {
            throw TransportError(
                .invalidFile, "certificate \(file): it expired at \(Timestamp.iso8601(certificate.notAfterMs)); renew it")
        }
        if certificate.notBeforeMs > nowMs {
            throw TransportError(
                .notYetValid, "certificate \(file): it is not valid before \(Timestamp.iso8601(certificate.notBeforeMs)); "
                    + "if that is past, set this machine's clock right")
        }
        let old = store.current
        if let fault = new.trustFault(nowMs: nowMs), old.trustFault(nowMs: nowMs) == nil {
            throw TransportError(.invalidFile, fault)
        }
        let before = Set(old.faults(hosts: namedHosts, nowMs: nowMs).map(\.kind))
        let faults = new.faults(hosts: namedHosts, nowMs: nowMs)
        if let fault = faults.first(where: { $0.severity == .error && !before.contains($0.kind) }) {
            throw TransportError(.invalidFile, "\(fault.what); \(fault.next)")
        }
        if let intermediate = new.missingIntermediate(sentBy: old) {
            throw TransportError(
                .invalidFile, "certificate \(file): the intermediate CA (\(intermediate)) that was after the old one is missing; "
                    + "put it behind the certificate, into the same file")
        }
    }

    private func renew(logger: Logger) {
        guard let forClients, mustRenew(forClients) else { return }
        do {
            let own = try DevelopmentCertificates.ensure(directory: forClients.directory, extraHosts: hosts, clock: clock)
            if own.minted.isEmpty { return }
            logger.notice("certificates were renewed", metadata: ["files": "\(own.minted.joined(separator: " "))"])
        } catch {
            logger.error("certificates cannot be renewed: \(error.message)")
        }
    }

    /// Whether the broker's certificate, or the one it made for clients, is in the last third of its time. Files that
    /// cannot be used are left as they are while the broker runs: somebody may be about to replace them.
    private func mustRenew(_ forClients: Broker.Certificates) -> Bool {
        let server = store.current.certificate
        let isServerDue = server.map { $0.notAfterMs - clock.nowMs() <= ($0.notAfterMs - $0.notBeforeMs) / 3 } ?? false
        let files = DevelopmentCertificates(directory: forClients.directory)
        return isServerDue || ((try? files.isDue("client", clock: clock)) ?? false)
    }

    /// Those of `near` of which nothing was said for a day, noted as said.
    func takeUntold(_ near: [CertificateExpiry], nowMs: Int64) -> [CertificateExpiry] {
        state.withLock { state in
            state.toldMs = state.toldMs.filter { $0.value > nowMs - Limits.expiryToldMs }
            return near.filter { expiry in
                state.toldMs.updateValue(
                    state.toldMs["\(expiry.kind) \(expiry.serial)"] ?? nowMs, forKey: "\(expiry.kind) \(expiry.serial)") == nil
            }
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
