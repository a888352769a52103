// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: subjects as other tools print them.

import Testing

@testable import Engine

@Suite struct SubjectSpellingTests {
    @Test("how other tools print a subject is corrected", arguments: [
        ("CN=ann, O=Example", "CN=ann,O=Example"),
        ("CN = ann", "CN=ann"),
        ("O = Example, CN = ann", "CN=ann,O=Example"),
        ("C = DE, O = Example, OU = A, CN = ann", "CN=ann,OU=A,O=Example,C=DE"),
        ("/O=Example/CN=ann", "CN=ann,O=Example"),
        ("/CN=ann", "CN=ann"),
        ("cn=ann", "CN=ann"),
        (#"CN=ann, O=Example\, Inc."#, #"CN=ann,O=Example\, Inc."#),
        (#"CN=ann\ , O=Example"#, #"CN=ann\ ,O=Example"#),
        (#"CN=a\\, O=Example"#, #"CN=a\\,O=Example"#),
    ])
    func corrected(_ written: String, _ meant: String) {
        #expect(SubjectSpelling.corrected(written) == meant)
        #expect(SubjectSpelling.corrected(meant) == nil)
    }

    @Test("what is spelled as Kafka has it, and what is no subject, is left alone", arguments: [
        "CN=ann", "CN=ann,O=Example", "O=Example,CN=ann", #"CN=ann,O=Example\, Inc."#, "1.2.840.113549.1.9.1=#1603616263,CN=ann",
        "ann", "", "*", "/", "spiffe://example.org/ns/a=b", "ann, bob", "key=", "=value", "/a=b", "uid=ann, dc=example", "https://example.org/?a=b",
    ])
    func alone(_ name: String) {
        #expect(SubjectSpelling.corrected(name) == nil)
    }
}
