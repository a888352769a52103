// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a certificate chain and its key, read from files.
//
// Read and checked before the TLS library sees them, so that a mistake is named by its file and in
// words a person understands. A value; nothing is kept open.

/// A certificate chain and the key that belongs to its first certificate.
struct TLSIdentity {
    var certificates: [X509Certificate]
    var key: PrivateKey
    var certificateFile: String

    /// Reads what `options` name; nil if they name neither certificate nor key.
    static func load(_ options: TLSOptions) throws(TransportError) -> TLSIdentity? {
        guard let certificateFile = options.certificateFile, let keyFile = options.keyFile else {
            if options.certificateFile == nil, options.keyFile == nil { return nil }
            throw TransportError(
                .invalidOptions, "a certificate and a key go together; name both files")
        }
        let certificates = try certificates(in: certificateFile, what: "certificate")
        let key = try key(in: keyFile)
        guard certificates[0].matches(key) else {
            if let own = certificates.first(where: { $0.matches(key) }) {
                throw TransportError(
                    .keyMismatch,
                    "certificate \(certificateFile): it begins with \(certificates[0].summary.subject), and the one that private key "
                        + "\(keyFile) belongs to (\(own.summary.subject)) is further down; put that first, then those of the CAs")
            }
            throw TransportError(
                .keyMismatch,
                "private key \(keyFile) does not belong to certificate \(certificateFile) "
                    + "(\(certificates[0].summary.subject)); use the pair that was made together")
        }
        return TLSIdentity(certificates: certificates, key: key, certificateFile: certificateFile)
    }

    /// The certificates of a PEM file, at least one.
    static func certificates(
        in file: String, what: String
    ) throws(TransportError) -> [X509Certificate] {
        let content = try PrivateFile.read(file, what: what)
        guard let certificates = X509Certificate.parse(pem: content) else {
            throw TransportError(
                .invalidFile,
                "\(what) \(file): a damaged certificate in it; copy or mint the file again")
        }
        guard !certificates.isEmpty else {
            let wrong = WrongFile(content, file, wanted: .certificate)
            throw TransportError(.invalidFile, "\(what) \(file): \(wrong.found); \(wrong.next)")
        }
        return certificates
    }

    /// Whether it is a file with a private key in it, good or not.
    static func holdsKey(_ file: String) -> Bool {
        guard let content = try? PrivateFile.read(file, what: "private key") else { return true }
        return WrongFile.hasKey(content)
    }

    static func key(in file: String) throws(TransportError) -> PrivateKey {
        let content = try PrivateFile.read(file, what: "private key")
        if let key = PrivateKey.parse(pem: content) { return key }
        let wrong = WrongFile(content, file, wanted: .key)
        throw TransportError(.invalidFile, "private key \(file): \(wrong.found); \(wrong.next)")
    }
}
