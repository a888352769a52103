// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: stretches of neighbouring records in the same state: what a share partition's books are kept in.
//
// `ShareRuns` is in the order of offsets and without gaps; neighbours that are alike become one run with `merge`. It knows nothing of
// what states mean: `SharePartition` says what becomes of a run.

extension SharePartition {
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
}

struct ShareRuns: Sendable {
    private(set) var all: [SharePartition.Run] = []

    var isEmpty: Bool { all.isEmpty }
    var last: SharePartition.Run? { all.last }

    mutating func append(_ run: SharePartition.Run) { all.append(run) }

    /// Those from the one that holds `offset`, which is one of theirs.
    func from(_ offset: Int64) -> ArraySlice<SharePartition.Run> { all[index(of: offset)...] }

    /// What the runs have in `range`, cut to it.
    func parts(in range: ClosedRange<Int64>) -> [SharePartition.Run] {
        all.filter { $0.last >= range.lowerBound && $0.first <= range.upperBound }.map { run in
            var part = run
            part.first = max(run.first, range.lowerBound)
            part.last = min(run.last, range.upperBound)
            return part
        }
    }

    /// Changes each run that `matches`, as a whole; returns which stretches those are.
    mutating func change(
        where matches: (SharePartition.Run) -> Bool, _ edit: (SharePartition.Run) -> SharePartition.Run
    ) -> [ClosedRange<Int64>] {
        var changed: [ClosedRange<Int64>] = []
        for at in all.indices where matches(all[at]) {
            changed.append(all[at].first...all[at].last)
            all[at] = edit(all[at])
        }
        return changed
    }

    /// Replaces the runs in `range`, cut to it, by what `edit` makes of each.
    mutating func update(_ range: ClosedRange<Int64>, _ edit: (SharePartition.Run) -> [SharePartition.Run]) {
        guard let first = all.first, let last = all.last, range.lowerBound <= last.last, range.upperBound >= first.first
        else { return }
        let begin = index(of: max(range.lowerBound, first.first))
        var replaced: [SharePartition.Run] = []
        var at = begin
        while at < all.count, all[at].first <= range.upperBound {
            let run = all[at]
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
        all.replaceSubrange(begin..<at, with: replaced)
    }

    /// Makes one run of neighbours that are alike.
    mutating func merge() {
        guard all.count > 1 else { return }
        var merged: [SharePartition.Run] = []
        merged.reserveCapacity(all.count)
        for run in all {
            if let last = merged.last, last.isLike(run) {
                merged[merged.count - 1].last = run.last
            } else {
                merged.append(run)
            }
        }
        all = merged
    }

    mutating func removeBelow(_ offset: Int64) {
        all.removeAll { $0.last < offset }
        if let first = all.first, first.first < offset { all[0].first = offset }
    }

    mutating func removeFrom(_ offset: Int64) {
        all.removeAll { $0.first >= offset }
        if let last = all.last, last.last >= offset { all[all.count - 1].last = offset - 1 }
    }

    /// Index of the run that holds `offset`, which is one of theirs.
    private func index(of offset: Int64) -> Int {
        var low = 0
        var high = all.count - 1
        while low < high {
            let middle = (low + high) / 2
            if all[middle].last < offset { low = middle + 1 } else { high = middle }
        }
        return low
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
