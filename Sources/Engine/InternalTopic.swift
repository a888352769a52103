// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: an internal topic that is made by its first record: `__consumer_offsets`,
// `__transaction_state`.
//
// A broker that never had a group or a transaction does not show them. Appends that come while the topic is being
// made wait in order; how many that can be is bounded by whoever appends.

import Bytes
import NIOConcurrencyHelpers
import NIOCore

final class InternalTopic: @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`.
    private let name: String
    private let topics: TopicCatalog
    private let turns: Turns
    private let clock: any Clock
    private let lock = NIOLock()
    private var state = State.unknown

    private enum State {
        case unknown
        case creating([Append])
        case ready(InternalLog)
    }

    private struct Append {
        var records: [KeyedRecord]
        var loop: any EventLoop
        var completion: @Sendable (Result<Void, EngineError>) -> Void
    }

    init(name: String, topics: TopicCatalog, turns: Turns, clock: any Clock) {
        self.name = name
        self.topics = topics
        self.turns = turns
        self.clock = clock
    }

    /// Appends keyed records as one batch; see `InternalLog.append`.
    func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, EngineError>) -> Void
    ) {
        let append = Append(records: records, loop: loop, completion: completion)
        let (log, mustCreate): (InternalLog?, Bool) = lock.withLock {
            switch state {
            case .ready(let log):
                return (log, false)
            case .creating(let waiting):
                state = .creating(waiting + [append])
                return (nil, false)
            case .unknown:
                state = .creating([append])
                return (nil, true)
            }
        }
        if let log { log.append(records, on: loop, completion: completion) }
        if mustCreate { create(on: loop) }
    }

    /// Every record, in order; none if the topic was never made. At start, before anything is appended.
    func replay(_ body: (_ key: ByteBuffer, _ value: ByteBuffer?) -> Void) throws(EngineError) {
        guard let partition = topics.topic(named: name)?.partition(0) else { return }
        let log = InternalLog(partition: partition, turns: turns, clock: clock)
        lock.withLock { state = .ready(log) }
        _ = try log.replay(body)
    }

    /// Rewrites the log if it has grown large; see `InternalLog`.
    func rewriteIfLarge(
        than threshold: Int64, on loop: any EventLoop, state: () -> [KeyedRecord],
        completion: @escaping @Sendable (Result<Bool, EngineError>) -> Void
    ) {
        let log = lock.withLock { if case .ready(let log) = self.state { log } else { nil as InternalLog? } }
        guard let log else { return completion(.success(false)) }
        log.rewriteIfLarge(than: threshold, on: loop, state: state, completion: completion)
    }

    private func create(on loop: any EventLoop) {
        let specification = TopicSpecification(
            name: name, partitions: 1, overrides: Engine.internalOverrides, isInternal: true)
        topics.topicOrCreate(specification, on: loop).whenComplete { result in
            let log = result.map { topic in
                topic.partition(0).map { InternalLog(partition: $0, turns: self.turns, clock: self.clock) }
            }
            let failed = self.lock.withLock { self.finishCreating(try? log.get(), on: loop) }
            let error = Self.error(of: result)
            for append in failed { append.loop.execute { append.completion(.failure(error)) } }
        }
    }

    private static func error(of result: Result<Topic, any Error>) -> EngineError {
        if case .failure(let error as EngineError) = result { return error }
        return EngineError(.storageFailure, "an internal topic could not be made")
    }

    /// What waited is appended before anything that comes from now on. Returns what cannot be. With the lock held.
    private func finishCreating(_ log: InternalLog?, on loop: any EventLoop) -> [Append] {
        guard case .creating(let waiting) = state else { return [] }
        guard let log else {
            state = .unknown
            return waiting
        }
        for append in waiting {
            log.append(append.records, on: loop) { result in
                append.loop.execute { append.completion(result) }
            }
        }
        state = .ready(log)
        return []
    }
}
