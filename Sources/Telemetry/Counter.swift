// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: a number that only grows.
//
// Handed out by `Metrics`; fetched once and kept by the code that counts. Any thread may add: it is one
// relaxed atomic addition, inlined across modules. It does not know its name or labels; its family does.

import Synchronization

/// Counts events, bytes or records since the start of the process.
@usableFromInline
package final class Counter: Instrument {
    @usableFromInline let total = Atomic<Int>(0)

    package init() {}

    /// Adds `amount`, which must not be negative.
    @inlinable
    package func add(_ amount: Int) {
        total.wrappingAdd(amount, ordering: .relaxed)
    }

    @inlinable
    package func increment() {
        total.wrappingAdd(1, ordering: .relaxed)
    }

    package var value: Int { total.load(ordering: .relaxed) }

    package static let kind = MetricKind.counter

    package func write(name: String, labels: String, into text: inout String) {
        Exposition.sample(name, labels: labels, value: String(value), into: &text)
    }
}
