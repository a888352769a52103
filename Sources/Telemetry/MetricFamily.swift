// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: all series of one metric name.
//
// A family hands out one instrument per combination of label values and keeps it. Topic names come from
// clients, so the number of combinations is bounded: past the bound every new combination shares the
// series whose labels all say `other`, and nothing is lost from the totals. The table is guarded by its mutex; the
// instruments themselves are atomics, so no lock is taken while counting.

import Synchronization

/// What Prometheus calls the type of a metric.
package enum MetricKind: String, Sendable {
    case counter, gauge, histogram
}

/// Something a family can hold.
package protocol Instrument: AnyObject, Sendable {
    static var kind: MetricKind { get }
    /// Writes the instrument's sample lines; `labels` are rendered and escaped already.
    func write(name: String, labels: String, into text: inout String)
}

/// What the registry needs to know of a family.
protocol ExposedFamily: Sendable {
    var name: String { get }
    var kind: MetricKind { get }
    var labels: [String] { get }
    func write(into text: inout String)
}

/// The instruments of one metric, by label values.
package final class MetricFamily<Member: Instrument>: ExposedFamily {
    package let name: String
    package let help: String
    /// Label names, in the order in which `with` takes their values.
    package let labels: [String]
    private let limit: Int
    private let make: @Sendable () -> Member
    private let members = Mutex<[[String]: Member]>([:])

    var kind: MetricKind { Member.kind }

    init(name: String, help: String, labels: [String], limit: Int, make: @escaping @Sendable () -> Member) {
        self.name = name
        self.help = help
        self.labels = labels
        self.limit = limit
        self.make = make
    }

    /// The instrument for these label values, made on first use. Keep it: looking it up takes a lock.
    package func with(_ values: String...) -> Member {
        with(values)
    }

    package func with(_ values: [String]) -> Member {
        precondition(values.count == labels.count, "\(name) takes \(labels.count) label values")
        return members.withLock { members in
            if let member = members[values] { return member }
            let key = members.count < limit ? values : labels.map { _ in Exposition.overflowLabel }
            if let member = members[key] { return member }
            let member = make()
            members[key] = member
            return member
        }
    }

    /// Forgets a series (its topic was deleted). Whoever still holds the instrument may go on counting unseen.
    package func remove(_ values: String...) {
        members.withLock { _ = $0.removeValue(forKey: values) }
    }

    func write(into text: inout String) {
        let snapshot = members.withLock { $0 }
        guard !snapshot.isEmpty else { return }
        Exposition.head(name, kind: kind, help: help, into: &text)
        for (values, member) in snapshot.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            member.write(name: name, labels: Exposition.labels(labels, values), into: &text)
        }
    }
}
