// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one partition as one share group sees it: its records' states, who waits for some, and its writes.
//
// Everything mutable is in `state`, under one lock, held for one input of the machine and never across a callback, a read of the log or
// an append to one. Safe to call from any thread; what appends must be on the loop that it names.
//
// Writing: at most one record of this queue is on its way to `__share_group_state`. What changes meanwhile goes with the
// next one, from the state as it is then, so records are in the order of changes. Whoever acknowledged is answered when the
// first write that began after the change is durable.

import Bytes
import Logging
import NIOCore
import Records
import Storage
import Synchronization

/// What a queue needs of the broker.
struct ShareContext: Sendable {
    var configuration: ShareConfiguration
    var log: InternalTopic
    var turns: Turns
    var clock: any Clock
    /// Where timers run.
    var loop: any EventLoop
    var logger: Logger
    var deadLetters: DeadLetterWriter

    var monotonicMs: Int64 { Int64(loop.now.uptimeNanoseconds / 1_000_000) }
}

/// How much one member takes at once.
package struct ShareFetchLimits: Sendable {
    package var maxRecords: Int
    package var maxBytes: Int
    /// Not one record more than `maxRecords`, even if that cuts a batch.
    package var isStrict: Bool
    /// How long the records are locked; nil: as the group says.
    package var lockDurationMs: Int64?

    package init(maxRecords: Int, maxBytes: Int, isStrict: Bool, lockDurationMs: Int64? = nil) {
        self.maxRecords = maxRecords
        self.maxBytes = maxBytes
        self.isStrict = isStrict
        self.lockDurationMs = lockDurationMs
    }
}

package enum ShareFetchOutcome: Sendable {
    /// Whole batches, and which of their records were acquired.
    case acquired(bytes: ByteBuffer, runs: [SharePartition.Run])
    /// What to wait for: more than `seenEnd` in the partition, or another wake of the queue.
    case nothing(seenEnd: Int64, wake: UInt64)
}

package final class ShareQueue: Sendable {
    package let key: ShareKey
    package let partition: Partition
    private let context: ShareContext
    private let settings: @Sendable () -> ShareGroupSettings
    private let state: Mutex<State>

    private struct State: Sendable {
        var machine: SharePartition
        /// Its start is durable: records may be delivered.
        var isReady: Bool
        var isClosed = false
        var isWriting = false
        var needsWrite = false
        /// A write failed: the next one tells everything.
        var mustWriteAll = false
        var answers: [ShareAnswer] = []
        var waiters: [Waiter] = []
        var wake: UInt64 = 0
        var timer: Scheduled<Void>?
        var timerAtMs = Int64.max
        var onIdle: (@Sendable () -> Void)?
    }

    /// Who is told when a write is durable.
    private struct ShareAnswer: Sendable {
        var loop: any EventLoop
        var completion: @Sendable (ShareError?) -> Void

        func deliver(_ error: ShareError?) {
            let completion = completion
            GroupDelivery(loop: loop) { _ in completion(error) }.deliver()
        }
    }

    /// What is to be done once the lock is released.
    private struct Outcome {
        var write: Write?
        var woken: [Waiter] = []
        var letters: [SharePartition.DeadLetter] = []
    }

    private struct Write {
        var record: KeyedRecord
        var answers: [ShareAnswer]
    }

    init(
        key: ShareKey, partition: Partition, machine: SharePartition, isReady: Bool, context: ShareContext,
        settings: @escaping @Sendable () -> ShareGroupSettings
    ) {
        self.key = key
        self.partition = partition
        self.context = context
        self.settings = settings
        state = Mutex(State(machine: machine, isReady: isReady))
    }

    package var isClosed: Bool { state.withLock { $0.isClosed } }
    package var snapshot: SharePartition { state.withLock { $0.machine } }

    /// The record that would restore it.
    func durableRecord(nowMs: Int64) -> KeyedRecord {
        state.withLock { ShareStateRecord.snapshot(key, $0.machine, nowMs: nowMs) }
    }
}

// MARK: - Delivering

extension ShareQueue {
    /// How often a read whose records somebody else took meanwhile is tried again before the caller waits.
    private static let attempts = 8

