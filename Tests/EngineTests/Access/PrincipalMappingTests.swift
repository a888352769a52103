// SPDX-License-Identifier: Apache-2.0
// Martlet, tests: `ssl.principal.mapping.rules` mean what they mean in Kafka, and which name of a certificate they are
// given.

import Testing

@testable import Engine

@Suite struct PrincipalMappingTests {
    private static let duke = "CN=Duke,OU=ServiceUsers,O=Org,C=US"

    @Test(arguments: [
        ("DEFAULT", duke, duke),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/", duke, "Duke"),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/L", duke, "duke"),
        ("RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/U", duke, "DUKE"),
        ("RULE:^CN=(.*?),OU=(.*?),O=(.*?),C=(.*?)$/$1@$2/L", duke, "duke@serviceusers"),
        ("RULE:^CN=x$/y/, DEFAULT", duke, duke),
        ("  RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L ,,DEFAULT,", duke, "duke"),
        ("RULE:^CN=(?<who>[^,]*).*$/${who}!/", duke, "Duke!"),
        // The first that matches decides, also if a later one would fit better.
        ("RULE:.*Duke.*/first/,RULE:^CN=Duke,.*$/second/", duke, "first"),
        // $4 is not there: text. $12 is $1 and a 2, since there is one group.
        ("RULE:^CN=(.*?),.*$/$1@$4/", duke, "Duke@$4"),
        ("RULE:^CN=(.*?),.*$/$12/", duke, "Duke2"),
        ("RULE:^CN=(.*?),.*$/\\$1\\/$1/", duke, "$1/Duke"),
        // All of the name must match, then every match within it is replaced: an empty one at the end too.
        ("RULE:.*/x/", duke, "xx"),
        ("RULE:^.*$/x/", duke, "x"),
        ("RULE:(a|ab)(c?)/<$1$2>/", "ab", "<a>b"),
        ("RULE:^CN=(.*)\\/(.*),.*$/$2/", "CN=a/b,O=c", "b"),
        ("RULE:^CN=(a)?(b)?.*$/[$1$2]/", "CN=b", "[b]"),
    ])
    func aNameIsMappedAsByKafka(rules: String, name: String, principal: String) throws {
        let mapping = try PrincipalMapping(rules: rules)
        #expect(try mapping.principal(of: CertificateNames(subject: name)) == "User:" + principal)
    }

    @Test(arguments: ["RULE:^CN=x$/y/", "RULE:CN=Duke/part/", "", "RULE:^.*$//"])
    func whomNoRuleNamesIsNobody(rules: String) throws {
        let mapping = try PrincipalMapping(rules: rules)
        #expect(throws: PrincipalMapping.Nobody.self) { try mapping.principal(of: CertificateNames(subject: Self.duke)) }
    }

    @Test(arguments: [
        "default", "DEFAULTS", "RULE:a", "RULE:a/b", "RULE:a/b/X", "RULE:a/b/LU", "RULE:a/b/ DEFAULT", "RULE:(/b/", "a",
        "RULE:(?=a)b/c/", "RULE:(a)\\1/c/", "RULE:a/$1/", "RULE:(a)/$/", "RULE:(a)/${x}/",
        String(repeating: "DEFAULT,", count: 65),
    ])
    func rulesThatAreNoneAreRefusedAtTheStart(rules: String) {
        #expect(throws: PrincipalMapping.Invalid.self) { try PrincipalMapping(rules: rules) }
    }

    @Test func aPatternThatWouldMakeABacktrackingMatcherHangTakesLinearTime() throws {
        let mapping = try PrincipalMapping(rules: "RULE:^(a*)*(a*)*(a*)*b$/$1/,RULE:^(a|a)*$/many/")
        let name = String(repeating: "a", count: PrincipalMapping.nameBytesMax)
        #expect(try mapping.principal(of: CertificateNames(subject: name)) == "User:many")
        #expect(throws: PrincipalMapping.Nobody.self) { try mapping.principal(of: CertificateNames(subject: name + "a")) }
    }

    @Test func theFirstKindOfNameThatACertificateHasCounts() throws {
        var names = CertificateNames(
            subject: "CN=web,O=x", commonName: "web", uris: ["spiffe://example.org/web"], hosts: ["web.example.org", "b"],
            emails: ["web@example.org"])
        func name(_ sources: CertificateNameKind..., rules: String = "DEFAULT") throws -> String {
            try PrincipalMapping(sources: sources, rules: rules).principal(of: names)
        }
        #expect(try name(.subject) == "User:CN=web,O=x")
        #expect(try name(.cn) == "User:web")
        #expect(try name(.spiffe, .cn) == "User:spiffe://example.org/web")
        #expect(try name(.uri) == "User:spiffe://example.org/web")
        #expect(try name(.dns) == "User:web.example.org")
        #expect(try name(.email) == "User:web@example.org")
        #expect(try name(.spiffe, rules: "RULE:^spiffe:\\/\\/example.org\\/(.*)$/$1/") == "User:web")
        // Two URIs are no SPIFFE identity, and neither is another scheme.
        names.uris = ["spiffe://example.org/web", "https://example.org"]
        #expect(try name(.spiffe, .cn) == "User:web")
        names.uris = ["https://example.org"]
        #expect(throws: PrincipalMapping.Nobody.self) { try name(.spiffe) }
    }
}
