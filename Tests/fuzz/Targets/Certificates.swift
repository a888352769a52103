// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: certificates and keys as PEM text or as DER, and what is read from them.
//
//   a byte of choices (0: PEM text; 1: DER of a certificate; 2: DER of a name; 3: a revocation list), then the bytes
//
// Properties: reading the same certificate twice gives the same; a distinguished name holds no raw
// control characters, because it goes into logs and rules.

import COpenSSL
import NIOCore

@testable import Transport

@Sendable func fuzzCertificates(_ input: ByteBuffer) throws {
    var bytes = input
    switch bytes.choice() % 4 {
    case 0:
        try check(X509Certificate.parse(pem: bytes.array))
        // Decoding a key runs the library's whole decoder chain.
        if bytes.readableBytes < 1024 { _ = PrivateKey.parse(pem: bytes.array) }
    case 1:
        try check(X509Certificate.parse(pem: pem("CERTIFICATE", bytes)))
    case 2:
        try checkName(bytes.array)
    default:
        _ = RevocationList.parse(pem: bytes.array)
        _ = RevocationList.parse(pem: pem("X509 CRL", bytes))
    }
}

private func check(_ certificates: [X509Certificate]?) throws {
    for certificate in certificates ?? [] {
        let summary = certificate.summary
        try require(summary == certificate.summary, "a certificate reads differently the second time")
        try checkText(summary.subject)
        try checkText(summary.issuer)
        try checkText(summary.commonName ?? "")
        for name in summary.alternativeNames {
            switch name {
            case .dns(let text), .address(let text), .uri(let text), .email(let text): try checkText(text)
            }
        }
        _ = certificate.isSigned(by: certificate)
        let again = X509Certificate.parse(pem: certificate.pem)
        try require(again?.first?.summary == summary, "a certificate changes when it is written")
    }
}

private func checkName(_ der: [UInt8]) throws {
    // SAFETY: the library reads within `der`'s length; the name is freed here.
    let name = unsafe der.withUnsafeBufferPointer { bytes in
        var start = bytes.baseAddress
        return unsafe d2i_X509_NAME(nil, &start, bytes.count)
    }
    guard let name = unsafe name else { return ERR_clear_error() }
    defer { unsafe X509_NAME_free(name) }
    try checkText(unsafe distinguishedName(name))
}

private func checkText(_ name: String) throws {
    try require(
        name.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f },
        "a distinguished name holds a control character")
}

/// DER between the lines that PEM wants around it.
private func pem(_ label: String, _ der: ByteBuffer) -> [UInt8] {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var text = Array("-----BEGIN \(label)-----\n".utf8)
    var rest = der.array[...]
    var column = 0
    while !rest.isEmpty {
        let group = Array(rest.prefix(3))
        rest = rest.dropFirst(3)
        let word = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
        for place in 0..<4 {
            text.append(
                place <= group.count ? alphabet[word >> (18 - 6 * place) & 63] : UInt8(ascii: "="))
        }
        column += 4
        if column % 64 == 0 { text.append(UInt8(ascii: "\n")) }
    }
    return text + Array("\n-----END \(label)-----\n".utf8)
}
