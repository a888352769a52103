// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: the registry of a broker's metrics.
//
// One instance a broker, made at start and passed down; there is no global one, so two brokers in one test process do
// not mix. Modules register their metrics when they are set up and keep the instruments. Registering the same name
// again returns the same family, so two parts of a broker may share one. Names follow Prometheus: `martlet_` first,
// the base unit last (`_seconds`, `_bytes`), `_total` at the end of every counter; a name that does not is our bug and
// stops the process at start. The table is guarded by its mutex and is read only to register and to scrape.

import Synchronization

/// All metrics of one broker.
package final class Metrics: Sendable {
    /// How many label combinations a family keeps unless its registration says otherwise.
    package static let seriesLimit = 1000

    private struct State {
        var order: [any ExposedFamily] = []
        var byName: [String: Int] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    /// A counter without labels.
    package func counter(_ name: String, _ help: String) -> Counter {
        counters(name, help, labels: []).with([])
    }

    package func counters(
        _ name: String, _ help: String, labels: [String], limit: Int = seriesLimit
    ) -> MetricFamily<Counter> {
        family(name, help, labels, limit) { Counter() }
    }

    /// A gauge without labels.
    package func gauge(_ name: String, _ help: String) -> Gauge {
        gauges(name, help, labels: []).with([])
    }

    package func gauges(
        _ name: String, _ help: String, labels: [String], limit: Int = seriesLimit
    ) -> MetricFamily<Gauge> {
        family(name, help, labels, limit) { Gauge() }
    }

    /// A histogram without labels.
    package func histogram(_ name: String, _ help: String, buckets: Buckets = .latency) -> Histogram {
        histograms(name, help, labels: [], buckets: buckets).with([])
    }

    package func histograms(
        _ name: String, _ help: String, labels: [String], buckets: Buckets = .latency, limit: Int = seriesLimit
    ) -> MetricFamily<Histogram> {
        family(name, help, labels, limit) { Histogram(buckets: buckets) }
    }

    /// A metric read at each scrape: `.gauge`, or `.counter` for a total somebody else keeps.
    package func observe(
        _ name: String, _ help: String, kind: MetricKind = .gauge, labels: [String], limit: Int = seriesLimit,
        _ read: @escaping @Sendable () -> [Sample]
    ) {
        precondition(kind != .histogram, "\(name): a histogram cannot be observed")
        let family = ObservedFamily(
            name: name, kind: kind, help: help, labels: labels, limit: limit, read: read)
        Self.check(name, kind, labels)
        state.withLock { state in
            precondition(state.byName[name] == nil, "\(name) is registered already")
            state.byName[name] = state.order.count
            state.order.append(family)
        }
    }

    /// One value without labels, read at each scrape.
    package func observe(
        _ name: String, _ help: String, kind: MetricKind = .gauge, _ read: @escaping @Sendable () -> Double
    ) {
        observe(name, help, kind: kind, labels: []) { [Sample(read())] }
    }

    /// Everything, in the text exposition format, families in the order of their names.
    package func text() -> String {
        let families = state.withLock { $0.order }
        var text = ""
        for family in families.sorted(by: { $0.name < $1.name }) { family.write(into: &text) }
        return text
    }

    private func family<Member: Instrument>(
        _ name: String, _ help: String, _ labels: [String], _ limit: Int,
        make: @escaping @Sendable () -> Member
    ) -> MetricFamily<Member> {
        Self.check(name, Member.kind, labels)
        return state.withLock { state in
            if let index = state.byName[name] {
                guard let known = state.order[index] as? MetricFamily<Member>, known.labels == labels else {
                    preconditionFailure("\(name) is registered with another type or other labels")
                }
                return known
            }
            let family = MetricFamily(name: name, help: help, labels: labels, limit: limit, make: make)
            state.byName[name] = state.order.count
            state.order.append(family)
            return family
        }
    }

    private static func check(_ name: String, _ kind: MetricKind, _ labels: [String]) {
        precondition(Exposition.isName(name), "\(name) is no metric name")
        precondition(
            name.hasSuffix("_total") == (kind == .counter), "\(name): `_total` ends the name of counters only")
        for label in labels {
            precondition(Exposition.isName(label) && label != "le", "\(name): \(label) is no label name")
        }
    }
}
