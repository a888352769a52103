// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a distribution, in buckets that double.
//
// Observations are whole numbers in the unit the code has at hand (nanoseconds, bytes); the exposition divides
// by `Buckets.unit` to give the base unit Prometheus wants (seconds, bytes). Any thread may observe: two relaxed
// atomic additions, no lock, no allocation. Count is the sum of the buckets, so a scrape never shows a count
// that contradicts its buckets; the sum may lag by the observations in flight.

import Synchronization

/// The upper bounds of a histogram: `first`, twice `first`, and so on, `count` of them, then infinity.
package struct Buckets: Equatable, Sendable {
    package static let countMax = 31

    package var first: Int
    package var count: Int
    /// How many observed units make one exposed unit.
    package var unit: Double

    package init(first: Int, count: Int, unit: Double = 1) {
        precondition(first > 0 && (1...Self.countMax).contains(count) && unit > 0, "buckets must be positive")
        self.first = first
        self.count = count
        self.unit = unit
    }

    /// Nanoseconds shown as seconds, from 10 us to 42 s.
    package static let latency = Buckets(first: 10_000, count: 23, unit: 1e9)
    /// Bytes, from 64 to 128 MiB.
    package static let bytes = Buckets(first: 64, count: 22)
    /// Things in a batch, from 1 to 64 Ki.
    package static let items = Buckets(first: 1, count: 17)

    /// Index of the bucket that takes `value`; `count` is the one without an upper bound.
    @usableFromInline
    func index(of value: Int) -> Int {
        guard value > first else { return 0 }
        // (value - 1) / first is 1 for the second bucket, 2...3 for the third, 4...7 for the fourth.
        let quotient = (value - 1) / first
        return min(Int.bitWidth - quotient.leadingZeroBitCount, count)
    }

    func upperBound(of index: Int) -> Double {
        Double(first) * Double(1 << index) / unit
    }
}

/// How often values of which size were seen.
package final class Histogram: Instrument {
    package let buckets: Buckets
    private let counts = InlineArray<32, Atomic<Int>> { _ in Atomic(0) }
    private let sum = Atomic<Int>(0)

    package init(buckets: Buckets = .latency) {
        self.buckets = buckets
    }

    /// Counts one value; negative ones (a clock that jumped) count as 0.
    package func observe(_ value: Int) {
        counts[buckets.index(of: value)].wrappingAdd(1, ordering: .relaxed)
        sum.wrappingAdd(max(value, 0), ordering: .relaxed)
    }

    package var count: Int {
        (0...buckets.count).reduce(0) { $0 + counts[$1].load(ordering: .relaxed) }
    }

    /// The sum of all values, in the unit observed.
    package var total: Int { sum.load(ordering: .relaxed) }

    package static let kind = MetricKind.histogram

    package func write(name: String, labels: String, into text: inout String) {
        var cumulative = 0
        for index in 0...buckets.count {
            cumulative += counts[index].load(ordering: .relaxed)
            let bound = index == buckets.count ? "+Inf" : Exposition.number(buckets.upperBound(of: index))
            let bucket = "le=\"\(bound)\""
            Exposition.sample(
                name + "_bucket", labels: labels.isEmpty ? bucket : labels + "," + bucket,
                value: String(cumulative), into: &text)
        }
        Exposition.sample(
            name + "_sum", labels: labels, value: Exposition.number(Double(total) / buckets.unit), into: &text)
        Exposition.sample(name + "_count", labels: labels, value: String(cumulative), into: &text)
    }
}
