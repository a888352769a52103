// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: times that are read again.

import Testing

@testable import Telemetry

@Suite struct TimestampReadingTests {
    @Test(arguments: [0, 951_782_400_000, 1_709_164_800_001, 1_764_354_325_123, 4_102_444_799_999] as [Int64])
    func `A time is read as it was written`(ms: Int64) {
        #expect(Timestamp.milliseconds(Timestamp.iso8601(ms)) == ms)
    }

    @Test(arguments: ["", "2025", "2025-02-30T00:00:00.000Z", "2025-13-01T00:00:00.000Z", "2025-01-01 00:00:00.000", "x"])
    func `What is no time is nil`(text: String) {
        #expect(Timestamp.milliseconds(text) == nil)
    }
}
