// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a metric whose values are asked for when somebody scrapes.
//
// Nothing is kept between scrapes and nothing has to be updated when a topic comes or goes. The closure runs on the
// scraping thread, outside every lock of this module; it must not block for long.

/// One value with its label values.
package struct Sample: Equatable, Sendable {
    package var labels: [String]
    package var value: Double

    package init(_ value: Double, labels: [String] = []) {
        self.labels = labels
        self.value = value
    }
}

struct ObservedFamily: ExposedFamily {
    let name: String
    let kind: MetricKind
    let help: String
    let labels: [String]
    let limit: Int
    let read: @Sendable () -> [Sample]

    func write(into text: inout String) {
        let samples = read()
        guard !samples.isEmpty else { return }
        Exposition.head(name, kind: kind, help: help, into: &text)
        for sample in samples.prefix(limit) { write(sample, into: &text) }
        guard samples.count > limit else { return }
        let rest = samples.dropFirst(limit).reduce(0) { $0 + $1.value }
        write(Sample(rest, labels: labels.map { _ in Exposition.overflowLabel }), into: &text)
    }

    private func write(_ sample: Sample, into text: inout String) {
        precondition(sample.labels.count == labels.count, "\(name) takes \(labels.count) label values")
        Exposition.sample(
            name, labels: Exposition.labels(labels, sample.labels),
            value: Exposition.number(sample.value), into: &text)
    }
}