    /// Reads and acquires for a member. On `loop`.
    package func fetch(
        _ member: ShareMemberId, _ limits: ShareFetchLimits, on loop: any EventLoop
    ) throws(EngineError) -> ShareFetchOutcome {
        var settings = settings()
        if let lockDurationMs = limits.lockDurationMs { settings.rules.lockDurationMs = lockDurationMs }
        var seenEnd: Int64 = 0
        var wake: UInt64 = 0
        for _ in 0..<Self.attempts {
            seenEnd = partition.offsets.highWatermark
            let logStart = partition.offsets.start
            let plan = change(on: loop, settings.rules) { state -> (offset: Int64, end: Int64)? in
                state.machine.logStarts(at: logStart)
                wake = state.wake
                guard state.isReady, !state.isClosed else { return nil }
                let next = state.machine.nextFetchOffset(wallMs: context.clock.nowMs(), rules: settings.rules)
                return next.map { ($0.offset, state.machine.endOffset) }
            }
            guard let plan, plan.offset < seenEnd else { return .nothing(seenEnd: seenEnd, wake: wake) }
            let (bytes, batches) = try read(plan.offset, newFrom: plan.end, limits, settings, loop)
            guard let bytes else {
                if partition.offsets.start > plan.offset { continue }
                return .nothing(seenEnd: seenEnd, wake: wake)
            }
            let runs = acquire(batches, from: plan.offset, member, limits, settings, on: loop)
            if let first = runs.first, let last = runs.last {
                return .acquired(bytes: Self.cut(bytes, batches, first.first, last.last), runs: runs)
            }
        }
        // There may be more: whoever waits for more than this is woken at once.
        return .nothing(seenEnd: -1, wake: wake)
    }

    private func read(
        _ offset: Int64, newFrom: Int64, _ limits: ShareFetchLimits, _ settings: ShareGroupSettings, _ loop: any EventLoop
    ) throws(EngineError) -> (ByteBuffer?, [ShareBatch]) {
        let slice: LogSlice?
        var aborted: [AbortedTransaction] = []
        do throws(EngineError) {
            if settings.isReadCommitted {
                let read = try partition.readCommitted(from: offset, maxBytes: limits.maxBytes)
                slice = read.slice
                aborted = read.aborted
            } else {
                slice = try partition.read(from: offset, maxBytes: limits.maxBytes).slice
            }
        } catch {
            // The log begins later now; the next attempt sees that.
            if error.code == .offsetOutOfRange { return (nil, []) }
            throw error
        }
        guard let slice else { return (nil, []) }
        var bytes = ByteBuffer()
        do throws(StorageError) { try slice.read(into: &bytes) } catch { throw EngineError(error) }
        let batches = try ShareBatchReader.batches(
            in: bytes, aborted: aborted, newFrom: newFrom, decompressor: context.turns.turn(for: loop).decompressor)
        return (bytes, batches)
    }

    private func acquire(
        _ batches: [ShareBatch], from offset: Int64, _ member: ShareMemberId, _ limits: ShareFetchLimits,
        _ settings: ShareGroupSettings, on loop: any EventLoop
    ) -> [SharePartition.Run] {
        change(on: loop, settings.rules) { state in
            guard !state.isClosed else { return [] }
            return state.machine.acquire(
                batches, from: offset, maxRecords: limits.maxRecords, isStrict: limits.isStrict, member: member,
                nowMs: context.monotonicMs, wallMs: context.clock.nowMs(), rules: settings.rules)
        }
    }

    /// The batches with records from `first` to `last`.
    private static func cut(_ bytes: ByteBuffer, _ batches: [ShareBatch], _ first: Int64, _ last: Int64) -> ByteBuffer {
        var rest = bytes
        var start = bytes.readerIndex
        var end = start
        for batch in batches {
            guard let header = BatchHeader(rest), rest.readSlice(length: header.sizeInBytes) != nil else { break }
            if batch.last < first { start = rest.readerIndex }
            if batch.first <= last { end = rest.readerIndex }
        }
        return bytes.getSlice(at: start, length: max(0, end - start)) ?? bytes
    }

    /// Adds a waiter that has seen `wake`; it is completed at once if there was another since.
    package func register(_ waiter: Waiter, seen wake: UInt64) {
        let isLate = state.withLock { state in
            if state.isClosed || state.wake != wake { return true }
            // Those that ended otherwise are forgotten here, so that the list is as long as the number that wait.
            if state.waiters.count >= 64 { state.waiters.removeAll { $0.isFinished } }
            state.waiters.append(waiter)
            return false
        }
        if isLate { waiter.complete() }
    }
}

// MARK: - What members say

