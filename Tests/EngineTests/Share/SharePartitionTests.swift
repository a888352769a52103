// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the states of a share partition's records.

import Bytes
import NIOCore
import Storage
import Testing

@testable import Engine

private let alice = ShareMemberId("alice")
private let bob = ShareMemberId("bob")

/// A machine with its time and rules.
private struct Machine {
    var partition: SharePartition
    var rules = SharePartition.Rules()
    var nowMs: Int64 = 0
    var wallMs: Int64 = 1_000_000

    init(startOffset: Int64 = 0) { partition = SharePartition(startOffset: startOffset) }

    /// Acquires in batches of ten records from wherever the machine says.
    mutating func acquire(
        _ member: ShareMemberId = alice, max: Int = 10, strict: Bool = true, end: Int64 = 1_000, batch: Int64 = 10,
        delayed: [ShareBatch.Delayed] = [], hidden: Set<Int64> = []
    ) -> [String] {
        guard let from = partition.nextFetchOffset(wallMs: wallMs, rules: rules), from < end else { return [] }
        let batches = stride(from: from - from % batch, to: end, by: Int(batch)).map { first in
            ShareBatch(
                first: first, last: first + batch - 1, isHidden: hidden.contains(first),
                delayed: delayed.filter { (first..<first + batch).contains($0.offset) })
        }
        return partition.acquire(
            batches, from: from, maxRecords: max, isStrict: strict, member: member, nowMs: nowMs, wallMs: wallMs,
            rules: rules
        ).map { "\($0.first)-\($0.last)x\($0.deliveryCount)" }
    }

    mutating func say(
        _ first: Int64, _ last: Int64, _ outcome: ShareAcknowledgement.Outcome, by member: ShareMemberId = alice
    ) throws(ShareError) -> [SharePartition.DeadLetter] {
        try partition.acknowledge(
            [ShareAcknowledgement(first: first, last: last, outcome: outcome)], member: member, nowMs: nowMs,
            wallMs: wallMs, rules: rules)
    }

    mutating func mayTake(_ member: ShareMemberId) -> Int { partition.recordsMax(for: member, nowMs: nowMs) }

    mutating func pass(ms: Int64) {
        nowMs += ms
        _ = partition.advance(nowMs: nowMs, rules: rules)
    }

    var runs: [String] { partition.runs.map { "\($0.first)-\($0.last) \($0.state) \($0.deliveryCount)" } }
}

@Suite("States of a share partition's records")
struct SharePartitionTests {
    @Test func aBatchThatIsAcquiredAndAcknowledgedAsAWholeIsOneRun() throws {
        var machine = Machine()
        #expect(machine.acquire(max: 500, strict: false, end: 500, batch: 500) == ["0-499x1"])
        #expect(machine.runs == ["0-499 acquired 1"])
        #expect(try machine.say(0, 499, .accept).isEmpty)
        #expect(machine.runs.isEmpty)
        #expect(machine.partition.startOffset == 500)
    }

    @Test func wholeBatchesAreAcquiredUnlessTheLimitIsStrict() {
        var whole = Machine()
        #expect(whole.acquire(max: 15, strict: false) == ["0-9x1", "10-19x1"])
        var strict = Machine()
        #expect(strict.acquire(max: 15) == ["0-9x1", "10-14x1"])
        #expect(strict.acquire(bob, max: 100, end: 20) == ["15-19x1"])
    }

    @Test func theStartMovesWhenEverythingBeforeItIsDoneWith() throws {
        var machine = Machine()
        _ = machine.acquire()
        _ = try machine.say(3, 9, .accept)
        #expect(machine.partition.startOffset == 0)
        #expect(machine.partition.deliveryCompleteCount == 7)
        _ = try machine.say(0, 1, .accept)
        #expect(machine.partition.startOffset == 2)
        // Records that were done with in different ways are passed alike.
        _ = try machine.say(2, 2, .gap)
        #expect(machine.partition.startOffset == 10 && machine.runs.isEmpty)
    }

