// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: regular expressions over topic names.

import Testing

@testable import Engine

@Suite struct TopicPatternTests {
    private static let cases: [(pattern: String, matching: [String], other: [String])] = [
        ("orders", ["orders"], ["orders2", "my-orders", "order", ""]),
        ("^orders.*", ["orders", "orders-eu"], ["my-orders"]),
        ("^topic-[0-9]+$", ["topic-1", "topic-42"], ["topic-", "topic-x", "topic-1x"]),
        ("a|b|cd", ["a", "b", "cd"], ["c", "ab"]),
        ("(a|b)*c", ["c", "abac"], ["abd"]),
        ("a?b+", ["b", "abb"], ["a", "aab"]),
        ("x{2}", ["xx"], ["x", "xxx"]),
        ("x{2,}", ["xx", "xxxx"], ["x"]),
        ("x{1,3}?y", ["xy", "xxxy"], ["y", "xxxxy"]),
        ("x{,3}", ["x{,3}"], ["x"]),
        ("[^a-c]+", ["xyz"], ["xaz"]),
        ("[]a]+", ["]a"], ["b"]),
        ("[a\\-z]+", ["a-z"], ["b"]),
        ("[[:alpha:]_]+", ["ab_C"], ["a1"]),
        ("[[:^digit:]]+", ["ab"], ["a1"]),
        ("\\d{3}\\.\\w+", ["123.a_b"], ["12.a", "1234a"]),
        ("\\Qa.b\\E+", ["a.b"], ["axb"]),
        ("(?i)Logs", ["logs", "LOGS"], ["log"]),
        ("(?i:L)ogs", ["logs", "Logs"], ["LOGS"]),
        ("(?P<name>a)(?:b)", ["ab"], ["a"]),
        ("\\x61\\x{62}", ["ab"], ["x61"]),
        (".*\\bend", ["the-end", "end"], ["weekend"]),
        ("", [""], ["a"]),
        ("(a*)*", ["", "aaa"], ["b"]),
        ("(|a)+", ["", "aa"], ["b"]),
        (".*", ["", "anything.at-all_1"], []),
    ]

    @Test func `Patterns match whole names`() throws {
        for (text, matching, other) in Self.cases {
            let pattern = try TopicPattern(text)
            for name in matching { #expect(pattern.matches(name), "\(text) and \(name)") }
            for name in other { #expect(!pattern.matches(name), "\(text) and \(name)") }
        }
    }

    @Test(arguments: [
        "(", ")", "a)", "[", "[a", "*", "a**", "a{2}{3}", "+", "\\", "(?=a)", "(?!a)", "(?<=a)b", "(a)\\1", "\\pL", "[b-a]",
        "[[:nothing:]]", "a{3,2}", "a{1001}", "(?z)", "(?P<>a)", "\\xzz", "\\8", "a{600}b{600}",
        "(((((){1000}){1000}){1000}){1000})", String(repeating: "(", count: 300), String(repeating: "a", count: 5_000),
    ]) func `What is no pattern of RE2, or too large, is refused`(text: String) {
        #expect(throws: TopicPatternError.self) { try TopicPattern(text) }
    }

    @Test func `Patterns that take others exponential time take linear time`() throws {
        let name = String(repeating: "a", count: 249)
        let clock = ContinuousClock()
        let patterns = [try TopicPattern("(a*)*(a|a)*(a|aa)+b"), try TopicPattern("(a?){100}a{100}(.*.*)*b")]
        let took = clock.measure {
            for pattern in patterns { #expect(!pattern.matches(name)) }
        }
        #expect(took < .seconds(5))
    }

    @Test(arguments: 0..<300 as Range<UInt64>) func `No text traps`(seed: UInt64) {
        var generator = SeededGenerator(state: seed)
        let alphabet = Array("ab.*+?|()[]{}^$\\-,:123dwQExiP<>=!é")
        let text = String((0..<Int.random(in: 0..<25, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
        _ = (try? TopicPattern(text))?.matches("ab12-a")
    }
}