extension ShareQueue {
    /// Applies what a member says. `completion` runs on `loop` when it is durable, or with what it was refused for, in which
    /// case nothing was changed unless it is `storageFailure`. On `loop`.
    package func acknowledge(
        _ acknowledgements: [ShareAcknowledgement], _ member: ShareMemberId, on loop: any EventLoop,
        completion: @escaping @Sendable (ShareError?) -> Void
    ) {
        let settings = settings()
        let nowMs = context.monotonicMs
        let wallMs = context.clock.nowMs()
        let isRenewal = acknowledgements.allSatisfy(\.outcome.isRenewal)
        var mustBury: [SharePartition.DeadLetter] = []
        let answer = ShareAnswer(loop: loop, completion: completion)
        let result = change(on: loop, settings.rules) { state -> Result<Void, ShareError> in
            guard !state.isClosed else { return .failure(.invalidRecordState) }
            do throws(ShareError) {
                mustBury = try state.machine.acknowledge(
                    acknowledgements, member: member, nowMs: nowMs, wallMs: wallMs, rules: settings.rules)
            } catch {
                return .failure(error)
            }
            if !isRenewal {
                state.needsWrite = true
                if mustBury.isEmpty { state.answers.append(answer) }
            }
            return .success(())
        }
        switch result {
        case .failure(let error): answer.deliver(error)
        case .success where isRenewal: answer.deliver(nil)
        case .success:
            if !mustBury.isEmpty { bury(mustBury, settings, on: loop, answer: answer) }
        }
    }

    /// A member is gone: what it holds here is available again. On `loop`.
    package func release(_ member: ShareMemberId, on loop: any EventLoop) {
        let settings = settings()
        var letters: [SharePartition.DeadLetter] = []
        change(on: loop, settings.rules) { state in
            letters = state.machine.release(member, rules: settings.rules)
        }
        if !letters.isEmpty { bury(letters, settings, on: loop, answer: nil) }
    }

    /// Begins again at `offset`, whatever was. `completion` as with `acknowledge`. On `loop`.
    func reset(
        to offset: Int64, on loop: any EventLoop, completion: @escaping @Sendable (ShareError?) -> Void
    ) {
        change(on: loop, settings().rules) { state in
            state.machine = SharePartition(startOffset: offset)
            state.mustWriteAll = true
            state.needsWrite = true
            state.answers.append(ShareAnswer(loop: loop, completion: completion))
        }
    }

    /// Runs `completion` on `loop` once the queue's start is durable and records may be delivered. On `loop`.
    func whenReady(on loop: any EventLoop, completion: @escaping @Sendable (ShareError?) -> Void) {
        let isReady = state.withLock { $0.isReady }
        if isReady { return completion(nil) }
        change(on: loop, settings().rules) { state in
            state.needsWrite = true
            state.mustWriteAll = true
            state.answers.append(ShareAnswer(loop: loop, completion: completion))
        }
    }

    /// Takes no more changes; `done` runs when no write is under way.
    func close(done: @escaping @Sendable () -> Void) {
        let (woken, answers, isIdle) = state.withLock { state in
            state.isClosed = true
            state.timer?.cancel()
            state.timer = nil
            defer { state.waiters = []; state.answers = [] }
            if state.isWriting { state.onIdle = done }
            return (state.waiters, state.answers, !state.isWriting)
        }
        for waiter in woken { waiter.complete() }
        for answer in answers { answer.deliver(.invalidRecordState) }
        if isIdle { done() }
    }
}

// MARK: - One change, and what follows from it

extension ShareQueue {
    /// Makes a change under the lock, after the locks that have ended meanwhile; then does what follows: the write, the
    /// waiters, the timer, dead letters of what ended by itself. On `loop`.
    @discardableResult
    private func change<T>(
        on loop: any EventLoop, _ rules: SharePartition.Rules, _ body: (inout State) -> T
    ) -> T {
        var outcome = Outcome()
        let nowMs = context.monotonicMs
        let wallMs = context.clock.nowMs()
        let value = state.withLock { state -> T in
            let couldNotTake = state.machine.nextFetchOffset(wallMs: wallMs, rules: rules) == nil
            let before = state.machine.startOffset
            outcome.letters = state.machine.advance(nowMs: nowMs, rules: rules)
            let hasEnded = state.machine.hasReleased
            let value = body(&state)
            if hasEnded || state.machine.hasReleased { state.needsWrite = true }
            let isWaking = state.machine.takeReleased() || couldNotTake || before != state.machine.startOffset
            if isWaking, !state.waiters.isEmpty, state.machine.nextFetchOffset(wallMs: wallMs, rules: rules) != nil {
                outcome.woken = state.waiters
                state.waiters = []
            }
            if isWaking { state.wake &+= 1 }
            outcome.write = takeWrite(&state)
            arm(&state, nowMs: nowMs, wallMs: wallMs)
            return value
        }
        for waiter in outcome.woken { waiter.complete() }
        if let write = outcome.write { perform(write, on: loop) }
        if !outcome.letters.isEmpty { bury(outcome.letters, settings(), on: loop, answer: nil) }
        return value
    }