    @Test func onlyTheHolderMaySpeakAndOnlyOnce() throws {
        var machine = Machine()
        _ = machine.acquire()
        #expect(throws: ShareError.invalidRecordState) { try machine.say(0, 0, .accept, by: bob) }
        #expect(throws: ShareError.invalidRequest) { try machine.say(5, 10, .accept) }
        #expect(throws: ShareError.invalidRequest) { try machine.say(5, 4, .accept) }
        _ = try machine.say(5, 5, .accept)
        #expect(throws: ShareError.invalidRecordState) { try machine.say(4, 6, .accept) }
        // Nothing of what was refused has happened.
        #expect(machine.runs == ["0-4 acquired 1", "5-5 acknowledged 1", "6-9 acquired 1"])
    }

    @Test func whatLiesBeforeTheStartIsDoneWithAndMayBeSpokenOf() throws {
        var machine = Machine()
        _ = machine.acquire()
        _ = try machine.say(0, 4, .accept)
        #expect(try machine.say(2, 6, .accept).isEmpty)
        #expect(machine.partition.startOffset == 7)
    }

    @Test func aReleasedRecordIsDeliveredAgainAndCounted() throws {
        var machine = Machine()
        _ = machine.acquire()
        _ = try machine.say(4, 5, .release(delayMs: 0))
        let hasReleased = machine.partition.takeReleased()
        #expect(hasReleased)
        #expect(machine.acquire(bob, max: 2) == ["4-5x2"])
        #expect(machine.acquire(bob, max: 1) == ["10-10x1"])
    }

    @Test func aDelayedReleaseWaitsForItsTime() throws {
        var machine = Machine()
        _ = machine.acquire(end: 10)
        _ = try machine.say(0, 9, .release(delayMs: 500))
        #expect(machine.partition.nextDeadlines.notBeforeMs == 1_000_500)
        #expect(machine.acquire(end: 10).isEmpty)
        machine.wallMs += 500
        machine.partition.noteDelaysEnded(wallMs: machine.wallMs)
        #expect(machine.acquire(end: 10) == ["0-9x2"])
    }

    @Test func aRecordIsNotDeliveredBeforeItsTimeAndTheOthersAre() throws {
        var machine = Machine()
        let delayed = [ShareBatch.Delayed(offset: 3, notBeforeMs: 1_000_700)]
        #expect(machine.acquire(end: 10, delayed: delayed) == ["0-2x1", "4-9x1"])
        _ = try machine.say(0, 2, .accept)
        _ = try machine.say(4, 9, .accept)
        #expect(machine.partition.startOffset == 3)
        machine.wallMs += 700
        #expect(machine.acquire(end: 10) == ["3-3x1"])
    }

    @Test func aLockThatEndsGivesTheRecordsBackAndARenewedOneDoesNot() throws {
        var machine = Machine()
        _ = machine.acquire()
        machine.nowMs = 20_000
        _ = try machine.say(0, 4, .renew(durationMs: nil))
        _ = try machine.say(5, 5, .renew(durationMs: 100_000))
        machine.nowMs = 30_000
        #expect(machine.partition.advance(nowMs: machine.nowMs, rules: machine.rules).isEmpty)
        #expect(machine.runs == ["0-4 acquired 1", "5-5 acquired 1", "6-9 available 1"])
        #expect(machine.partition.nextDeadlines.lockMs == 50_000)
        #expect(throws: ShareError.invalidRecordState) { try machine.say(6, 9, .accept) }
    }

    @Test func aMemberThatLeavesGivesBackWhatItHolds() {
        var machine = Machine()
        _ = machine.acquire(alice, max: 5)
        _ = machine.acquire(bob, max: 5, end: 10)
        #expect(machine.partition.release(alice, rules: machine.rules).isEmpty)
        #expect(machine.runs == ["0-4 available 1", "5-9 acquired 1"])
    }

    @Test func aMemberThatLetsItsLocksEndWithoutAWordIsPassedOver() throws {
        var machine = Machine()
        machine.rules.maxRecordLocks = 10
        #expect(machine.mayTake(alice) == .max && machine.mayTake(bob) == .max)
        _ = machine.acquire(alice)
        machine.pass(ms: 30_000)
        #expect(machine.mayTake(alice) == 0 && machine.mayTake(bob) == .max)
        #expect(machine.acquire(bob, max: 4) == ["0-3x2"])
        machine.pass(ms: 29_999)
        #expect(machine.mayTake(alice) == 0)
        // One record is its trial, and no other one until that has an end.
        machine.pass(ms: 1)
        _ = try? machine.say(0, 0, .accept, by: bob)
        #expect(machine.mayTake(alice) == 1)
        #expect(machine.acquire(alice, max: 1) == ["0-0x3"])
        #expect(machine.mayTake(alice) == 0)
        // It is as silent as before, and waits for twice as long.
        machine.pass(ms: 30_000)
        machine.pass(ms: 59_999)
        #expect(machine.mayTake(alice) == 0)
        machine.pass(ms: 1)
        #expect(machine.mayTake(alice) == 1)
    }

