// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: new certificates in the place of those that were issued in a directory.
//
// A successor has the same common name, the same names and addresses, the same use and the same length of life, and a new
// key. Only what this directory's CA has signed is touched.

import Bytes
import Glibc

extension DevelopmentCertificates {
    /// Whether files can be named after it, in this directory and nowhere else.
    package static func isFileName(_ name: String) -> Bool {
        guard let first = name.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "-") else { return false }
        return isPrintable(name) && !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }
    }

    /// Names of the certificates below the CA in this directory, sorted: `server` for server.pem and server.key.
    package func issuedNames() throws(TransportError) -> [String] {
        let authority = try TLSIdentity.certificates(in: authorityFile, what: "CA certificate")[0]
        return try fileNames().filter { $0.hasSuffix(".pem") && $0 != "ca.pem" }.map { String($0.dropLast(4)) }.sorted()
            .filter { name in
                guard PrivateFile.exists("\(directory)/\(name).key"),
                    // What cannot be read was not issued here.
                    let certificates = try? TLSIdentity.certificates(in: "\(directory)/\(name).pem", what: "certificate")
                else { return false }
                return certificates[0].isSigned(by: authority)
            }
    }

    /// Whether it is time: a third of its life is left, or less.
    package func isDue(_ name: String, clock: any Clock = SystemClock()) throws(TransportError) -> Bool {
        let certificate = try TLSIdentity.certificates(in: "\(directory)/\(name).pem", what: "certificate")[0]
        return !Self.isFresh(certificate, clock)
    }

    /// Replaces one certificate and its key.
    package func renew(_ name: String, clock: any Clock = SystemClock()) throws(TransportError) -> MintedCertificate {
        let signer = try CertificateAuthority.load(certificateFile: authorityFile, keyFile: authorityKeyFile)
        let old = try TLSIdentity.certificates(in: "\(directory)/\(name).pem", what: "certificate")[0]
        let summary = old.summary
        let lifeMs = old.notAfterMs - old.notBeforeMs - CertificateAuthority.Validity.backdatedSeconds * 1000
        let days = max(1, Int((lifeMs + 43_200_000) / 86_400_000))
        let minted = old.usages.server && !summary.hosts.isEmpty
            ? try signer.mintServer(hosts: summary.hosts, days: days, clock: clock)
            : try signer.mintClient(commonName: old.commonName ?? name, days: days, clock: clock)
        try write(minted, name: name)
        return minted
    }

    /// Files of the directory that others may read and must not: the CA's key, all other keys, and passwords of PKCS #12 files.
    package func exposedSecrets() throws(TransportError) -> [CertificateFinding] {
        try fileNames().sorted().compactMap { name in
            guard name.hasSuffix(".key") || name.hasSuffix(".p12") || name.hasSuffix(".p12.password") else { return nil }
            let isAuthority = name == "ca.key"
            let what = isAuthority ? "the CA's private key" : name.hasSuffix(".key") ? "private key" : "secret"
            var finding = CertificateCheck.modeFinding("\(directory)/\(name)", what: what)
            // Whoever has it can be anybody.
            if isAuthority { finding?.severity = .error }
            return finding
        }
    }

    private func fileNames() throws(TransportError) -> [String] {
        // SAFETY: the stream is used by this function only and closed before it returns; an entry's name is a C string that
        // is copied before the next call.
        guard let stream = unsafe opendir(directory) else {
            throw TransportError(
                .notFound, "cannot read the directory \(directory): \(reason(errno)); `martlet certs init` makes it",
                errno: errno)
        }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { start in
                unsafe String(cString: UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self))
            }
            names.append(name)
        }
        return names
    }
}