    private func takeWrite(_ state: inout State) -> Write? {
        guard state.needsWrite, !state.isWriting, !state.isClosed else { return nil }
        state.needsWrite = false
        state.isWriting = true
        defer { state.answers = [] }
        if state.mustWriteAll {
            _ = state.machine.takeChanges()
            state.mustWriteAll = false
            return Write(
                record: ShareStateRecord.snapshot(key, state.machine, nowMs: context.clock.nowMs()),
                answers: state.answers)
        }
        let changes = state.machine.takeChanges()
        return Write(record: ShareStateRecord.update(key, state.machine, changes: changes), answers: state.answers)
    }

    private func perform(_ write: Write, on loop: any EventLoop) {
        context.log.append([write.record], on: loop) { result in
            self.settle(write, result, on: loop)
        }
    }

    private func settle(_ write: Write, _ result: Result<Void, EngineError>, on loop: any EventLoop) {
        var failure: EngineError?
        if case .failure(let error) = result { failure = error }
        let (next, woken, onIdle) = state.withLock { state -> (Write?, [Waiter], (@Sendable () -> Void)?) in
            state.isWriting = false
            var woken: [Waiter] = []
            if failure != nil {
                state.mustWriteAll = true
            } else if !state.isReady {
                state.isReady = true
                state.wake &+= 1
                swap(&woken, &state.waiters)
            }
            defer { state.onIdle = nil }
            return (takeWrite(&state), woken, state.onIdle)
        }
        if let failure {
            context.logger.warning(
                "the state of a share group was not written",
                metadata: ["group": "\(key.groupId)", "partition": "\(partition.name)", "cause": "\(failure)"])
        }
        for answer in write.answers { answer.deliver(failure == nil ? nil : .storageFailure) }
        for waiter in woken { waiter.complete() }
        if let next { perform(next, on: loop) }
        onIdle?()
    }

    // MARK: Timers

    /// Moves the timer if a lock or a delay ends before it.
    private func arm(_ state: inout State, nowMs: Int64, wallMs: Int64) {
        let next = state.machine.nextDeadlines
        let delayEndsMs = next.notBeforeMs == .max ? Int64.max : nowMs + max(0, next.notBeforeMs - wallMs)
        let atMs = min(next.lockMs, delayEndsMs)
        guard atMs < state.timerAtMs, !state.isClosed else { return }
        state.timer?.cancel()
        state.timerAtMs = atMs
        state.timer = context.loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(max(0, atMs)) * 1_000_000)) {
            [weak self] in
            self?.timerFired(atMs)
        }
    }

    private func timerFired(_ atMs: Int64) {
        let wallMs = context.clock.nowMs()
        change(on: context.loop, settings().rules) { state in
            guard state.timerAtMs == atMs else { return }
            state.timer = nil
            state.timerAtMs = .max
            // A delay may have ended.
            state.machine.noteDelaysEnded(wallMs: wallMs)
        }
    }

    // MARK: Dead letters

    /// Between attempts to write a dead letter.
    private static let retryMs: Int64 = 1_000

    private func bury(
        _ letters: [SharePartition.DeadLetter], _ settings: ShareGroupSettings, on loop: any EventLoop, answer: ShareAnswer?
    ) {
        context.deadLetters.write(letters, of: partition, group: key.groupId, settings, on: loop) { error in
            if let error {
                self.context.logger.error(
                    "dead letters were not written; they are tried again",
                    metadata: ["group": "\(self.key.groupId)", "partition": "\(self.partition.name)", "cause": "\(error)"])
                answer?.deliver(.storageFailure)
                loop.scheduleTask(in: .milliseconds(Self.retryMs)) { [weak self] in
                    guard let self, !self.state.withLock({ $0.isClosed }) else { return }
                    self.bury(letters, self.settings(), on: loop, answer: nil)
                }
                return
            }
            self.change(on: loop, settings.rules) { state in
                state.machine.buried(letters.map(\.offset))
                state.needsWrite = true
                if let answer { state.answers.append(answer) }
            }
        }
    }

    /// After a start: dead letters that a crash interrupted.
    func resumeBurials(on loop: any EventLoop) {
        let rules = settings().rules
        let letters = state.withLock { state in
            state.machine.unburied.flatMap { run in
                (run.first...run.last).map { offset in
                    SharePartition.DeadLetter(
                        offset: offset, deliveryCount: run.deliveryCount,
                        cause: run.deliveryCount >= rules.deliveryCountLimit ? .deliveryCountExceeded : .rejected)
                }
            }
        }
        if !letters.isEmpty { bury(letters, settings(), on: loop, answer: nil) }
    }
}
