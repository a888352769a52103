// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: decisions that somebody else makes (docs/decisions/0024-external-policy.md): those that are known, and
// the questions under way.
//
//   known? --no--> under way? --no--> asked of the source --> remembered, unless it failed --> everybody who waits
//
// Guarded by its lock, under which nobody is called. What is remembered is bounded in number and time: two tables, of which
// the older is let go of when the younger is half of what there may be. What failed is not remembered.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Telemetry

package struct PolicyConfiguration: Equatable, Sendable {
    /// How long it is remembered that something is allowed, and that it is denied.
    package var allowedMs: Int64 = 60_000
    package var deniedMs: Int64 = 10_000
    package var entriesMax = 10_000

    package init() {}
}

package final class ExternalPolicy: Sendable {
    package typealias Completion = @Sendable (PolicyAnswer) -> Void

    private let configuration: PolicyConfiguration
    private let source: any PolicySource
    private let clock: any Clock
    private let metrics: PolicyMetrics
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    fileprivate struct State {
        var young: [AccessQuestion: Entry] = [:]
        var old: [AccessQuestion: Entry] = [:]
        var underWay: [AccessQuestion: [Waiter]] = [:]
        var waiting = 0
        var failure: Failure?
    }

    fileprivate struct Entry {
        var isAllowed: Bool
        var expiresMs: Int64
    }

    fileprivate struct Waiter {
        var loop: any EventLoop
        var completion: Completion
    }

    /// That no decision can be had, since when, and the last reason.
    package struct Failure: Equatable, Sendable {
        package var cause: String
        package var sinceMs: Int64
    }

    init(_ source: any PolicySource, _ configuration: PolicyConfiguration, clock: any Clock, metrics: Metrics, logger: Logger) {
        self.source = source
        self.configuration = configuration
        self.clock = clock
        self.metrics = PolicyMetrics(metrics)
        self.logger = logger
        metrics.observe("martlet_policy_cache_entries", "Decisions of the external policy that are remembered.") { [weak self] in
            Double(self?.rememberedDecisions ?? 0)
        }
        metrics.observe("martlet_policy_waiting", "Questions of requests that wait for the external policy.") { [weak self] in
            Double(self?.waiting ?? 0)
        }
    }

    var rememberedDecisions: Int { state.withLockedValue { $0.young.count + $0.old.count } }
    var waiting: Int { state.withLockedValue { $0.waiting } }
    /// nil: the last question was answered, or none was asked.
    package var failure: Failure? { state.withLockedValue { $0.failure } }

    private var nowMs: Int64 { Int64(clock.monotonicNs() / 1_000_000) }

    /// What was decided; also up to `graceMs` after it had to be asked anew.
    func known(_ question: AccessQuestion, graceMs: Int64 = 0) -> Bool? {
        let nowMs = nowMs
        let found = state.withLockedValue { state -> Bool? in
            if let entry = state.young[question] { return entry.expiresMs + graceMs > nowMs ? entry.isAllowed : nil }
            guard let entry = state.old[question], entry.expiresMs + graceMs > nowMs else { return nil }
            state.remember(question, entry, entriesMax: configuration.entriesMax)
            return entry.isAllowed
        }
        if found != nil { metrics.hits.increment() }
        return found
    }

    /// The answer, if it is known or cannot be had; otherwise nil, and `completion` gets it on `loop`.
    func ask(_ question: AccessQuestion, on loop: any EventLoop, completion: @escaping Completion) -> PolicyAnswer? {
        if let isAllowed = known(question) { return isAllowed ? .allowed : .denied }
        enum Place { case first, behind, none }
        let place = state.withLockedValue { state -> Place in
            guard state.waiting < Limits.policyQuestionsWaiting else { return .none }
            state.waiting += 1
            let isFirst = state.underWay[question] == nil
            state.underWay[question, default: []].append(Waiter(loop: loop, completion: completion))
            return isFirst ? .first : .behind
        }
        switch place {
        case .none:
            metrics.turnedAway.increment()
            return failed("more than \(Limits.policyQuestionsWaiting) questions wait for it")
        case .behind: break
        case .first:
            let startedNs = clock.monotonicNs()
            source.ask(question) { self.answered(question, $0, startedNs: startedNs) }
        }
        return nil
    }

    private func answered(_ question: AccessQuestion, _ answer: PolicyAnswer, startedNs: UInt64) {
        metrics.answered(answer, durationNs: Int(clock.monotonicNs() &- startedNs))
        let nowMs = nowMs
        let (waiters, failure) = state.withLockedValue { state -> ([Waiter], Failure?) in
            switch answer {
            case .allowed: state.remember(question, expiring: nowMs + configuration.allowedMs, true, configuration.entriesMax)
            case .denied: state.remember(question, expiring: nowMs + configuration.deniedMs, false, configuration.entriesMax)
            case .failed: break
            }
            let waiters = state.underWay.removeValue(forKey: question) ?? []
            state.waiting -= waiters.count
            let failure = state.failure
            if case .failed = answer {} else { state.failure = nil }
            return (waiters, failure)
        }
        if case .failed(let cause) = answer {
            _ = failed(cause)
        } else if failure != nil {
            logger.notice("the external policy decides again")
        }
        for waiter in waiters { waiter.loop.execute { waiter.completion(answer) } }
    }

    /// Notes it; how many lines that makes is the log's to limit.
    private func failed(_ cause: String) -> PolicyAnswer {
        state.withLockedValue { state in
            state.failure = Failure(cause: cause, sinceMs: state.failure?.sinceMs ?? clock.nowMs())
        }
        logger.error("the external policy gave no decision, so access is denied: \(cause)")
        return .failed(cause)
    }
}

extension ExternalPolicy.State {
    fileprivate mutating func remember(_ question: AccessQuestion, expiring expiresMs: Int64, _ isAllowed: Bool, _ entriesMax: Int) {
        // A name that no topic or group has is not worth the room.
        guard question.name.utf8.count <= Limits.rememberedNameBytes else { return }
        remember(question, .init(isAllowed: isAllowed, expiresMs: expiresMs), entriesMax: entriesMax)
    }

    fileprivate mutating func remember(_ question: AccessQuestion, _ entry: ExternalPolicy.Entry, entriesMax: Int) {
        old[question] = nil
        if young[question] == nil, young.count >= max(1, entriesMax / 2) {
            old = young
            young = [:]
        }
        young[question] = entry
    }
}

/// What the policy's questions amount to.
struct PolicyMetrics: Sendable {
    let hits: Counter
    let turnedAway: Counter
    private let allowed: Counter
    private let denied: Counter
    private let failed: Counter
    private let latency: Histogram

    init(_ metrics: Metrics) {
        hits = metrics.counter("martlet_policy_cache_hits_total", "Decisions of the external policy that were still known.")
        turnedAway = metrics.counter(
            "martlet_policy_turned_away_total", "Questions that were denied because too many others waited for the external policy.")
        let answers = metrics.counters(
            "martlet_policy_answers_total", "What came of questions to the external policy: allowed, denied, failed.",
            labels: ["outcome"])
        allowed = answers.with("allowed")
        denied = answers.with("denied")
        failed = answers.with("failed")
        latency = metrics.histogram(
            "martlet_policy_seconds", "Time from a question to the external policy to its answer, or to its failure.")
    }

    func answered(_ answer: PolicyAnswer, durationNs: Int) {
        switch answer {
        case .allowed: allowed.increment()
        case .denied: denied.increment()
        case .failed: failed.increment()
        }
        latency.observe(durationNs)
    }
}
