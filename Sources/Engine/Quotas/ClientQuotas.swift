// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: quotas of clients, for both protocols: their changes, and what each client has used lately.
//
// Whoever serves a client charges what it does and gets for how long it is to wait. Without any quota that is one look at a flag.
// With quotas it is one lock and a few look-ups. What is remembered of clients is bounded: beyond it those that were
// quiet for longest are forgotten, which can only favour them. A change is in force and answered once it is durable; all
// changes go through one event loop.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Synchronization
import Telemetry

package final class ClientQuotas: Sendable {
    package typealias Completion = @Sendable (Result<Void, EngineError>) -> Void

    private let windows: QuotaWindows
    private let metadata: InternalLog
    private let loop: any EventLoop
    private let clock: any Clock
    private let metrics: QuotaMetrics
    private let flag = Atomic<Bool>(false)
    private let timeFlag = Atomic<Bool>(false)
    private let state = NIOLockedValueBox(State())

    private struct State {
        var table = QuotaTable()
        var usages: [QuotaTable.Sharing: Usage] = [:]
    }

    /// What those who share a quota have used of it.
    private struct Usage {
        var window: QuotaWindow
        var bucket: MutationBucket?
        var lastMs: Int64
    }

    init(windows: QuotaWindows, metadata: InternalLog, loop: any EventLoop, clock: any Clock, metrics: Metrics) {
        self.windows = windows
        self.metadata = metadata
        self.loop = loop
        self.clock = clock
        self.metrics = QuotaMetrics(metrics)
        metrics.observe("martlet_quota_usages", "Clients, or groups of them, whose use of a quota is remembered.") {
            [state] in Double(state.withLockedValue { $0.usages.count })
        }
    }

    /// What the metadata log knew. At start.
    func load(_ changes: [QuotaChange]) { apply(changes) }

    func durableState() -> [KeyedRecord] {
        let quotas = table.quotas
        return quotas.flatMap { entity, limits in
            limits.map { QuotaRecord.encoded(QuotaChange(entity, $0.key, $0.value)) }
        }
    }

    /// Whether there is any quota. Whoever serves clients asks this first.
    package var isInForce: Bool { flag.load(ordering: .relaxed) }
    /// Whether anybody has a quota of the event loops' time: only then is it measured.
    package var limitsTime: Bool { timeFlag.load(ordering: .relaxed) }
    /// Nobody waits for longer than this: after that, all that was counted is forgotten.
    package var throttleMsMax: Int64 { windows.throttleMsMax }
    package var table: QuotaTable { state.withLockedValue { $0.table } }
    /// Of how many sharings something is remembered.
    package var usageCount: Int { state.withLockedValue { $0.usages.count } }

    // MARK: Changes

    package func change(_ changes: [QuotaChange], on loop: any EventLoop, completion: @escaping Completion) {
        let answer: Completion = { result in
            if loop.inEventLoop { completion(result) } else { loop.execute { completion(result) } }
        }
        self.loop.execute {
            var changed = self.table
            let before = changed.count
            for change in changes { changed.apply(change) }
            guard changed.count <= max(before, Limits.quotas) else {
                return answer(.failure(EngineError(.limitReached, "there would be more than \(Limits.quotas) quotas")))
            }
            self.metadata.append(changes.map { QuotaRecord.encoded($0) }, on: self.loop) { result in
                if case .success = result { self.apply(changes) }
                answer(result)
            }
        }
    }

    private func apply(_ changes: [QuotaChange]) {
        let (isInForce, limitsTime) = state.withLockedValue { state in
            for change in changes { state.table.apply(change) }
            if state.table.quotas.isEmpty { state.usages = [:] }
            return (!state.table.quotas.isEmpty, state.table.has(.requestPercentage))
        }
        flag.store(isInForce, ordering: .relaxed)
        timeFlag.store(limitsTime, ordering: .relaxed)
    }
}

// MARK: - Use

extension ClientQuotas {
    private var nowMs: Int64 { Int64(clock.monotonicNs() / 1_000_000) }

    /// Counts `amount`; returns for how many ms the client is to wait.
    package func charge(_ client: QuotaClient, _ key: QuotaKey, _ amount: Double) -> Int32 {
        let throttleMs = use(client, key, amount) { usage, limit, nowMs in
            usage.window.add(amount, nowMs: nowMs)
            let most = key == .requestPercentage ? windows.windowMs : windows.throttleMsMax
            return min(most, usage.window.throttleMs(limit: limit, nowMs: nowMs))
        }
        return count(throttleMs, key)
    }

    /// The same for an answer that could be kept back: `isHeld` says that it must be, and is not counted then. What is larger than
    /// all that a quota allows in its windows goes out when nothing else did, because it never could otherwise.
    package func chargeAnswer(_ client: QuotaClient, _ key: QuotaKey, _ amount: Double) -> (throttleMs: Int32, isHeld: Bool) {
        var isHeld = false
        let throttleMs = use(client, key, amount) { usage, limit, nowMs in
            let before = usage.window.sum(nowMs: nowMs)
            usage.window.add(amount, nowMs: nowMs)
            let throttleMs = usage.window.throttleMs(limit: limit, nowMs: nowMs)
            isHeld = throttleMs > 0 && before > 0
            if isHeld { usage.window.add(-amount, nowMs: nowMs) }
            return throttleMs
        }
        return (count(throttleMs, key), isHeld)
    }

