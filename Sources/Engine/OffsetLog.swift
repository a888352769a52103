// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: committed offsets on the log: the topic `__consumer_offsets`, as the group coordinator's store.
//
// The topic is made by the first commit, so a broker without groups does not show it. Appends that come while it
// is being made wait in order.

import Bytes
import NIOConcurrencyHelpers
import NIOCore

final class OffsetLog: OffsetStore, @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`.
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
        var completion: @Sendable (Result<Void, GroupError>) -> Void
    }

    init(topics: TopicCatalog, turns: Turns, clock: any Clock) {
        self.topics = topics
        self.turns = turns
        self.clock = clock
    }

    func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, GroupError>) -> Void
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
        if let log { write(append, to: log) }
        if mustCreate { create(on: loop) }
    }

    func replay(_ body: (_ key: ByteBuffer, _ value: ByteBuffer?) -> Void) throws(GroupError) {
        guard let log = existing() else { return }
        do throws(EngineError) {
            _ = try log.replay(body)
        } catch {
            throw GroupError(error)
        }
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

    private func existing() -> InternalLog? {
        guard let partition = topics.topic(named: Engine.offsetsTopic)?.partition(0) else { return nil }
        let log = InternalLog(partition: partition, turns: turns, clock: clock)
        lock.withLock { state = .ready(log) }
        return log
    }

    private func create(on loop: any EventLoop) {
        let specification = TopicSpecification(
            name: Engine.offsetsTopic, partitions: 1, overrides: Engine.internalOverrides, isInternal: true)
        topics.topicOrCreate(specification, on: loop).whenComplete { result in
            let partition = (try? result.get())?.partition(0)
            let failed = self.lock.withLock { self.finishCreating(partition, on: loop) }
            for append in failed {
                append.loop.execute { append.completion(.failure(.coordinatorNotAvailable)) }
            }
        }
    }

    /// What waited is appended before anything that comes from now on. Returns what cannot be. With the lock held.
    private func finishCreating(_ partition: Partition?, on loop: any EventLoop) -> [Append] {
        guard case .creating(let waiting) = state else { return [] }
        guard let partition else {
            state = .unknown
            return waiting
        }
        let log = InternalLog(partition: partition, turns: turns, clock: clock)
        for append in waiting {
            log.append(append.records, on: loop) { result in
                append.loop.execute { append.completion(result.mapError { GroupError($0) }) }
            }
        }
        state = .ready(log)
        return []
    }

    private func write(_ append: Append, to log: InternalLog) {
        log.append(append.records, on: append.loop) { result in
            append.completion(result.mapError { GroupError($0) })
        }
    }
}

extension GroupError {
    /// What a commit is told when its log cannot take it.
    fileprivate init(_ error: EngineError) {
        self = error.code == .messageTooLarge ? .invalidCommitOffsetSize : .coordinatorNotAvailable
    }
}
