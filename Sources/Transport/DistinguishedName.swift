// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: a certificate's name as Kafka prints it.
//
// Kafka's default principal is Java's `X500Principal.getName()`: RFC 2253, the most specific part
// first, the nine keywords of RFC 2253 section 2.3, any other attribute as its OID and the
// hexadecimal DER of its value. Java also escapes `=` and `#` anywhere; ACLs written for a Kafka
// cluster must match here, so this does too. Control characters are escaped as `\0A`, unlike in
// Java, because principals end up in log lines.

import COpenSSL

/// An X509_NAME in RFC 2253 form. The name is only read during the call.
func distinguishedName(_ name: OpaquePointer?) -> String {
    var parts: [(set: Int32, text: String)] = []
    // SAFETY: entries are borrowed from `name`, which the caller keeps alive; the index is within
    // the count.
    for index in unsafe 0..<X509_NAME_entry_count(name) {
        guard let entry = unsafe X509_NAME_get_entry(name, index) else { continue }
        unsafe parts.append((X509_NAME_ENTRY_set(entry), attribute(entry)))
    }
    return join(parts)
}

/// The last common name, as it is but for control characters; nil if there is none.
func commonName(of name: OpaquePointer?) -> String? {
    // SAFETY: as above; -1 begins the search, and its result is an index within the count.
    var found: String?
    var index = unsafe X509_NAME_get_index_by_NID(name, NID_commonName, -1)
    while index >= 0 {
        let value = unsafe X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index))
        found = unsafe text(of: value) ?? found
        index = unsafe X509_NAME_get_index_by_NID(name, NID_commonName, index)
    }
    return found.map(withoutControls)
}

/// Control characters as `\0A`: names of certificates become principals, and those are written to logs.
func withoutControls(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var escaped = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        if isControl(scalar) { escaped += controlEscape(scalar) } else { escaped.append(scalar) }
    }
    return String(escaped)
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool { scalar.value < 0x20 || scalar.value == 0x7f }

private func controlEscape(_ scalar: Unicode.Scalar) -> String.UnicodeScalarView {
    ("\\" + hexadecimal(UInt8(scalar.value))).uppercased().unicodeScalars
}

/// Attributes of one set (a multi-valued part) are joined by `+`, sets by `,` from last to first.
private func join(_ parts: [(set: Int32, text: String)]) -> String {
    var sets: [String] = []
    var last: Int32?
    for part in parts {
        if part.set == last, let text = sets.popLast() {
            sets.append(text + "+" + part.text)
        } else {
            sets.append(part.text)
        }
        last = part.set
    }
    return sets.reversed().joined(separator: ",")
}

private let keywords: [String: String] = [
    "2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU", "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
]

private func attribute(_ entry: OpaquePointer) -> String {
    // SAFETY: type and value are borrowed from `entry`, which the caller keeps alive.
    let type = unsafe objectIdentifier(X509_NAME_ENTRY_get_object(entry))
    let value = unsafe X509_NAME_ENTRY_get_data(entry)
    if let keyword = keywords[type], let text = unsafe text(of: value) {
        return keyword + "=" + escape(text)
    }
    return unsafe type + "=#" + encoding(of: value).map(hexadecimal).joined()
}

private func objectIdentifier(_ object: OpaquePointer?) -> String {
    var text = [CChar](repeating: 0, count: 128)
    // SAFETY: at most `text.count` bytes are written, the last of them a zero.
    _ = unsafe OBJ_obj2txt(&text, Int32(text.count), object, 1)
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// The value of a string type as text; nil for what is no string.
private func text(of value: UnsafeMutablePointer<ASN1_STRING>?) -> String? {
    // SAFETY: the UTF-8 bytes are a new allocation of `count` bytes, copied and then freed.
    switch unsafe ASN1_STRING_type(value) {
    case V_ASN1_PRINTABLESTRING, V_ASN1_UTF8STRING, V_ASN1_IA5STRING, V_ASN1_T61STRING,
        V_ASN1_BMPSTRING, V_ASN1_GENERALSTRING:
        break
    default: return nil
    }
    var start: UnsafeMutablePointer<UInt8>?
    let count = unsafe ASN1_STRING_to_UTF8(&start, value)
    guard count >= 0, let start = unsafe start else {
        ERR_clear_error()
        return nil
    }
    defer { unsafe CRYPTO_free(start, nil, 0) }
    return unsafe String(
        decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
}

/// The DER of a value.
private func encoding(of value: UnsafeMutablePointer<ASN1_STRING>?) -> [UInt8] {
    // SAFETY: the bytes are borrowed from the value and copied within its length.
    let (type, bytes) = unsafe (
        ASN1_STRING_type(value),
        Array(
            UnsafeBufferPointer(
                start: ASN1_STRING_get0_data(value), count: Int(ASN1_STRING_length(value))))
    )
    // OpenSSL keeps the whole encoding of constructed values, and the content alone of all others.
    if type == V_ASN1_SEQUENCE || type == V_ASN1_SET || type == V_ASN1_OTHER { return bytes }
    return [UInt8(truncatingIfNeeded: type)] + lengthOctets(bytes.count) + bytes
}

/// DER length octets (X.690 section 8.1.3).
private func lengthOctets(_ length: Int) -> [UInt8] {
    if length < 0x80 { return [UInt8(length)] }
    var octets: [UInt8] = []
    var rest = length
    while rest > 0 {
        octets.insert(UInt8(rest & 0xff), at: 0)
        rest >>= 8
    }
    return [0x80 | UInt8(octets.count)] + octets
}

private func escape(_ text: String) -> String {
    let scalars = Array(text.unicodeScalars)
    let isSpace = { (scalar: Unicode.Scalar) in scalar == " " }
    let leading = scalars.prefix(while: isSpace).count
    let trailing = leading == scalars.count ? 0 : scalars.reversed().prefix(while: isSpace).count
    var escaped = String.UnicodeScalarView()
    for (index, scalar) in scalars.enumerated() {
        if isControl(scalar) {
            escaped += controlEscape(scalar)
            continue
        }
        let isOuter = index < leading || index >= scalars.count - trailing
        if isOuter || ",=+<>#;\"\\".unicodeScalars.contains(scalar) { escaped.append("\\") }
        escaped.append(scalar)
    }
    return String(escaped)
}
