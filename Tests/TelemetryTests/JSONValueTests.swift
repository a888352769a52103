// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: JSON that is read, and times that are read again.

import Testing

@testable import Telemetry

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

    @Test(arguments: [0, 951_782_400_000, 1_709_164_800_001, 1_764_354_325_123, 4_102_444_799_999] as [Int64])
    func `A time is read as it was written`(ms: Int64) {
        #expect(Timestamp.milliseconds(Timestamp.iso8601(ms)) == ms)
    }

    @Test(arguments: ["", "2025", "2025-02-30T00:00:00.000Z", "2025-13-01T00:00:00.000Z", "2025-01-01 00:00:00.000", "x"])
    func `What is no time is nil`(text: String) {
        #expect(Timestamp.milliseconds(text) == nil)
    }
}
