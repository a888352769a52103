// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which records of a share partition go to a member next.
//
// What was given back comes before what nobody has looked at, since it lies before it. At most `maxRecordLocks` records are in flight:
// at that bound only those are delivered that are in flight already. Whole batches may pass the bound by the rest of the last one, as in
// Kafka, whose clients get whole batches; who is given single records (`isStrict`) never passes it.

import Bytes

extension SharePartition {
    /// Where to read for the next delivery: the first record that may be delivered again, or what nobody has looked at if
    /// there is room for more. nil: there is nothing to deliver now.
    package func nextFetchOffset(wallMs: Int64, rules: Rules) -> Int64? {
        if let run = runs.first(where: { $0.isDeliverable(wallMs) }) { return run.first }
        return room(rules) > 0 ? endOffset : nil
    }

    /// A member comes for records: how many it may take now.
    package mutating func recordsMax(for member: ShareMemberId, nowMs: Int64) -> Int {
        switch standings.came(member, nowMs: nowMs) {
        case .good: .max
        case .passedOver: 0
        case .onTrial: runs.contains { $0.state == .acquired && $0.member == member } ? 0 : 1
        }
    }

    /// How many records may be looked at that nobody has.
    private func room(_ rules: Rules) -> Int64 {
        // Many small runs are many records that are done with between a few that are not.
        guard runs.count < 2 * rules.maxRecordLocks else { return 0 }
        return max(0, Int64(rules.maxRecordLocks) - inFlightCount)
    }

    /// Takes what is available in `batches` (ascending, as they are in the log) for a member, from `from` on. Whole batches until there
    /// are `maxRecords`, or not one more than that if `isStrict`. Returns what was acquired, with the delivery count.
    package mutating func acquire(
        _ batches: [ShareBatch], from: Int64, maxRecords: Int, isStrict: Bool, member: ShareMemberId,
        nowMs: Int64, wallMs: Int64, rules: Rules
    ) -> [Run] {
        var acquired: [Run] = []
        var left = Int64(maxRecords)
        for batch in batches where batch.last >= from && batch.last >= startOffset {
            guard left > 0 else { break }
            if batch.last >= endOffset {
                let room = room(rules)
                if room > 0 { meet(batch, atMost: isStrict ? room : .max) }
            }
            let first = max(batch.first, from, startOffset)
            let last = min(batch.last, endOffset - 1)
            if first <= last {
                let got = take(
                    first...last, limit: isStrict ? left : .max, member: member, nowMs: nowMs, wallMs: wallMs, rules: rules)
                left -= got.reduce(0) { $0 + $1.count }
                acquired += got
            }
            // There was no room for all of it: what follows comes after the rest.
            if last < batch.last { break }
        }
        if !acquired.isEmpty { standings.locked(by: member, lockMs: rules.lockDurationMs) }
        tidy()
        return acquired
    }

    /// Takes a batch of the log into the books: its gaps, and what is hidden, are archived; its records are available, but for
    /// those beyond the first so many, which nobody has looked at yet.
    private mutating func meet(_ batch: ShareBatch, atMost count: Int64) {
        archiveNew(through: batch.first - 1)
        if batch.isHidden { return archiveNew(through: batch.last) }
        let last = batch.last - endOffset < count ? batch.last : endOffset + count - 1
        for delayed in batch.delayed.sorted(by: { $0.offset < $1.offset })
        where delayed.offset >= endOffset && delayed.offset <= last {
            addNew(through: delayed.offset - 1)
            addNew(through: delayed.offset, notBeforeMs: delayed.notBeforeMs)
        }
        addNew(through: last)
    }

    private mutating func take(
        _ range: ClosedRange<Int64>, limit: Int64, member: ShareMemberId, nowMs: Int64, wallMs: Int64, rules: Rules
    ) -> [Run] {
        var acquired: [Run] = []
        var left = limit
        update(range) { run in
            guard left > 0, run.isDeliverable(wallMs) || sabotaged("deliverHeld") && run.state == .acquired else { return [run] }
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
}
