// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: what of YAML is read, and how the rest is refused.

import Testing

@testable import Martlet

@Suite struct YAMLDocumentTests {
    typealias Entry = YAMLDocument.Entry

    @Test(arguments: ["", "\n", "# only a comment\n", "---\n", "{}"])
    func `An empty document sets nothing`(text: String) throws {
        #expect(try YAMLDocument(text).entries.isEmpty)
    }

    @Test func `Keys keep their order and their lines`() throws {
        let document = try YAMLDocument("# head\ndata: /var/lib\n\nport: 9092 # the port\n")
        #expect(
            document.entries == [
                Entry(key: "data", values: ["/var/lib"], line: 2), Entry(key: "port", values: ["9092"], line: 4),
            ])
    }

    @Test func `Nested and dotted keys are the same`() throws {
        let nested = try YAMLDocument("log:\n  retention:\n    ms: 5\n").entries
        let flow = try YAMLDocument("\n\nlog: { retention.ms: 5 }").entries
        let dotted = try YAMLDocument("\n\nlog.retention.ms: 5").entries
        #expect(nested == dotted)
        #expect(flow == dotted)
    }

    @Test func `Lists hold several values`() throws {
        #expect(
            try YAMLDocument("listen:\n- 0.0.0.0:9092\n- '[::1]:9093'\n").entries
                == [Entry(key: "listen", values: ["0.0.0.0:9092", "[::1]:9093"], line: 1)])
    }

    @Test func `Quotes make text of anything`() throws {
        #expect(try YAMLDocument("data: \"null\"").entries == [Entry(key: "data", values: ["null"], line: 1)])
        #expect(try YAMLDocument("data: 'a: b # c'").entries == [Entry(key: "data", values: ["a: b # c"], line: 1)])
    }

    @Test(arguments: [
        ("data: a\nport: [1, 2\n", 3, "this is not YAML"),
        ("data: a\n\tport: 1\n", 2, "it is indented with a tab, which YAML does not allow; use spaces"),
        ("log:\n  \tretention.ms: 1\n", 2, "it is indented with a tab, which YAML does not allow; use spaces"),
        ("data: \"a\nport: 1\n", 3, "this is not YAML: found unexpected end of stream while scanning a quoted scalar that begins in line 1"),
        ("data: a\nport:\n", 2, "`port` has no value"),
        ("data: ~", 1, "`data` has no value"),
        ("data: a\nport: 1\ndata: b\n", 3, "`data` was set on line 1 already"),
        ("log.retention.ms: 1\nlog:\n  retention.ms: 2\n", 3, "`log.retention.ms` was set on line 1 already"),
        ("- a\n- b\n", 1, "settings are written as `key: value`"),
        ("just text", 1, "settings are written as `key: value`"),
        ("data: a\n---\ndata: b\n", 2, "only one document is read"),
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("listen:\n- {a: b}\n", 2, "the list `listen` may hold plain values only"),
        ("? [a, b]\n: c\n", 1, "a setting's key is a plain word"),
        ("{a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}}", 1, "not nested this deep"),
    ])
    func `What is no setting is refused with its line`(text: String, line: Int, message: String) throws {
        let problem = try #require(throws: YAMLDocument.Problem.self) { try YAMLDocument(text) }
        #expect(problem.line == line)
        #expect(problem.message.contains(message), "\(problem.message)")
    }

    @Test func `Random bytes are read or refused, never more`() {
        var generator = SplitMix(state: 7)
        var refused = 0
        for _ in 0..<2000 {
            let alphabet = Array("ab:-[]{}#&*!|>'\"%@`,? \n\t~0.é".unicodeScalars)
            var text = ""
            for _ in 0..<Int.random(in: 0..<40, using: &generator) {
                text.unicodeScalars.append(alphabet.randomElement(using: &generator) ?? " ")
            }
            if (try? YAMLDocument(text)) == nil { refused += 1 }
        }
        #expect((1..<2000).contains(refused))
    }
}

/// A small deterministic generator for tests.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
