// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one partition as one share group sees it: its records' states, who waits for some, and its writes.
//
// What is delivered is in `ShareQueue+Delivering`, dead letters are in `ShareQueue+Burials`.
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

package final class ShareQueue: Sendable {
    package let key: ShareKey
    package let partition: Partition
    let context: ShareContext
    let settings: @Sendable () -> ShareGroupSettings
    let state: Mutex<State>

    struct State: Sendable {
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
    struct ShareAnswer: Sendable {
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

    /// What no write has told so far, deliveries that nothing was said of included; nil if that is nothing.
    func unwrittenRecord(nowMs: Int64) -> KeyedRecord? {
        state.withLock { state in
            guard !state.isClosed else { return nil }
            if state.mustWriteAll { return ShareStateRecord.snapshot(key, state.machine, nowMs: nowMs) }
            state.machine.noteDeliveries()
            guard state.machine.hasChanges else { return nil }
            return ShareStateRecord.update(key, state.machine, changes: state.machine.takeChanges())
        }
    }

    /// The record that would restore it.
    func durableRecord(nowMs: Int64) -> KeyedRecord {
        state.withLock { ShareStateRecord.snapshot(key, $0.machine, nowMs: nowMs) }
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
                if mustBury.isEmpty, !sabotaged("answerSaidBeforeWrite") { state.answers.append(answer) }
            }
            return .success(())
        }
        switch result {
        case .failure(let error): answer.deliver(error)
        case .success where isRenewal || sabotaged("answerSaidBeforeWrite"): answer.deliver(nil)
        case .success:
            if !mustBury.isEmpty { bury(mustBury, settings, on: loop, answer: answer) }
        }
    }

    /// A member says something of records that it does not hold any more: it is there, at least. On `loop`.
    package func heard(from member: ShareMemberId, on loop: any EventLoop) {
        guard state.withLock({ $0.machine.standings.isSilent(member) }) else { return }
        change(on: loop, settings().rules) { $0.machine.standings.heard(from: member) }
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
    func change<T>(
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
            let isReleased = state.machine.takeReleased()
            let isRestored = state.machine.standings.takeRestored()
            let isWaking = isReleased || isRestored || couldNotTake || before != state.machine.startOffset
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
}
