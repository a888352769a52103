// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: keeps those who read the audit topic from feeding it with what their reading is worth.
//
//   first of its kind --> written --same again within a minute--> counted --a minute over--> written, with the count
//
// Each event makes the readers of the topic fetch, and commit, and each of that would be the next event, for ever. So what
// is allowed to somebody who has read the topic, and commits of places in it from outside of a group, are summarised: all that is alike
// but for time, port and state is one event a minute. What is denied, and every other change, is always an event of its own. A
// plain value; `AuditLog` guards it.

struct AuditSummaries {
    static let intervalMs: Int64 = 60_000
    /// Readers that are known; beyond it the one that came first is forgotten, which begins its events anew.
    static let readersMax = 1_000
    /// Kinds of events that are counted; beyond it all counts are told at once.
    static let kindsMax = 4_000

    private struct Reader: Hashable {
        var principal: String
        var address: String

        init(_ event: AuditEvent) {
            principal = event.subject.principal
            address = event.subject.address
        }
    }

    private struct Kind: Hashable {
        var reader: Reader
        var wire: String
        var operation: String
        var resource: String?
        var name: String?
    }

    /// Those that were not written since `sinceMs`.
    private struct Summary {
        var sinceMs: Int64
        var last: AuditEvent
        var count = 0
    }

    private let topic: String
    /// In the order in which they came, and the next place among them to be used again.
    private var readers: [Reader] = []
    private var known: Set<Reader> = []
    private var nextPlace = 0
    private var summaries: [Kind: Summary] = [:]
    private var sweptMs: Int64 = 0

    init(topic: String) {
        self.topic = topic
    }

    /// The events to write, now that this one has happened.
    mutating func take(_ event: AuditEvent, nowMs: Int64) -> [AuditEvent] {
        var due = nowMs - sweptMs >= Self.intervalMs ? sweep(nowMs) : []
        guard isSummarised(event) else { return due + [event] }
        let kind = Kind(
            reader: Reader(event), wire: event.subject.wire, operation: event.operation, resource: event.resource, name: event.name)
        if var summary = summaries[kind] {
            var event = event
            // A change is told from the first state to the last.
            if summary.count > 0 { event.before = summary.last.before }
            summary.last = event
            summary.count += 1
            summaries[kind] = summary
        } else {
            if summaries.count >= Self.kindsMax { due += tell() }
            summaries[kind] = Summary(sinceMs: nowMs, last: event)
            due.append(event)
        }
        return due
    }

    /// Everything that was counted and not written yet; the counts begin anew.
    mutating func tell() -> [AuditEvent] {
        defer { summaries = [:] }
        return summaries.values.compactMap(Self.event)
    }

    private mutating func sweep(_ nowMs: Int64) -> [AuditEvent] {
        sweptMs = nowMs
        var due: [AuditEvent] = []
        for (kind, summary) in summaries where nowMs - summary.sinceMs >= Self.intervalMs {
            guard let event = Self.event(summary) else {
                summaries[kind] = nil
                continue
            }
            due.append(event)
            summaries[kind] = Summary(sinceMs: nowMs, last: event)
        }
        return due
    }

    private static func event(_ summary: Summary) -> AuditEvent? {
        guard summary.count > 0 else { return nil }
        var event = summary.last
        event.count = summary.count
        return event
    }

    private mutating func isSummarised(_ event: AuditEvent) -> Bool {
        switch (event.kind, event.outcome) {
        case (.access, .allowed):
            if event.resource == "topic", event.name == topic, event.operation == "read" { note(Reader(event)) }
            return known.contains(Reader(event))
        case (.change, .succeeded):
            // Only its first partition has events.
            let place = "\(topic)-0"
            return event.resource == "offsets" && (event.after?[place] != nil || event.before?[place] != nil)
        default: return false
        }
    }

    private mutating func note(_ reader: Reader) {
        guard known.insert(reader).inserted else { return }
        guard readers.count == Self.readersMax else { return readers.append(reader) }
        known.remove(readers[nextPlace])
        readers[nextPlace] = reader
        nextPlace = (nextPlace + 1) % Self.readersMax
    }
}
