// SPDX-License-Identifier: Apache-2.0
// Martlet, TelemetryTests: the registry and its exposition.

import Testing

@testable import Telemetry

@Suite struct MetricsTests {
    @Test func `A counter shows its help, its type and its value`() {
        let metrics = Metrics()
        let counter = metrics.counter("martlet_requests_total", "Requests answered.")
        counter.increment()
        counter.add(41)
        #expect(
            metrics.text() == """
                # HELP martlet_requests_total Requests answered.
                # TYPE martlet_requests_total counter
                martlet_requests_total 42

                """)
    }

    @Test func `A gauge goes up and down`() {
        let metrics = Metrics()
        let gauge = metrics.gauge("martlet_connections", "Open connections.")
        gauge.set(10)
        gauge.add(-13)
        #expect(metrics.text().hasSuffix("martlet_connections -3\n"))
    }

    @Test func `Families are listed by name and series by their label values`() {
        let metrics = Metrics()
        let family = metrics.counters("martlet_b_total", "B.", labels: ["api", "version"])
        family.with("Produce", "9").add(2)
        family.with("Fetch", "4").add(1)
        _ = metrics.gauge("martlet_a", "A.")
        let samples = metrics.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            samples == [
                "martlet_a 0", "martlet_b_total{api=\"Fetch\",version=\"4\"} 1",
                "martlet_b_total{api=\"Produce\",version=\"9\"} 2",
            ])
    }

    @Test func `A family without series is not shown`() {
        let metrics = Metrics()
        _ = metrics.counters("martlet_b_total", "B.", labels: ["topic"])
        #expect(metrics.text().isEmpty)
    }

    @Test func `Label values and help are escaped as the format demands`() {
        let metrics = Metrics()
        metrics.gauges("martlet_x", "A \\ and\na \"line\".", labels: ["name"]).with("a\\b\n\"c\"").set(1)
        #expect(
            metrics.text() == """
                # HELP martlet_x A \\\\ and\\na "line".
                # TYPE martlet_x gauge
                martlet_x{name="a\\\\b\\n\\"c\\""} 1

                """)
    }

    @Test func `The same name gives the same series, so that two parts of a broker may share it`() {
        let metrics = Metrics()
        metrics.counters("martlet_x_total", "X.", labels: ["topic"]).with("a").add(1)
        metrics.counters("martlet_x_total", "X.", labels: ["topic"]).with("a").add(1)
        #expect(metrics.text().hasSuffix("martlet_x_total{topic=\"a\"} 2\n"))
    }

    @Test func `Label combinations past the bound share one series and nothing is lost`() {
        let metrics = Metrics()
        let family = metrics.counters("martlet_x_total", "X.", labels: ["topic"], limit: 3)
        for topic in 0..<10 { family.with("t\(topic)").add(1) }
        family.with("t1").add(1)
        let samples = metrics.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            samples == [
                "martlet_x_total{topic=\"other\"} 7", "martlet_x_total{topic=\"t0\"} 1",
                "martlet_x_total{topic=\"t1\"} 2", "martlet_x_total{topic=\"t2\"} 1",
            ])
    }

    @Test func `A removed series makes room for another`() {
        let family = Metrics().counters("martlet_x_total", "X.", labels: ["topic"], limit: 1)
        let first = family.with("a")
        family.remove("a")
        let second = family.with("b")
        #expect(first !== second)
        #expect(family.with("b") === second)
        #expect(family.with("c") === family.with("other"))
    }

    @Test func `Observed values are read at each scrape, and those past the bound are added up`() {
        let metrics = Metrics()
        metrics.observe("martlet_log_size_bytes", "Size.", labels: ["topic"], limit: 2) {
            [Sample(1, labels: ["a"]), Sample(2.5, labels: ["b"]), Sample(4, labels: ["c"]), Sample(8, labels: ["d"])]
        }
        let samples = metrics.text().split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(
            samples == [
                "martlet_log_size_bytes{topic=\"a\"} 1", "martlet_log_size_bytes{topic=\"b\"} 2.5",
                "martlet_log_size_bytes{topic=\"other\"} 12",
            ])
    }

    @Test(arguments: [
        (0.0, "0"), (-3, "-3"), (0.5, "0.5"), (1e15, "1000000000000000"), (1e300, "1e+300"),
        (.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"),
    ])
    func `Numbers are written so that Prometheus reads them back`(value: Double, text: String) {
        #expect(Exposition.number(value) == text)
    }

    @Test func `Concurrent additions are all counted`() async {
        let counter = Metrics().counter("martlet_x_total", "X.")
        let histogram = Histogram(buckets: .items)
        await withTaskGroup { group in
            for _ in 0..<8 {
                group.addTask {
                    for value in 0..<1000 {
                        counter.increment()
                        histogram.observe(value)
                    }
                }
            }
        }
        #expect(counter.value == 8000)
        #expect(histogram.count == 8000)
        #expect(histogram.total == 8 * 999 * 500)
    }
}
