// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the state of one partition's records for one share group (KIP-932), as a pure machine.
//
//   (beyond the end) --acquire--> acquired --accept--> acknowledged
//        |                        |  ^  \--reject, gap, deliveries used up--> archiving --dead letter is durable--> archived
//        |               release, |  | acquire (the delivery count goes up)
//        |          lock ends     v  |
//        +--delayed-----------> available
//
// Offsets below `startOffset` are done with; `runs` covers `startOffset ..< endOffset` without gaps, in order, each run
// a stretch of records in the same state; beyond is what nobody has looked at. Neighbours that are alike are one run.
// Only `acquired` has a member and a deadline; `archiving` is a record that waits for its dead letter.
// Who lets locks end without a word is passed over for those who do not (`ShareStandings`): `recordsMax` is asked before `acquire`.
// Time is handed in: locks in monotonic milliseconds, delays in wall-clock milliseconds. Nothing here waits or writes.
// Input that a peer can get wrong throws `ShareError`; no record is changed then.

import Bytes

package struct SharePartition: Sendable {
    package enum State: Int8, Sendable {
        case available = 0
        case acquired = 1
        case acknowledged = 2
        case archiving = 3
        case archived = 4

        var isTerminal: Bool { self == .acknowledged || self == .archived }
    }

    /// What the machine goes by; read anew with every call, since it can be changed while a group runs.
    package struct Rules: Equatable, Sendable {
        package var lockDurationMs: Int64 = 30_000
        package var deliveryCountLimit: Int16 = 5
        package var maxRecordLocks = 2_000
        /// Whether archived records have to be written elsewhere first.
        package var hasDeadLetters = false

        package init() {}
    }

    /// A record that is to be written to the dead-letter topic; answered with `buried`.
    package struct DeadLetter: Equatable, Sendable {
        package var offset: Int64
        package var deliveryCount: Int16
        package var cause: DeadLetterCause
        package var reason: String = ""
    }

    package private(set) var startOffset: Int64
    private var books = ShareRuns()
    package var runs: [Run] { books.all }
    /// What changed and has to be written, as ranges.
    private(set) var dirty = OffsetRanges()
    private(set) var isStartDirty = false
    /// Records were given back since somebody last asked.
    private(set) var hasReleased = false
    var standings = ShareStandings()

    package init(startOffset: Int64) {
        self.startOffset = startOffset
        isStartDirty = true
    }

    /// From the log: lays what a record says over what earlier ones said. Offsets that none names were never met.
    mutating func restore(startOffset start: Int64, _ found: [Run]) {
        for run in found where run.last >= run.first && run.last >= startOffset {
            var run = run
            run.first = max(run.first, startOffset)
            addNew(through: run.first - 1)
            // What lies beyond the end so far is new; `update` below does the rest.
            addNew(through: run.last)
            update(run.first...run.last) { old in
                var replaced = run
                replaced.first = old.first
                replaced.last = old.last
                return [replaced]
            }
        }
        books.merge()
        if start >= 0 { logStarts(at: start) }
        advanceStart()
        dirty = OffsetRanges()
        isStartDirty = false
    }

    /// First offset that nobody has looked at.
    package var endOffset: Int64 { books.last.map { $0.last + 1 } ?? startOffset }

    /// Records that are acquired, or were and are to be delivered again.
    package var inFlightCount: Int64 {
        runs.reduce(0) { $0 + ($1.state.isTerminal ? 0 : $1.count) }
    }

    /// Records from the start on that are done with already.
    package var deliveryCompleteCount: Int64 {
        runs.reduce(0) { $0 + ($1.state.isTerminal ? $1.count : 0) }
    }

    /// What is done with from `offset` on, as few ranges as that takes.
    package func done(from offset: Int64) -> [ClosedRange<Int64>] {
        var done = OffsetRanges()
        if startOffset > offset { done.insert(offset...startOffset - 1) }
        for run in runs where run.state.isTerminal && run.last >= offset { done.insert(max(run.first, offset)...run.last) }
        return done.ranges
    }

    /// When something happens by itself next: a lock ends (monotonic), a delay ends (wall clock).
    package var nextDeadlines: (lockMs: Int64, notBeforeMs: Int64) {
        var next: (lockMs: Int64, notBeforeMs: Int64) = (.max, .max)
        for run in runs {
            next.lockMs = min(next.lockMs, run.deadlineMs)
            if run.state == .available, run.notBeforeMs > 0 { next.notBeforeMs = min(next.notBeforeMs, run.notBeforeMs) }
        }
        return next
    }

    // MARK: Acknowledging

    /// Applies what a member says about records it holds: all of it, or nothing if one of them is not its own. Offsets
    /// below the start are done with and ignored. Returns the records that need a dead letter.
    package mutating func acknowledge(
        _ acknowledgements: [ShareAcknowledgement], member: ShareMemberId, nowMs: Int64, wallMs: Int64, rules: Rules
    ) throws(ShareError) -> [DeadLetter] {
        // Gaps are found by whoever reads for the member, and are no word of its own.
        if acknowledgements.contains(where: { $0.outcome != .gap }) { standings.heard(from: member) }
        var previous = Int64.min
        for batch in acknowledgements {
            guard batch.first <= batch.last, batch.first > previous else { throw .invalidRequest }
            previous = batch.last
            try check(batch, member)
        }
        var letters: [DeadLetter] = []
        for batch in acknowledgements where batch.last >= startOffset {
            update(max(batch.first, startOffset)...batch.last) { run in
                [batch.outcome.applied(to: run, nowMs: nowMs, wallMs: wallMs, rules: rules, into: &letters)]
            }
            if !batch.outcome.isRenewal { dirty.insert(max(batch.first, startOffset)...batch.last) }
            if case .release = batch.outcome { hasReleased = true }
        }
        tidy()
        return letters
    }

    private func check(_ batch: ShareAcknowledgement, _ member: ShareMemberId) throws(ShareError) {
        guard batch.last < endOffset else { throw .invalidRequest }
        guard batch.last >= startOffset else { return }
        for run in books.from(max(batch.first, startOffset)) {
            if run.first > batch.last { return }
            guard run.state == .acquired, run.member == member else { throw .invalidRecordState }
        }
    }

    /// Dead letters are durable: their records are done with.
    package mutating func buried(_ offsets: [Int64]) {
        for offset in offsets where offset >= startOffset && offset < endOffset {
            update(offset...offset) { run in
                guard run.state == .archiving else { return [run] }
                return [run.ended(.archived)]
            }
            dirty.insert(offset...offset)
        }
        tidy()
    }

    /// Records whose dead letter was begun and is not durable: all of them, to try again.
    package var unburied: [Run] { runs.filter { $0.state == .archiving } }

    // MARK: Ends of locks

    /// Locks that have ended give their records back. Returns the records that need a dead letter.
    package mutating func advance(nowMs: Int64, rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        let ended = runs.filter { $0.state == .acquired && $0.deadlineMs <= nowMs }
        guard !ended.isEmpty else { return expireSpent(rules) }
        for member in ended.compactMap(\.member) { standings.lockEnded(of: member, nowMs: nowMs) }
        release(rules, into: &letters) { $0.deadlineMs <= nowMs }
        return letters + expireSpent(rules)
    }

    /// A member is gone: what it holds is available again. Returns the records that need a dead letter.
    package mutating func release(_ member: ShareMemberId, rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        standings.left(member)
        release(rules, into: &letters) { $0.member == member }
        return letters
    }

    private mutating func release(_ rules: Rules, into letters: inout [DeadLetter], where matches: (Run) -> Bool) {
        note(released: books.change(where: { $0.state == .acquired && matches($0) }) {
            sabotaged("loseReleased") ? $0.ended(.archived) : $0.released(notBeforeMs: 0, rules: rules, into: &letters)
        })
        tidy()
    }

    /// Whether records were given back since the last call.
    mutating func takeReleased() -> Bool {
        defer { hasReleased = false }
        return hasReleased
    }

    /// Delays that have ended make records available, as a release does.
    mutating func noteDelaysEnded(wallMs: Int64) {
        let ended = books.change(where: { $0.notBeforeMs > 0 && $0.isDeliverable(wallMs) }) { run in
            var run = run
            run.notBeforeMs = 0
            return run
        }
        if !ended.isEmpty { hasReleased = true }
    }

    /// Records that a crash, or a lower limit, left available with no delivery to come.
    private mutating func expireSpent(_ rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        note(
            released: books.change(where: { $0.state == .available && $0.deliveryCount >= rules.deliveryCountLimit }) {
                $0.released(notBeforeMs: 0, rules: rules, into: &letters)
            })
        guard hasReleased else { return letters }
        tidy()
        return letters
    }

    /// The log ends here after a crash: what lies beyond was lost, and its offsets will be given to other records.
    /// Returns whether that changed anything.
    mutating func logEnds(at offset: Int64) -> Bool {
        guard endOffset > offset else { return false }
        books.removeFrom(offset)
        startOffset = min(startOffset, offset)
        return true
    }

    /// The log begins later now (retention, DeleteRecords): what is gone is done with.
    package mutating func logStarts(at offset: Int64) {
        guard offset > startOffset else { return }
        books.removeBelow(offset)
        startOffset = offset
        isStartDirty = true
        dirty.removeBelow(startOffset)
        advanceStart()
    }

    // MARK: What is to be written

    /// Everything, as it would be restored.
    mutating func takeAll() -> [Run] {
        dirty = OffsetRanges()
        isStartDirty = false
        return runs
    }

    var hasChanges: Bool { !dirty.isEmpty || isStartDirty }

    /// What is held is to be written as well, for the sake of its delivery count.
    mutating func noteDeliveries() {
        for run in runs where run.state == .acquired { dirty.insert(run.first...run.last) }
    }

    /// What changed since the last call.
    mutating func takeChanges() -> [Run] {
        let changed = dirty.ranges.flatMap { books.parts(in: $0) }
        dirty = OffsetRanges()
        isStartDirty = false
        return changed
    }

    // MARK: The books

    /// Neighbours that are alike become one, and the start moves past what is done with.
    mutating func tidy() {
        books.merge()
        advanceStart()
    }

    /// Replaces the runs in `range`, cut to it, by what `edit` makes of each.
    mutating func update(_ range: ClosedRange<Int64>, _ edit: (Run) -> [Run]) {
        guard range.lowerBound < endOffset, range.upperBound >= startOffset else { return }
        books.update(range, edit)
    }

    /// What nobody has looked at so far is available, through `last`.
    mutating func addNew(through last: Int64, notBeforeMs: Int64 = 0) {
        guard last >= endOffset else { return }
        var run = Run(first: endOffset, last: last, state: .available)
        run.notBeforeMs = notBeforeMs
        books.append(run)
    }

    /// What nobody has looked at so far is of no use to anybody, through `last`.
    mutating func archiveNew(through last: Int64) {
        guard last >= endOffset else { return }
        dirty.insert(endOffset...last)
        books.append(Run(first: endOffset, last: last, state: .archived))
    }

    private mutating func note(released ranges: [ClosedRange<Int64>]) {
        for range in ranges { dirty.insert(range) }
        if !ranges.isEmpty { hasReleased = true }
    }

    /// The start moves past what is done with.
    private mutating func advanceStart() {
        guard let last = runs.prefix(while: \.state.isTerminal).last else { return }
        startOffset = last.last + 1
        books.removeBelow(startOffset)
        isStartDirty = true
        dirty.removeBelow(startOffset)
    }
}