    /// Counts without an answer: the next charge will tell.
    package func note(_ client: QuotaClient, _ key: QuotaKey, _ amount: Double) {
        _ = use(client, key, amount) { usage, _, nowMs in
            usage.window.add(amount, nowMs: nowMs)
            return 0
        }
    }

    /// Counts time of an event loop; returns for how many ms the client is to wait.
    package func charge(_ client: QuotaClient, timeNs: UInt64) -> Int32 {
        charge(client, .requestPercentage, Self.percent(timeNs))
    }

    package func note(_ client: QuotaClient, timeNs: UInt64) {
        note(client, .requestPercentage, Self.percent(timeNs))
    }

    /// Of one loop, for a second.
    private static func percent(_ timeNs: UInt64) -> Double { Double(timeNs) * 100 / 1_000_000_000 }

    /// How many partitions may be created or deleted. Strict: while something is owed, nothing more is taken
    /// (`isRefused`). Otherwise all is taken, and the client waits.
    package func chargeMutations(
        _ client: QuotaClient, _ mutations: Int, isStrict: Bool
    ) -> (throttleMs: Int32, isRefused: Bool) {
        var isRefused = false
        let throttleMs = use(client, .controllerMutationRate, Double(mutations)) { usage, limit, nowMs in
            var bucket = usage.bucket ?? MutationBucket(windows, limit: limit, nowMs: nowMs)
            defer { usage.bucket = bucket }
            if isStrict {
                let owedMs = bucket.throttleMs(limit: limit, nowMs: nowMs)
                isRefused = owedMs > 0
                if !isRefused { bucket.take(Double(mutations), limit: limit, nowMs: nowMs) }
                return owedMs
            }
            bucket.take(Double(mutations), limit: limit, nowMs: nowMs)
            return bucket.throttleMs(limit: limit, nowMs: nowMs)
        }
        return (count(throttleMs, .controllerMutationRate), isRefused)
    }

    /// What the client's quota allows in a second; nil: no quota.
    package func limit(_ client: QuotaClient, _ key: QuotaKey) -> Double? {
        state.withLockedValue { $0.table.limit(client, key)?.limit }
    }

    /// The most that one answer may have without being certain to be throttled.
    package func answerMax(_ client: QuotaClient, _ key: QuotaKey) -> Int {
        guard let limit = limit(client, key) else { return .max }
        return Int(min(Double(Int32.max), limit * Double(windows.count - 1) * Double(windows.windowMs) / 1000))
    }

    /// A connection has come from this address; for how many ms it is to wait before it is refused, 0: it is welcome.
    package func chargeConnection(from address: String) -> Int32 {
        guard isInForce else { return 0 }
        let nowMs = nowMs
        let throttleMs: Int64 = state.withLockedValue { state in
            guard let (limit, sharing) = state.table.limit(address: address) else { return 0 }
            return use(sharing, &state, nowMs) { usage in
                usage.window.add(1, nowMs: nowMs)
                let throttleMs = min(windows.windowMs, usage.window.throttleMs(limit: limit, nowMs: nowMs))
                // One that is refused is not counted, as in Kafka.
                if throttleMs > 0 { usage.window.add(-1, nowMs: nowMs) }
                return throttleMs
            }
        }
        return count(throttleMs, .connectionCreationRate)
    }

    private func use(
        _ client: QuotaClient, _ key: QuotaKey, _ amount: Double, _ body: (inout Usage, Double, Int64) -> Int64
    ) -> Int64 {
        guard isInForce else { return 0 }
        let nowMs = nowMs
        return state.withLockedValue { state in
            guard let (limit, sharing) = state.table.limit(client, key) else { return 0 }
            return use(sharing, &state, nowMs) { body(&$0, limit, nowMs) }
        }
    }

    private func use(
        _ sharing: QuotaTable.Sharing, _ state: inout State, _ nowMs: Int64, _ body: (inout Usage) -> Int64
    ) -> Int64 {
        if state.usages[sharing] == nil, state.usages.count >= Limits.quotaUsages { forgetSome(&state) }
        var usage = state.usages.removeValue(forKey: sharing) ?? Usage(window: QuotaWindow(windows), lastMs: nowMs)
        usage.lastMs = nowMs
        defer { state.usages[sharing] = usage }
        return body(&usage)
    }

    /// The quarter that was quiet for longest.
    private func forgetSome(_ state: inout State) {
        let times = state.usages.values.map(\.lastMs).sorted()
        let last = times[times.count / 4]
        var surplus = times.count / 4
        state.usages = state.usages.filter { entry in
            guard entry.value.lastMs <= last, surplus > 0 else { return true }
            surplus -= 1
            return false
        }
    }

    private func count(_ throttleMs: Int64, _ key: QuotaKey) -> Int32 {
        guard throttleMs > 0 else { return 0 }
        metrics.throttled(key, ms: Int(throttleMs))
        return Int32(clamping: throttleMs)
    }
}
