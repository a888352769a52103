// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: owner of one revocation list (CRL), and how they are read from a file.
//
// What a list says is judged by the TLS library while it verifies a chain: signature, issuer and dates too. Read once
// with the other files of a `TLSContext` and never changed.

import COpenSSL

/// What a revocation list says of itself.
package struct RevocationListSummary: Equatable, Sendable {
    /// The CA whose certificates it is about.
    package var issuer: String
    package var issuedMs: Int64
    /// From then on nobody whose certificate it is about is let in; nil: never.
    package var nextMs: Int64?

    package init(issuer: String, issuedMs: Int64, nextMs: Int64?) {
        self.issuer = issuer
        self.issuedMs = issuedMs
        self.nextMs = nextMs
    }

    /// Of each list in a PEM file.
    package static func read(_ file: String) throws(TransportError) -> [RevocationListSummary] {
        try RevocationList.load(file).lists.map(\.summary)
    }
}

/// One list of certificates that their CA has taken back.
@safe final class RevocationList {
    let pointer: OpaquePointer

    /// Takes over one reference.
    private init(taking pointer: OpaquePointer) {
        unsafe self.pointer = pointer
    }

    deinit {
        // SAFETY: `pointer` is a live X509_CRL of which this object owns exactly one reference.
        unsafe X509_CRL_free(pointer)
    }

    var summary: RevocationListSummary {
        // SAFETY: get0 results live as long as the list and are only read.
        unsafe RevocationListSummary(
            issuer: issuer,
            issuedMs: milliseconds(of: X509_CRL_get0_lastUpdate(pointer)),
            nextMs: X509_CRL_get0_nextUpdate(pointer).map { unsafe milliseconds(of: $0) })
    }

    /// Of whom it is, as certificates name their issuer.
    var issuer: String {
        // SAFETY: the name lives as long as the list and is only read.
        unsafe distinguishedName(X509_CRL_get_issuer(pointer))
    }

    /// Whether the certificate of this number (hexadecimal) is on it.
    func has(serial: String) -> Bool {
        let digits = Array(serial.utf8)
        let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(decoding: digits[$0...$0 + 1], as: UTF8.self), radix: 16)
        }
        // SAFETY: the number is private to the call and freed; its bytes are copied. The library sorts the list at the first
        // look-up, under a lock of its own; the entry that it finds is borrowed and not used.
        guard let number = unsafe ASN1_INTEGER_new() else { return false }
        defer { unsafe ASN1_INTEGER_free(number) }
        guard unsafe ASN1_STRING_set(number, bytes, Int32(bytes.count)) == 1 else { return false }
        var entry: OpaquePointer?
        // 2 is an entry that takes an earlier one back (removeFromCRL).
        return unsafe X509_CRL_get0_by_serial(pointer, &entry, number) == 1
    }

    /// The lists of a PEM file, at least one, and its text.
    static func load(_ file: String) throws(TransportError) -> (text: [UInt8], lists: [RevocationList]) {
        let content = try PrivateFile.read(file, what: "revocation list")
        guard let lists = parse(pem: content) else {
            throw TransportError(
                .invalidFile, "revocation list \(file): a damaged list in it; copy or make the file again")
        }
        guard !lists.isEmpty else {
            throw TransportError(
                .invalidFile,
                "revocation list \(file): no list in it; it must be PEM, with -----BEGIN X509 CRL-----")
        }
        return (content, lists)
    }

    /// All lists of a PEM text; text between them is skipped. Nil if one is damaged.
    static func parse(pem: [UInt8]) -> [RevocationList]? {
        // SAFETY: the memory BIO reads `pem` in place and is freed before the closure returns; each
        // list read is a new reference that is handed to its owner.
        unsafe pem.withUnsafeBytes { bytes in
            guard let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count))
            else { return nil }
            defer { unsafe BIO_free_all(bio) }
            var lists: [RevocationList] = []
            while let list = unsafe PEM_read_bio_X509_CRL(bio, nil, nil, nil) {
                unsafe lists.append(RevocationList(taking: list))
            }
            let error = ERR_peek_last_error()
            ERR_clear_error()
            // "No start line" is how the end of the text is reported.
            return ERR_GET_REASON(error) == PEM_R_NO_START_LINE ? lists : nil
        }
    }
}
