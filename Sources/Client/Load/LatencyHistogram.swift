// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: counts durations so that percentiles can be told without keeping them all.
//
// Buckets grow with the value, 128 to each power of two: an answer is at most 0.8% above the truth.
// 35 KiB, whatever is recorded; durations beyond 18 minutes count as 18 minutes. A value with one
// owner (a loop); merged at the end.

/// A histogram of nanoseconds.
package struct LatencyHistogram: Equatable, Sendable {
    private static let precisionBits = 7
    private static let highestBit = 40
    private static let bucketCount = (highestBit - precisionBits + 2) << precisionBits

    private var counts = [UInt64](repeating: 0, count: Self.bucketCount)
    package private(set) var count: UInt64 = 0
    package private(set) var max: UInt64 = 0
    private var sum: Double = 0

    package init() {}

    package mutating func record(_ ns: UInt64) {
        counts[Self.index(ns)] += 1
        count += 1
        sum += Double(ns)
        if ns > max { max = ns }
    }

    /// Adds what another histogram has counted.
    package mutating func merge(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        sum += other.sum
        max = Swift.max(max, other.max)
    }

    package var mean: Double { count == 0 ? 0 : sum / Double(count) }

    /// The duration that this share (0 to 1) of all durations does not exceed; 0 if there are none.
    package func percentile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = UInt64((Double(count) * share).rounded(.up))
        var seen: UInt64 = 0
        for (index, bucket) in counts.enumerated() {
            seen += bucket
            if seen >= rank && seen > 0 { return min(Self.upperBound(index), max) }
        }
        return max
    }

    /// Values below 256 have a bucket each; above, the 7 bits after the highest one choose.
    private static func index(_ ns: UInt64) -> Int {
        let value = min(ns, 1 << UInt64(highestBit + 1) - 1)
        let shift = Swift.max(0, 63 - (value | 1).leadingZeroBitCount - precisionBits)
        return (shift << precisionBits) + Int(value >> UInt64(shift))
    }

    /// The largest value of a bucket.
    private static func upperBound(_ index: Int) -> UInt64 {
        let shift = Swift.max(0, (index >> precisionBits) - 1)
        return UInt64(index - (shift << precisionBits) + 1) << UInt64(shift) - 1
    }
}
