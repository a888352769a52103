// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: what of a peer's `traceparent` is believed.

import Logging
import Testing

@testable import Telemetry

@Suite struct TraceContextTests {
    private let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test func `A good one has its two ids`() {
        let context = TraceContext(good.utf8)
        #expect(context?.traceId == "4bf92f3577b34da6a3ce929d0e0e4736" && context?.spanId == "00f067aa0ba902b7")
        #expect(context?.metadata == ["trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"])
    }

    @Test func `A later version may say more`() {
        #expect(TraceContext(("cc" + good.dropFirst(2) + "-what-else").utf8) != nil)
        #expect(TraceContext(("cc" + good.dropFirst(2)).utf8) != nil)
        #expect(TraceContext(("cc" + good.dropFirst(2) + "what-else").utf8) == nil)
    }

    @Test(arguments: [
        "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-4bf92f3577b34da6a3ce929d0e0e473\n-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{1b}",
        "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01", "00-4bf92f3577b34da6a3ce929d0e0e47360-0f067aa0ba902b7-01",
    ])
    func `Anything else is nothing`(text: String) {
        #expect(TraceContext(text.utf8) == nil)
    }

    @Test func `However long it is, no more is read than a header may have`() {
        #expect(TraceContext(("cc" + good.dropFirst(2) + "-" + String(repeating: "x", count: 10_000)).utf8) == nil)
    }
}
