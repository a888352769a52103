// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the CA and the certificates that the first start mints.
//
// Six files in one directory. What is there and good is left alone; what is missing or soon expires
// is made anew. A damaged CA is an error, because replacing it would lock out every client that
// trusts it; a damaged server or client certificate is replaced. Certificate and key are two files:
// the key is written first, and a pair that does not match (a start that was cut short) counts as
// missing. A server certificate that is made anew keeps the names of the one before: one broker may
// be known by another name than the last one that was started here. Files are replaced whole, but not synced: a power cut at worst makes the next start mint
// again. A lock on the directory keeps two starts apart.

import Bytes
import Glibc

/// Paths of the development certificates.
package struct DevelopmentCertificates: Sendable, Equatable {
    package let directory: String
    /// Names of the files that were made just now.
    package private(set) var minted: [String] = []
    /// The names and addresses of a server's certificate that was made just now; the first ones were asked for.
    package private(set) var serverHosts: [String] = []
    /// Of these, those that only the certificate before it had.
    package private(set) var keptHosts: [String] = []

    package var authorityFile: String { directory + "/ca.pem" }
    package var authorityKeyFile: String { directory + "/ca.key" }
    package var serverCertificateFile: String { directory + "/server.pem" }
    package var serverKeyFile: String { directory + "/server.key" }
    package var clientCertificateFile: String { directory + "/client.pem" }
    package var clientKeyFile: String { directory + "/client.key" }

    /// A CA that expires sooner than this is made anew; other certificates in the last third of their time.
    static let authorityRenewalMs: Int64 = 7 * 86_400_000

    /// Names and addresses of a server's certificate; beyond it, names of the one before are dropped.
    static let hostsMax = 64

    /// A CA certificate, and the CA itself if its key is here.
    private struct Authority {
        var certificate: X509Certificate
        var signer: CertificateAuthority?
    }

    /// Where the files are, whether or not they exist.
    package init(directory: String) {
        var path = directory
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        self.directory = path
    }

    /// Makes what is missing or soon expires. The server's certificate is for `localhost`, the
    /// loopback addresses, this machine's name and `extraHosts`.
    package static func ensure(
        directory: String, extraHosts: [String] = [], clientName: String = "client",
        clock: any Clock = SystemClock()
    ) throws(TransportError) -> DevelopmentCertificates {
        var certificates = DevelopmentCertificates(directory: directory)
        try PrivateFile.makeDirectories(certificates.directory)
        let lock = try DirectoryLock(certificates.directory)
        defer { lock.unlock() }
        let authority = try certificates.ensureAuthority(clock)
        try certificates.ensureServer(authority, extraHosts, clock)
        try certificates.ensureClient(authority, clientName, clock)
        return certificates
    }

    /// Writes a certificate and its key as `<name>.pem` and `<name>.key`, the key with mode 0600.
    package func write(_ certificate: MintedCertificate, name: String) throws(TransportError) {
        try PrivateFile.write(certificate.keyPEM, to: "\(directory)/\(name).key", mode: 0o600)
        try PrivateFile.write(
            certificate.certificatePEM, to: "\(directory)/\(name).pem", mode: 0o644)
    }

    /// Writes certificate, key and CA as `<name>.p12`, mode 0600. Without a password it makes one and writes it to
    /// `<name>.p12.password`, mode 0600.
    package func writePKCS12(
        _ certificate: MintedCertificate, name: String, password: String?
    ) throws(TransportError) {
        let secret = if let password { password } else { try PKCS12File.newPassword() }
        if password == nil {
            try PrivateFile.write(Array(secret.utf8), to: "\(directory)/\(name).p12.password", mode: 0o600)
        }
        let authority = try PrivateFile.read(authorityFile, what: "CA certificate")
        let file = try PKCS12File.make(certificate, chain: authority, name: name, password: secret)
        try PrivateFile.write(file, to: "\(directory)/\(name).p12", mode: 0o600)
    }

    private mutating func ensureAuthority(_ clock: any Clock) throws(TransportError) -> Authority {
        if try Self.hasContent(authorityFile) {
            let existing = try TLSIdentity.certificates(in: authorityFile, what: "CA certificate")[
                0]
            if existing.notAfterMs - Self.authorityRenewalMs > clock.nowMs() {
                return Authority(certificate: existing, signer: try loadSigner())
            }
        }
        let signer = try CertificateAuthority.mint(clock: clock)
        try write(signer.minted, name: "ca")
        minted += ["ca.key", "ca.pem"]
        return Authority(certificate: signer.certificate, signer: signer)
    }

    /// The CA with its key; nil if the key is kept elsewhere, which is fine until something must be
    /// signed.
    private func loadSigner() throws(TransportError) -> CertificateAuthority? {
        guard try Self.hasContent(authorityKeyFile) else { return nil }
        return try CertificateAuthority.load(
            certificateFile: authorityFile, keyFile: authorityKeyFile)
    }

    private func signer(_ authority: Authority) throws(TransportError) -> CertificateAuthority {
        if let signer = authority.signer { return signer }
        throw TransportError(
            .notFound,
            "private key \(authorityKeyFile): missing, and a certificate must be signed; "
                + "put it back, name your own certificates in the configuration, "
                + "or remove \(authorityFile) to mint a new CA"
        )
    }

    private mutating func ensureServer(
        _ authority: Authority, _ extraHosts: [String], _ clock: any Clock
    ) throws(TransportError) {
        var hosts = ["localhost", "127.0.0.1", "::1"]
        for host in ([machineName()] + extraHosts).map(canonicalHost)
        where !host.isEmpty && !hosts.contains(host) {
            hosts.append(host)
        }
        let before = try? TLSIdentity.certificates(in: serverCertificateFile, what: "certificate").first?.summary.hosts
        let kept = (before ?? []).filter { !hosts.contains($0) && (isNumericAddress($0) || isHostName($0)) }.prefix(max(0, Self.hostsMax - hosts.count))
        if let existing = Self.usable("server", in: directory, below: authority, clock) {
            let covered = existing.summary.alternativeNames
            if hosts.allSatisfy({ covered.contains(isNumericAddress($0) ? .address($0) : .dns($0)) }
            ) {
                return
            }
        }
        try write(signer(authority).mintServer(hosts: hosts + kept, clock: clock), name: "server")
        minted += ["server.key", "server.pem"]
        (serverHosts, keptHosts) = (hosts + kept, Array(kept))
    }

    private mutating func ensureClient(
        _ authority: Authority, _ commonName: String, _ clock: any Clock
    ) throws(TransportError) {
        guard Self.usable("client", in: directory, below: authority, clock) == nil else { return }
        try write(
            signer(authority).mintClient(commonName: commonName, clock: clock), name: "client")
        minted += ["client.key", "client.pem"]
    }

    /// The certificate `<name>.pem`, if it is readable, fresh, signed by the CA and matched by its
    /// key.
    private static func usable(
        _ name: String, in directory: String, below authority: Authority, _ clock: any Clock
    ) -> X509Certificate? {
        let options = TLSOptions(
            certificateFile: "\(directory)/\(name).pem", keyFile: "\(directory)/\(name).key")
        // Whatever is wrong with the files, the answer is to mint them again.
        guard let certificate = (try? TLSIdentity.load(options))?.certificates.first,
            isFresh(certificate, clock), certificate.isSigned(by: authority.certificate)
        else { return nil }
        return certificate
    }

    static func isFresh(_ certificate: X509Certificate, _ clock: any Clock) -> Bool {
        let remainingMs = certificate.notAfterMs - clock.nowMs()
        return remainingMs > (certificate.notAfterMs - certificate.notBeforeMs) / 3
    }

    /// Whether the file is there and not empty (an empty one is what a power cut leaves).
    private static func hasContent(_ path: String) throws(TransportError) -> Bool {
        guard PrivateFile.exists(path) else { return false }
        return try !PrivateFile.read(path, what: "certificate or key").isEmpty
    }
}

/// This machine's own name, empty if it has none that fits into a certificate.
private func machineName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    // SAFETY: the last byte stays zero whatever is written.
    guard unsafe gethostname(&name, name.count - 1) == 0 else { return "" }
    let text = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return isHostName(text) ? text : ""
}

/// An exclusive lock on a directory, given back at the latest when the process ends.
private struct DirectoryLock {
    private let descriptor: Int32

    init(_ path: String) throws(TransportError) {
        // SAFETY: the path is borrowed for the call.
        descriptor = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TransportError(
                .inputOutput, "cannot open the directory \(path): \(reason(errno))", errno: errno)
        }
        while flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
    }

    func unlock() {
        close(descriptor)
    }
}