    @Test func aSilentMemberIsServedWhenThereIsNoOther() {
        var machine = Machine()
        #expect(machine.mayTake(alice) == .max)
        _ = machine.acquire(alice)
        machine.pass(ms: 30_000)
        #expect(machine.mayTake(alice) == .max)
        // Another that comes is preferred; with the last of those it is served again, and told so.
        #expect(machine.mayTake(bob) == .max && machine.mayTake(alice) == 0)
        _ = machine.partition.standings.takeRestored()
        _ = machine.partition.release(bob, rules: machine.rules)
        let isToldOfBob = machine.partition.standings.takeRestored()
        #expect(isToldOfBob && machine.mayTake(alice) == .max)
        // Among its like, too.
        #expect(machine.mayTake(bob) == .max)
        _ = machine.acquire(bob, max: 100, end: 30)
        machine.pass(ms: 30_000)
        #expect(machine.mayTake(alice) == .max && machine.mayTake(bob) == .max)
    }

    @Test func whatAMemberSaysOfAnyRecordRestoresItsStanding() throws {
        var machine = Machine()
        _ = (machine.mayTake(alice), machine.mayTake(bob))
        _ = machine.acquire(alice)
        machine.pass(ms: 30_000)
        #expect(machine.mayTake(alice) == 0)
        // That a record was missing is no word of the member.
        #expect(throws: ShareError.invalidRecordState) { try machine.say(0, 0, .gap) }
        #expect(machine.mayTake(alice) == 0)
        #expect(throws: ShareError.invalidRecordState) { try machine.say(0, 0, .accept) }
        let isRestored = machine.partition.standings.takeRestored()
        #expect(isRestored && machine.mayTake(alice) == .max)
    }

    @Test func shortLocksLeaveTheOthersTimeToo() {
        var machine = Machine()
        machine.rules.lockDurationMs = 100
        _ = (machine.mayTake(alice), machine.mayTake(bob))
        _ = machine.acquire(alice)
        machine.pass(ms: 100)
        machine.pass(ms: 9_999)
        #expect(machine.mayTake(alice) == 0)
        machine.pass(ms: 1)
        #expect(machine.mayTake(alice) == 1)
    }

    @Test func standingsAreRememberedOfSoManyMembersOnly() {
        var machine = Machine()
        #expect(machine.mayTake(alice) == .max)
        _ = machine.acquire(alice)
        machine.pass(ms: 30_000)
        for number in 0...2 * Limits.membersPerSharePartition { _ = machine.mayTake(ShareMemberId("member-\(number)")) }
        #expect(machine.partition.standings.count == Limits.membersPerSharePartition)
        // Those in good standing are forgotten, since that does them no harm.
        #expect(machine.mayTake(alice) == 0)
    }

    @Test func afterTheLastDeliveryARecordIsArchived() throws {
        var machine = Machine()
        machine.rules.deliveryCountLimit = 2
        _ = machine.acquire(end: 10)
        _ = try machine.say(0, 9, .release(delayMs: 0))
        #expect(machine.acquire(end: 10) == ["0-9x2"])
        machine.nowMs = 30_000
        #expect(machine.partition.advance(nowMs: machine.nowMs, rules: machine.rules).isEmpty)
        #expect(machine.partition.startOffset == 10)
    }

    @Test func aDeadLetterIsAskedForAndTheRecordWaitsForIt() throws {
        var machine = Machine()
        machine.rules.hasDeadLetters = true
        _ = machine.acquire()
        let letters = try machine.say(0, 1, .reject(reason: "no"))
        #expect(letters.map(\.offset) == [0, 1])
        #expect(letters.allSatisfy { $0.cause == .rejected && $0.reason == "no" && $0.deliveryCount == 1 })
        #expect(machine.partition.startOffset == 0)
        #expect(throws: ShareError.invalidRecordState) { try machine.say(0, 0, .accept) }
        machine.partition.buried([0, 1])
        #expect(machine.partition.startOffset == 2)
    }

