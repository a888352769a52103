// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: which bucket takes which value.

import Testing

@testable import Telemetry

@Suite struct HistogramTests {
    @Test(arguments: [Buckets.latency, .bytes, .items, Buckets(first: 3, count: 31)])
    func `Every bound belongs to its bucket and the next value to the next`(buckets: Buckets) {
        for index in 0..<buckets.count {
            let bound = buckets.first << index
            #expect(buckets.index(of: bound) == index)
            #expect(buckets.index(of: bound + 1) == index + 1)
            #expect(buckets.upperBound(of: index) == Double(bound) / buckets.unit)
        }
        #expect(buckets.index(of: .max) == buckets.count)
        #expect(buckets.index(of: 0) == 0)
        #expect(buckets.index(of: -5) == 0)
    }

    @Test func `Buckets are cumulative and end with infinity, sum and count`() {
        let metrics = Metrics()
        let histogram = metrics.histograms(
            "martlet_wait_seconds", "Wait.", labels: ["api"],
            buckets: Buckets(first: 500_000_000, count: 3, unit: 1e9)
        ).with("Fetch")
        for value in [1, 500_000_000, 600_000_000, 2_000_000_000, 9_000_000_000] { histogram.observe(value) }
        #expect(
            metrics.text() == """
                # HELP martlet_wait_seconds Wait.
                # TYPE martlet_wait_seconds histogram
                martlet_wait_seconds_bucket{api="Fetch",le="0.5"} 2
                martlet_wait_seconds_bucket{api="Fetch",le="1"} 3
                martlet_wait_seconds_bucket{api="Fetch",le="2"} 4
                martlet_wait_seconds_bucket{api="Fetch",le="+Inf"} 5
                martlet_wait_seconds_sum{api="Fetch"} 12.100000001
                martlet_wait_seconds_count{api="Fetch"} 5

                """)
    }

    @Test func `A value below zero counts but does not lower the sum`() {
        let histogram = Histogram(buckets: .latency)
        histogram.observe(-1)
        #expect(histogram.count == 1)
        #expect(histogram.total == 0)
    }
}
