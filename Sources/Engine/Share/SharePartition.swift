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
// Time is handed in: locks in monotonic milliseconds, delays in wall-clock milliseconds. Nothing here waits or writes.
// Input that a peer can get wrong throws `ShareError`; nothing is changed then.

package struct SharePartition: Sendable {
    package enum State: Int8, Sendable {
        case available = 0
        case acquired = 1
        case acknowledged = 2
        case archiving = 3
        case archived = 4

        var isTerminal: Bool { self == .acknowledged || self == .archived }
    }

    /// Neighbouring records in the same state.
    package struct Run: Equatable, Sendable {
        package var first: Int64
        package var last: Int64
        package var state: State
        package var deliveryCount: Int16 = 0
        package var member: ShareMemberId?
        /// When the lock ends, monotonic ms; `.max` unless acquired.
        package var deadlineMs = Int64.max
        /// Not to be delivered before this wall-clock time, ms; 0: at once.
        package var notBeforeMs: Int64 = 0

        package var count: Int64 { last - first + 1 }

        /// Whether both can be one run.
        func isLike(_ other: Run) -> Bool {
            if state != other.state { return false }
            if state.isTerminal { return true }
            return deliveryCount == other.deliveryCount && member == other.member && deadlineMs == other.deadlineMs
                && notBeforeMs == other.notBeforeMs
        }
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
    package private(set) var runs: [Run] = []
    /// What changed and has to be written, as ranges.
    private(set) var dirty = OffsetRanges()
    private(set) var isStartDirty = false
    /// Records were given back since somebody last asked.
    private(set) var hasReleased = false

    package init(startOffset: Int64) {
        self.startOffset = startOffset
        isStartDirty = true
    }

    /// From the log: lays what a record says over what earlier ones said. Offsets that none names were never met.
    mutating func restore(startOffset start: Int64, _ found: [Run]) {
        for run in found where run.last >= run.first && run.last >= startOffset {
            var run = run
            run.first = max(run.first, startOffset)
            if run.first > endOffset { runs.append(Run(first: endOffset, last: run.first - 1, state: .available)) }
            if run.last >= endOffset {
                // What lies beyond the end so far is new; `update` below does the rest.
                runs.append(Run(first: endOffset, last: run.last, state: .available))
            }
            update(run.first...run.last) { old in
                var replaced = run
                replaced.first = old.first
                replaced.last = old.last
                return [replaced]
            }
        }
        mergeAll()
        if start >= 0 { logStarts(at: start) }
        advanceStart()
        dirty = OffsetRanges()
        isStartDirty = false
    }

    /// First offset that nobody has looked at.
    package var endOffset: Int64 { runs.last.map { $0.last + 1 } ?? startOffset }

    /// Records that are acquired, or were and are to be delivered again.
    package var inFlightCount: Int64 {
        runs.reduce(0) { $0 + ($1.state.isTerminal ? 0 : $1.count) }
    }

    /// Records from the start on that are done with already.
    package var deliveryCompleteCount: Int64 {
        runs.reduce(0) { $0 + ($1.state.isTerminal ? $1.count : 0) }
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

    // MARK: Acquiring

    /// Where to read for the next delivery: the first record that may be delivered again, or what nobody has looked at if
    /// there is room for more. nil: there is nothing to deliver now. `mayBeNew`: a read may go on into new records.
    package func nextFetchOffset(
        wallMs: Int64, rules: Rules
    ) -> (offset: Int64, mayBeNew: Bool)? {
        let hasRoom = inFlightCount < Int64(rules.maxRecordLocks) && runs.count < 2 * rules.maxRecordLocks
        if let run = runs.first(where: { $0.isDeliverable(wallMs) }) { return (run.first, hasRoom) }
        return hasRoom ? (endOffset, true) : nil
    }

    /// Takes what is available in `batches` (ascending, as they are in the log) for a member, from `from` on. Whole batches until there
    /// are `maxRecords`, or not one more than that if `isStrict`. Returns what was acquired, with the delivery count.
    package mutating func acquire(
        _ batches: [ShareBatch], from: Int64, maxRecords: Int, isStrict: Bool, member: ShareMemberId,
        nowMs: Int64, wallMs: Int64, rules: Rules
    ) -> [Run] {
        var acquired: [Run] = []
        var taken: Int64 = 0
        for batch in batches where batch.last >= from && batch.last >= startOffset {
            let isNew = batch.last >= endOffset
            if isNew {
                guard taken < Int64(maxRecords), inFlightCount < Int64(rules.maxRecordLocks) else { break }
                meet(batch)
            }
            guard taken < Int64(maxRecords) else { break }
            let limit = isStrict ? Int64(maxRecords) - taken : .max
            let got = take(
                max(batch.first, from, startOffset)...batch.last, limit: limit, member: member, nowMs: nowMs, wallMs: wallMs,
                rules: rules)
            taken += got.reduce(0) { $0 + $1.count }
            acquired += got
        }
        mergeAll()
        advanceStart()
        return acquired
    }

    /// Takes a batch of the log into the books: its records are available, its gaps and what is hidden archived.
    private mutating func meet(_ batch: ShareBatch) {
        var next = endOffset
        func add(_ last: Int64, _ state: State, notBeforeMs: Int64 = 0) {
            guard last >= next else { return }
            var run = Run(first: next, last: last, state: state)
            run.notBeforeMs = notBeforeMs
            runs.append(run)
            if state == .archived { dirty.insert(next...last) }
            next = last + 1
        }
        add(batch.first - 1, .archived)
        if batch.isHidden { return add(batch.last, .archived) }
        for delayed in batch.delayed.sorted(by: { $0.offset < $1.offset }) where (next...batch.last).contains(delayed.offset) {
            add(delayed.offset - 1, .available)
            add(delayed.offset, .available, notBeforeMs: delayed.notBeforeMs)
        }
        add(batch.last, .available)
    }

    private mutating func take(
        _ range: ClosedRange<Int64>, limit: Int64, member: ShareMemberId, nowMs: Int64, wallMs: Int64, rules: Rules
    ) -> [Run] {
        var acquired: [Run] = []
        var left = limit
        update(range) { run in
            guard left > 0, run.isDeliverable(wallMs) else { return [run] }
            guard run.deliveryCount < rules.deliveryCountLimit else { return [run] }
            var mine = run
            mine.last = left >= run.count ? run.last : run.first + left - 1
            mine.state = .acquired
            mine.deliveryCount += 1
            mine.member = member
            mine.deadlineMs = nowMs + rules.lockDurationMs
            mine.notBeforeMs = 0
            left -= mine.count
            acquired.append(mine)
            guard mine.last < run.last else { return [mine] }
            var rest = run
            rest.first = mine.last + 1
            return [mine, rest]
        }
        return acquired
    }

    // MARK: Acknowledging

    /// Applies what a member says about records it holds: all of it, or nothing if one of them is not its own. Offsets
    /// below the start are done with and ignored. Returns the records that need a dead letter.
    package mutating func acknowledge(
        _ acknowledgements: [ShareAcknowledgement], member: ShareMemberId, nowMs: Int64, wallMs: Int64, rules: Rules
    ) throws(ShareError) -> [DeadLetter] {
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
        mergeAll()
        advanceStart()
        return letters
    }

    private func check(_ batch: ShareAcknowledgement, _ member: ShareMemberId) throws(ShareError) {
        guard batch.last < endOffset else { throw .invalidRequest }
        guard batch.last >= startOffset else { return }
        for run in runs[index(of: max(batch.first, startOffset))...] {
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
        mergeAll()
        advanceStart()
    }

    /// Records whose dead letter was begun and is not durable: all of them, to try again.
    package var unburied: [Run] { runs.filter { $0.state == .archiving } }

    // MARK: Ends of locks

    /// Locks that have ended give their records back. Returns the records that need a dead letter.
    package mutating func advance(nowMs: Int64, rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        guard runs.contains(where: { $0.state == .acquired && $0.deadlineMs <= nowMs }) else { return expireSpent(rules) }
        release(rules, into: &letters) { $0.deadlineMs <= nowMs }
        return letters + expireSpent(rules)
    }

    /// A member is gone: what it holds is available again. Returns the records that need a dead letter.
    package mutating func release(_ member: ShareMemberId, rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        release(rules, into: &letters) { $0.member == member }
        return letters
    }

    private mutating func release(_ rules: Rules, into letters: inout [DeadLetter], where matches: (Run) -> Bool) {
        for at in runs.indices where runs[at].state == .acquired && matches(runs[at]) {
            dirty.insert(runs[at].first...runs[at].last)
            runs[at] = runs[at].released(notBeforeMs: 0, rules: rules, into: &letters)
            hasReleased = true
        }
        mergeAll()
        advanceStart()
    }

    /// Whether records were given back since the last call.
    mutating func takeReleased() -> Bool {
        defer { hasReleased = false }
        return hasReleased
    }

    /// Delays that have ended make records available, as a release does.
    mutating func noteDelaysEnded(wallMs: Int64) {
        for at in runs.indices where runs[at].notBeforeMs > 0 && runs[at].isDeliverable(wallMs) {
            runs[at].notBeforeMs = 0
            hasReleased = true
        }
    }

    /// Records that a crash, or a lower limit, left available with no delivery to come.
    private mutating func expireSpent(_ rules: Rules) -> [DeadLetter] {
        var letters: [DeadLetter] = []
        for at in runs.indices
        where runs[at].state == .available && runs[at].deliveryCount >= rules.deliveryCountLimit {
            dirty.insert(runs[at].first...runs[at].last)
            runs[at] = runs[at].released(notBeforeMs: 0, rules: rules, into: &letters)
            hasReleased = true
        }
        guard hasReleased else { return letters }
        mergeAll()
        advanceStart()
        return letters
    }

    /// The log ends here after a crash: what lies beyond was lost, and its offsets will be given to other records.
    /// Returns whether that changed anything.
    mutating func logEnds(at offset: Int64) -> Bool {
        guard endOffset > offset else { return false }
        runs.removeAll { $0.first >= offset }
        if let last = runs.last, last.last >= offset { runs[runs.count - 1].last = offset - 1 }
        startOffset = min(startOffset, offset)
        return true
    }

    /// The log begins later now (retention, DeleteRecords): what is gone is done with.
    package mutating func logStarts(at offset: Int64) {
        guard offset > startOffset else { return }
        runs.removeAll { $0.last < offset }
        if let first = runs.first, first.first < offset { runs[0].first = offset }
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

    /// What changed since the last call.
    mutating func takeChanges() -> [Run] {
        var changed: [Run] = []
        for range in dirty.ranges {
            for run in runs where run.last >= range.lowerBound && run.first <= range.upperBound {
                var part = run
                part.first = max(run.first, range.lowerBound)
                part.last = min(run.last, range.upperBound)
                changed.append(part)
            }
        }
        dirty = OffsetRanges()
        isStartDirty = false
        return changed
    }

    // MARK: Runs

    /// Index of the run that holds `offset`, which is one of theirs.
    private func index(of offset: Int64) -> Int {
        var low = 0
        var high = runs.count - 1
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].last < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Replaces the runs in `range`, cut to it, by what `edit` makes of each.
    private mutating func update(_ range: ClosedRange<Int64>, _ edit: (Run) -> [Run]) {
        guard !runs.isEmpty, range.lowerBound < endOffset, range.upperBound >= startOffset else { return }
        let begin = index(of: max(range.lowerBound, startOffset))
        var replaced: [Run] = []
        var at = begin
        while at < runs.count, runs[at].first <= range.upperBound {
            let run = runs[at]
            var inside = run
            if run.first < range.lowerBound {
                var before = run
                before.last = range.lowerBound - 1
                replaced.append(before)
                inside.first = range.lowerBound
            }
            if run.last > range.upperBound { inside.last = range.upperBound }
            replaced += edit(inside)
            if run.last > range.upperBound {
                var after = run
                after.first = range.upperBound + 1
                replaced.append(after)
            }
            at += 1
        }
        runs.replaceSubrange(begin..<at, with: replaced)
    }

    private mutating func mergeAll() {
        guard runs.count > 1 else { return }
        var merged: [Run] = []
        merged.reserveCapacity(runs.count)
        for run in runs {
            if let last = merged.last, last.isLike(run) {
                merged[merged.count - 1].last = run.last
            } else {
                merged.append(run)
            }
        }
        runs = merged
    }

    /// The start moves past what is done with.
    private mutating func advanceStart() {
        let done = runs.prefix { $0.state.isTerminal }
        guard let last = done.last else { return }
        startOffset = last.last + 1
        runs.removeFirst(done.count)
        isStartDirty = true
        dirty.removeBelow(startOffset)
    }
}

extension SharePartition.Run {
    func isDeliverable(_ wallMs: Int64) -> Bool { state == .available && notBeforeMs <= wallMs }

    func ended(_ state: SharePartition.State) -> Self {
        var run = self
        run.state = state
        run.member = nil
        run.deadlineMs = .max
        run.notBeforeMs = 0
        return run
    }

    /// Given back: available, or done with if no delivery is left.
    func released(
        notBeforeMs: Int64, rules: SharePartition.Rules, into letters: inout [SharePartition.DeadLetter]
    ) -> Self {
        guard deliveryCount < rules.deliveryCountLimit else {
            return archived(.deliveryCountExceeded, "", rules: rules, into: &letters)
        }
        var run = ended(.available)
        run.notBeforeMs = notBeforeMs
        return run
    }

    func archived(
        _ cause: DeadLetterCause, _ reason: String, rules: SharePartition.Rules,
        into letters: inout [SharePartition.DeadLetter]
    ) -> Self {
        guard rules.hasDeadLetters else { return ended(.archived) }
        for offset in first...last {
            letters.append(
                SharePartition.DeadLetter(offset: offset, deliveryCount: deliveryCount, cause: cause, reason: reason))
        }
        return ended(.archiving)
    }
}
