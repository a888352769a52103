// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: the audit log: a bounded queue between those who serve clients and a file or a topic.
//
//   record -> queue --background--> lines -> every sink
//
// Recording never waits: a broker whose audit log has a slow or full disk goes on serving, and what does not fit in the queue, or
// could not be written, is dropped and counted, in a metric and, once there is room, in a line of its own. `state` guards the queue; sinks are
// only used in the background, one drain at a time.

import Synchronization

/// Where lines go. Used by one thread at a time.
package protocol AuditSink: Sendable {
    /// Writes lines; returns how many it could not.
    func write(_ lines: [String]) -> Int
}

package final class AuditLog: Sendable {
    /// Events that wait to be written, and about how many bytes they hold; more are dropped and counted.
    package static let eventsMax = 10_000
    package static let bytesMax = 8 << 20

    private struct State {
        var events: [(event: AuditEvent, timeMs: Int64)] = []
        var bytes = 0
        var isScheduled = false
        var sinks: [any AuditSink] = []
        var written = 0
        var dropped = 0
        /// Dropped and not yet told in a line.
        var untold = 0
        /// nil: no topic gets the events.
        var summaries: AuditSummaries?
    }

    /// False: nothing is recorded. Whoever makes events asks this first.
    package let isOn: Bool
    /// Whether what is allowed is recorded too.
    package let recordsAllowed: Bool
    private let nowMs: @Sendable () -> Int64
    private let background: @Sendable (@escaping @Sendable () -> Void) -> Void
    private let state = Mutex(State())

    /// Records nothing.
    package static let off = AuditLog(isOn: false, nowMs: { 0 }, background: { _ in })

    /// `background` runs what may wait for a disk, in order. `topic` is one that gets the events.
    package init(
        isOn: Bool = true, recordsAllowed: Bool = false, topic: String? = nil, nowMs: @escaping @Sendable () -> Int64,
        background: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) {
        self.isOn = isOn
        self.recordsAllowed = isOn && recordsAllowed
        self.nowMs = nowMs
        self.background = background
        if let topic { state.withLock { $0.summaries = AuditSummaries(topic: topic) } }
    }

    package func add(_ sink: any AuditSink) { state.withLock { $0.sinks.append(sink) } }

    package var totals: (written: Int, dropped: Int) { state.withLock { ($0.written, $0.dropped) } }

    package func record(_ event: @autoclosure () -> AuditEvent) {
        guard isOn else { return }
        let event = event()
        let now = nowMs()
        let mustSchedule = state.withLock { state in
            for event in state.summaries?.take(event, nowMs: now) ?? [event] { Self.append(event, now, &state) }
            guard !state.events.isEmpty, !state.isScheduled else { return false }
            state.isScheduled = true
            return true
        }
        if mustSchedule { background { self.drain() } }
    }

    private static func append(_ event: AuditEvent, _ nowMs: Int64, _ state: inout State) {
        let footprint = event.footprint
        guard state.events.count < eventsMax, state.bytes + footprint <= bytesMax else {
            state.dropped += 1
            state.untold += 1
            return
        }
        state.events.append((event, nowMs))
        state.bytes += footprint
    }

    /// Writes what is there, and what was only counted so far. In the background, when nothing more will come.
    package func finish() {
        let now = nowMs()
        state.withLock { state in
            for event in state.summaries?.tell() ?? [] { Self.append(event, now, &state) }
        }
        drain()
    }

    /// Writes what is there. In the background.
    package func drain() {
        let (events, untold, sinks) = state.withLock { state in
            defer {
                state.events = []
                state.bytes = 0
                state.untold = 0
                state.isScheduled = false
            }
            return (state.events, state.untold, state.sinks)
        }
        guard !events.isEmpty || untold > 0 else { return }
        var lines = events.map { $0.event.line(timeMs: $0.timeMs) }
        if untold > 0 {
            lines.append("{\"time\":\"\(Timestamp.iso8601(nowMs()))\",\"event\":\"dropped\",\"count\":\(untold)}")
        }
        var lost = 0
        for sink in sinks { lost = max(lost, sink.write(lines)) }
        state.withLock { state in
            // A sink may tell of losses of earlier times too.
            state.written += max(0, lines.count - lost)
            state.dropped += lost
            state.untold += lost
        }
    }
}

extension AuditLog {
    package func register(_ metrics: Metrics) {
        metrics.observe("martlet_audit_events_total", "Audit events that were written.", kind: .counter) {
            Double(self.totals.written)
        }
        metrics.observe(
            "martlet_audit_dropped_total", "Audit events that were dropped: the queue was full, or writing failed.",
            kind: .counter
        ) { Double(self.totals.dropped) }
    }
}
