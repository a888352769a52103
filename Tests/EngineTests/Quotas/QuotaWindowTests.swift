// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the sums over windows of time that quotas are held against.

import Testing

@testable import Engine

@Suite struct QuotaWindowTests {
    private let windows = QuotaWindows()

    @Test func whatIsWithinTheRateWaitsForNothing() {
        var window = QuotaWindow(windows)
        for second in 0..<30 as Range<Int64> {
            window.add(1000, nowMs: second * 1000)
            #expect(window.throttleMs(limit: 1100, nowMs: second * 1000) == 0)
        }
    }

    @Test func theWaitIsWhatBringsTheRateDown() {
        var window = QuotaWindow(windows)
        // 15,000 in the ten seconds of a fresh window: at 1,000 a second that is five seconds too much.
        window.add(15_000, nowMs: 5_000_000)
        #expect(window.throttleMs(limit: 1000, nowMs: 5_000_000) == 5_000)
        #expect(window.throttleMs(limit: 1000, nowMs: 5_000_600) == 4_400)
        #expect(window.throttleMs(limit: 1500, nowMs: 5_000_000) == 0)
    }

    @Test func nobodyWaitsForLongerThanIsRemembered() {
        var window = QuotaWindow(windows)
        window.add(1e12, nowMs: 5_000_000)
        #expect(window.throttleMs(limit: 1, nowMs: 5_000_000) == 11_000)
        #expect(window.sum(nowMs: 5_010_999) == 1e12)
        #expect(window.sum(nowMs: 5_011_000) == 0)
        #expect(window.throttleMs(limit: 1, nowMs: 5_011_000) == 0)
    }

    @Test func whatIsTakenBackWasNeverThere() {
        var window = QuotaWindow(windows)
        window.add(100, nowMs: 1000)
        window.add(500, nowMs: 1500)
        window.add(-500, nowMs: 1500)
        #expect(window.sum(nowMs: 1600) == 100)
        // In a later window there is nothing of it to take from.
        window.add(-100, nowMs: 2500)
        #expect(window.sum(nowMs: 2500) == 100)
    }

    @Test func aLongSilenceForgetsEverything() {
        var window = QuotaWindow(windows)
        window.add(1, nowMs: 0)
        window.add(1, nowMs: 10_000_000)
        #expect(window.sum(nowMs: 10_000_000) == 1)
    }

    @Test func aBucketBeginsFullAndIsOverdrawnOnce() {
        var bucket = MutationBucket(windows, limit: 2, nowMs: 0)
        bucket.take(22, limit: 2, nowMs: 0)
        #expect(bucket.throttleMs(limit: 2, nowMs: 0) == 0)
        bucket.take(10, limit: 2, nowMs: 0)
        #expect(bucket.throttleMs(limit: 2, nowMs: 0) == 5000)
        #expect(bucket.throttleMs(limit: 2, nowMs: 4000) == 1000)
        #expect(bucket.throttleMs(limit: 2, nowMs: 5000) == 0)
    }
}
