// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a number that goes up and down.
//
// For values that somebody keeps up to date (open connections). A value that can be asked for when it is
// needed (bytes on disk) is better registered with `Metrics.observe`, which costs nothing between scrapes.

import Synchronization

/// A whole number that is set, raised and lowered. Any thread may call any method.
@usableFromInline
package final class Gauge: Instrument {
    @usableFromInline let current = Atomic<Int>(0)

    package init() {}

    @inlinable
    package func set(_ value: Int) {
        current.store(value, ordering: .relaxed)
    }

    /// Adds `amount`; negative amounts lower the gauge.
    @inlinable
    package func add(_ amount: Int) {
        current.wrappingAdd(amount, ordering: .relaxed)
    }

    package var value: Int { current.load(ordering: .relaxed) }

    package static let kind = MetricKind.gauge

    package func write(name: String, labels: String, into text: inout String) {
        Exposition.sample(name, labels: labels, value: String(value), into: &text)
    }
}