    @Test func recordsInFlightAreBoundedAndThoseDoneWithAreNot() throws {
        var machine = Machine()
        machine.rules.maxRecordLocks = 20
        #expect(machine.acquire(max: 100) == ["0-9x1", "10-19x1"])
        #expect(machine.acquire(bob, max: 100).isEmpty)
        // The first stays; the rest is done with, so there is room.
        _ = try machine.say(1, 19, .accept)
        #expect(machine.acquire(bob, max: 100) == ["20-29x1", "30-38x1"])
        #expect(machine.partition.startOffset == 0)
    }

    @Test func whatWasGivenBackComesBeforeWhatIsNew() throws {
        var machine = Machine()
        _ = machine.acquire(max: 5)
        _ = try machine.say(2, 3, .release(delayMs: 0))
        #expect(machine.acquire(bob, max: 1) == ["2-2x2"])
        #expect(machine.acquire(bob, max: 3, end: 20) == ["3-3x2", "5-6x1"])
        machine.nowMs = 30_000
        _ = machine.partition.advance(nowMs: machine.nowMs, rules: machine.rules)
        #expect(machine.acquire(max: 100, end: 20) == ["0-1x2", "2-3x3", "4-6x2", "7-9x1", "10-19x1"])
    }

    @Test func wholeBatchesPassTheBoundByTheRestOfOneAndSingleRecordsNever() {
        var whole = Machine()
        whole.rules.maxRecordLocks = 25
        #expect(whole.acquire(max: 100, strict: false) == ["0-9x1", "10-19x1", "20-29x1"])
        #expect(whole.acquire(bob, max: 100, strict: false).isEmpty)
        var single = Machine()
        single.rules.maxRecordLocks = 25
        #expect(single.acquire(max: 100) == ["0-9x1", "10-19x1", "20-24x1"])
        #expect(single.partition.inFlightCount == 25)
        #expect(single.acquire(bob, max: 100).isEmpty && single.acquire(bob, max: 100, strict: false).isEmpty)
    }

    @Test func atTheBoundWhatWasGivenBackIsDeliveredAndNothingNew() throws {
        var machine = Machine()
        machine.rules.maxRecordLocks = 25
        let delayed = [ShareBatch.Delayed(offset: 26, notBeforeMs: 1_000_700)]
        _ = machine.acquire(max: 100, delayed: delayed)
        // Of the last batch only a part was looked at.
        _ = try machine.say(22, 23, .release(delayMs: 0))
        #expect(machine.acquire(bob, max: 100, strict: false, delayed: delayed) == ["22-23x2"])
        _ = try machine.say(0, 3, .accept)
        #expect(machine.acquire(bob, max: 100, delayed: delayed) == ["25-25x1", "27-28x1"])
        _ = try machine.say(4, 9, .accept)
        machine.wallMs += 700
        #expect(machine.acquire(bob, max: 100, delayed: delayed) == ["26-26x1", "29-29x1", "30-34x1"])
        #expect(machine.partition.inFlightCount == 25)
    }

    @Test func markersAndGapsAreDoneWithWhenTheyAreMet() {
        var machine = Machine()
        #expect(machine.acquire(end: 30, hidden: [0, 20]) == ["10-19x1"])
        #expect(machine.partition.startOffset == 10)
        let gap = [ShareBatch(first: 50, last: 59)]
        let runs = machine.partition.acquire(
            gap, from: 30, maxRecords: 10, isStrict: true, member: bob, nowMs: 0, wallMs: 0, rules: machine.rules)
        #expect(runs.map(\.first) == [50])
        #expect(machine.runs == ["10-19 acquired 1", "20-49 archived 0", "50-59 acquired 1"])
    }

    @Test func aLogThatBeginsLaterHasTakenRecordsAway() throws {
        var machine = Machine()
        _ = machine.acquire(max: 20)
        machine.partition.logStarts(at: 15)
        #expect(machine.runs == ["15-19 acquired 1"])
        #expect(try machine.say(10, 19, .accept).isEmpty)
        #expect(machine.partition.startOffset == 20)
    }

