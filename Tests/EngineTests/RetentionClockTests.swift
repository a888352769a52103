// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the time by which retention judges.

import Testing

@testable import Engine

@Suite struct RetentionClockTests {
    private let day: Int64 = 86_400_000
    private let start: Int64 = 1_700_000_000_000

    /// A clock that was made at `start` and is asked `minutes` later, with the wall clock off by `offMs`.
    private func ask(_ clock: inout RetentionClock, minutes: Int64, offMs: Int64) -> (judgedMs: Int64, jumpMs: Int64) {
        let passedMs = minutes * 60_000
        return clock.now(wallMs: start + passedMs + offMs, monotonicNs: UInt64(passedMs) * 1_000_000)
    }

    private func clock() -> RetentionClock { RetentionClock(wallMs: start, monotonicNs: 0) }

    @Test func `Time that passes is believed, and so is a correction`() {
        var clock = clock()
        #expect(ask(&clock, minutes: 5, offMs: 0) == (start + 300_000, 0))
        #expect(ask(&clock, minutes: 10, offMs: 500_000) == (start + 1_100_000, 0))
        #expect(ask(&clock, minutes: 15, offMs: -90_000) == (start + 810_000, 0))
    }

    @Test func `A jump forward is told once and believed after an hour`() {
        var clock = clock()
        #expect(ask(&clock, minutes: 5, offMs: 30 * day) == (start + 300_000, 30 * day))
        #expect(ask(&clock, minutes: 64, offMs: 30 * day) == (start + 64 * 60_000, 0))
        #expect(ask(&clock, minutes: 65, offMs: 30 * day) == (start + 65 * 60_000 + 30 * day, 0))
        #expect(ask(&clock, minutes: 70, offMs: 30 * day) == (start + 70 * 60_000 + 30 * day, 0))
    }

    @Test func `A second jump starts another hour`() {
        var clock = clock()
        #expect(ask(&clock, minutes: 5, offMs: day) == (start + 300_000, day))
        #expect(ask(&clock, minutes: 60, offMs: 3 * day) == (start + 60 * 60_000, 2 * day))
        #expect(ask(&clock, minutes: 119, offMs: 3 * day) == (start + 119 * 60_000, 0))
        #expect(ask(&clock, minutes: 120, offMs: 3 * day) == (start + 120 * 60_000 + 3 * day, 0))
    }

    @Test func `A jump that is taken back leaves nothing behind`() {
        var clock = clock()
        #expect(ask(&clock, minutes: 5, offMs: 30 * day).jumpMs == 30 * day)
        #expect(ask(&clock, minutes: 10, offMs: 0) == (start + 600_000, 0))
    }

    @Test func `A clock that was set back may come back`() {
        var clock = clock()
        #expect(ask(&clock, minutes: 5, offMs: -2 * day) == (start + 300_000 - 2 * day, 0))
        #expect(ask(&clock, minutes: 10, offMs: 0) == (start + 600_000, 0))
    }
}
