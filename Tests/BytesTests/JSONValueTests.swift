// SPDX-License-Identifier: Apache-2.0
// Martlet, BytesTests: JSON that is read.

import Testing

@testable import Bytes

@Suite struct JSONValueTests {
    @Test func `Every kind of value`() {
        let value = JSONValue(" { \"a\" : [ 1, -2.5e1, true, false, null, \"x\\n\\\"\\u00e9\\ud83d\\ude00\" ], \"b\": {}, \"c\":[] } ")
        #expect(value?["a"]?.elements == [.number(1), .number(-25), .bool(true), .bool(false), .null, .string("x\n\"é😀")])
        #expect(value?["b"] == .object([:]) && value?["c"] == .array([]))
    }

    @Test(arguments: [
        "", "{", "[1,]", "{\"a\"}", "{a:1}", "tru", "\"\\x\"", "\"\\ud83d\"", "\"a\nb\"", "1 2", "[", "\"\\u12", "-",
        String(repeating: "[", count: 100) + String(repeating: "]", count: 100),
    ])
    func `What is no JSON is nil`(text: String) {
        #expect(JSONValue(text) == nil)
    }
}