    @Test func aLogThatEndsEarlierTakesItsOffsetsBack() throws {
        var machine = Machine()
        _ = machine.acquire(max: 20)
        _ = try machine.say(0, 4, .accept)
        let isCut = machine.partition.logEnds(at: 12)
        #expect(isCut && machine.partition.endOffset == 12)
        let isCutAgain = machine.partition.logEnds(at: 2)
        #expect(isCutAgain && machine.partition.startOffset == 2 && machine.runs.isEmpty)
        let isCutOnceMore = machine.partition.logEnds(at: 2)
        #expect(!isCutOnceMore)
    }

    /// Updates laid over each other give what the machine had, acquired records being available.
    @Test(arguments: 0..<40)
    func whatIsWrittenRestoresTheMachine(seed: Int) throws {
        var generator = Storage.SeededGenerator(seed: UInt64(seed))
        var machine = Machine()
        machine.rules.hasDeadLetters = seed % 2 == 0
        if seed % 3 == 0 { machine.rules.maxRecordLocks = 12 }
        let key = ShareKey(groupId: "g", topicId: .zero, partition: 0)
        var restored = SharePartition(startOffset: 0)
        for step in 0..<60 {
            let member = Bool.random(using: &generator) ? alice : bob
            switch Int.random(in: 0..<6, using: &generator) {
            case 0, 1: _ = machine.acquire(member, max: Int.random(in: 1...25, using: &generator))
            case 2: machine.nowMs += 20_000
            case 3: machine.partition.buried(machine.partition.unburied.map(\.first))
            default:
                let held = machine.partition.runs.filter { $0.member == member }
                guard let run = held.randomElement(using: &generator) else { continue }
                let first = Int64.random(in: run.first...run.last, using: &generator)
                let outcomes: [ShareAcknowledgement.Outcome] = [
                    .accept, .gap, .release(delayMs: 0), .release(delayMs: 50), .reject(reason: ""),
                ]
                let outcome = outcomes[Int.random(in: 0..<outcomes.count, using: &generator)]
                _ = try machine.say(first, Int64.random(in: first...run.last, using: &generator), outcome, by: member)
            }
            #expect(machine.partition.inFlightCount <= machine.rules.maxRecordLocks, "seed \(seed), step \(step)")
            _ = machine.partition.advance(nowMs: machine.nowMs, rules: machine.rules)
            let changes = machine.partition.takeChanges()
            let record = step % 10 == 9
                ? ShareStateRecord.snapshot(key, machine.partition, nowMs: 5)
                : ShareStateRecord.update(key, machine.partition, changes: changes)
            switch ShareStateRecord(key: .init(bytes: record.key), value: record.value.map { .init(bytes: $0) }) {
            case .snapshot(key, let start, let runs):
                restored = SharePartition(startOffset: start)
                restored.restore(startOffset: start, runs)
            case .update(key, let start, let runs): restored.restore(startOffset: start, runs)
            case let other: Issue.record("\(other)")
            }
            expectSame(restored, machine.partition, "seed \(seed), step \(step)")
        }
    }

    /// Deliveries that nothing was said of yet may be missing in the count; everything else is the same.
    private func expectSame(_ restored: SharePartition, _ machine: SharePartition, _ comment: Comment) {
        #expect(restored.startOffset == machine.startOffset, comment)
        for run in machine.runs {
            for offset in run.first...run.last {
                let found = restored.runs.first { $0.first <= offset && offset <= $0.last }
                switch run.state {
                case .acknowledged, .archived, .archiving: #expect(found?.state == run.state, comment)
                case .acquired:
                    #expect(found == nil || found?.state == .available, comment)
                    #expect((found?.deliveryCount ?? 0) >= run.deliveryCount - 1, comment)
                case .available:
                    #expect((found?.deliveryCount ?? 0) == run.deliveryCount, comment)
                    #expect((found?.notBeforeMs ?? 0) == run.notBeforeMs, comment)
                }
            }
        }
    }
}

@Suite struct OffsetRangesTests {
    @Test func rangesThatTouchAreOne() {
        var ranges = OffsetRanges()
        ranges.insert(10...19)
        ranges.insert(30...39)
        ranges.insert(0...4)
        #expect(ranges.ranges == [0...4, 10...19, 30...39])
        ranges.insert(20...29)
        #expect(ranges.ranges == [0...4, 10...39])
        ranges.insert(3...50)
        #expect(ranges.ranges == [0...50])
        ranges.removeBelow(20)
        #expect(ranges.ranges == [20...50])
        ranges.removeBelow(51)
        #expect(ranges.isEmpty)
    }
}
