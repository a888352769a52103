// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: names as Kafka prints them.

import COpenSSL
import Testing

@testable import Transport

@Suite("A distinguished name")
struct DistinguishedNameTests {
    struct Part: Sendable {
        var type: String
        var value: String
        /// Belongs to the part before it.
        var isJoined = false
    }

    /// Expected texts follow the rules of Java's X500Principal.getName().
    static let names: [([Part], String)] = [
        ([], ""),
        ([Part(type: "CN", value: "client")], "CN=client"),
        (
            [
                Part(type: "C", value: "CH"), Part(type: "O", value: "Example"),
                Part(type: "OU", value: "Ops"),
                Part(type: "CN", value: "client"),
            ], "CN=client,OU=Ops,O=Example,C=CH"
        ),
        (
            [
                Part(type: "DC", value: "org"), Part(type: "DC", value: "example"),
                Part(type: "UID", value: "u1"),
                Part(type: "ST", value: "Bern"), Part(type: "L", value: "Thun"),
                Part(type: "street", value: "Way 1"),
            ], "STREET=Way 1,L=Thun,ST=Bern,UID=u1,DC=example,DC=org"
        ),
        (
            [
                Part(type: "O", value: "Example"), Part(type: "CN", value: "a"),
                Part(type: "OU", value: "b", isJoined: true),
            ],
            "CN=a+OU=b,O=Example"
        ),
        (
            [Part(type: "CN", value: "a,b+c\"d\\e<f>g;h=i#j")],
            "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h\\=i\\#j"
        ),
        ([Part(type: "CN", value: "  two  ")], "CN=\\ \\ two\\ \\ "),
        ([Part(type: "CN", value: " ")], "CN=\\ "),
        ([Part(type: "CN", value: "Zoë 火")], "CN=Zoë 火"),
        ([Part(type: "CN", value: "a\nb\u{7f}")], "CN=a\\0Ab\\7F"),
        (
            [Part(type: "emailAddress", value: "a@b")],
            "1.2.840.113549.1.9.1=#1603614062"
        ),
        ([Part(type: "title", value: "Dr")], "2.5.4.12=#0c024472"),
    ]

    @Test("is printed as Kafka prints it", arguments: names)
    func prints(parts: [Part], expected: String) {
        let name = unsafe X509_NAME_new()
        defer { unsafe X509_NAME_free(name) }
        for part in parts {
            let bytes = Array(part.value.utf8)
            let added = unsafe X509_NAME_add_entry_by_txt(
                name, part.type, MBSTRING_UTF8, bytes, Int32(bytes.count), -1,
                part.isJoined ? -1 : 0)
            #expect(added == 1, "\(part)")
        }
        #expect(unsafe distinguishedName(name) == expected)
    }

    @Test("prints a value longer than 127 bytes with DER's long length")
    func longValue() {
        let name = unsafe X509_NAME_new()
        defer { unsafe X509_NAME_free(name) }
        let bytes = Array(repeating: UInt8(ascii: "x"), count: 116) + Array("@example.org".utf8)
        let added = unsafe X509_NAME_add_entry_by_txt(
            name, "emailAddress", MBSTRING_UTF8, bytes, Int32(bytes.count), -1, 0)
        #expect(added == 1)
        #expect(unsafe distinguishedName(name).hasPrefix("1.2.840.113549.1.9.1=#168180787878"))
    }
}
