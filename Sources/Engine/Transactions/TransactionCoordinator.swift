// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the transaction coordinator (KIP-98): producers by transactional id, and their transactions.
//
// Safe to call from any thread. Everything it keeps is in one `TransactionTable` under one lock, held for one
// look or one change, never across a callback or a write. A change is checked and reserved (`isChanging`), made
// durable in `__transaction_state`, then applied and answered; whoever comes meanwhile gets
// CONCURRENT_TRANSACTIONS and tries again, as in Kafka. Answers are delivered on the event loop that the caller
// names. Ends of transactions are in `TransactionCoordinator+Ending.swift`; docs/decisions/0009-transactions.md
// says in which order things become durable.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

package final class TransactionCoordinator: Sendable {
    package typealias Completion<Value: Sendable> = @Sendable (Result<Value, TransactionError>) -> Void

    package let configuration: TransactionConfiguration
    let clock: any Clock
    let loop: any EventLoop
    let log: InternalTopic
    let topics: TopicCatalog
    let groups: GroupCoordinator
    let turns: Turns
    let logger: Logger
    let table = Mutex(TransactionTable())
    let job = NIOLockedValueBox<RepeatedTask?>(nil)
    private let producerIds: ProducerIds

    init(
        configuration: TransactionConfiguration, clock: any Clock, loop: any EventLoop, log: InternalTopic,
        topics: TopicCatalog, groups: GroupCoordinator, producerIds: ProducerIds, turns: Turns, logger: Logger
    ) {
        self.configuration = configuration
        self.clock = clock
        self.loop = loop
        self.log = log
        self.topics = topics
        self.groups = groups
        self.producerIds = producerIds
        self.turns = turns
        self.logger = logger
    }

    // MARK: Producers

    /// The producer id and epoch that speak for a transactional id from now on. Whoever had it before is fenced,
    /// and its open transaction is aborted first: until that is over, CONCURRENT_TRANSACTIONS. `expected`: the
    /// producer that recovers from an error names what it has (KIP-360).
    package func initialise(
        _ id: String, timeoutMs: Int32, expected: TransactionalProducer?, on loop: any EventLoop,
        completion: @escaping Completion<TransactionalProducer>
    ) {
        guard !id.isEmpty, id.utf8.count <= configuration.idBytesMax else {
            return completion(.failure(.invalidRequest))
        }
        guard timeoutMs > 0, timeoutMs <= configuration.maxTimeoutMs else {
            return completion(.failure(.invalidTransactionTimeout))
        }
        let now = clock.nowMs()
        switch plan(id, timeoutMs: timeoutMs, expected: expected, nowMs: now) {
        case .refuse(let error):
            completion(.failure(error))
        case .newProducerId:
            producerIds.allocate(on: loop).whenComplete { result in
                guard case .success(let producerId) = result else {
                    return completion(.failure(.coordinatorNotAvailable))
                }
                let fresh = Transaction(
                    producer: TransactionalProducer(id: producerId, epoch: 0), timeoutMs: timeoutMs,
                    lastUpdateMs: now)
                self.install(fresh, as: id, on: loop, completion: completion)
            }
        case .nextEpoch(let next):
            write(id, next, on: loop) { completion($0.map { next.producer }) }
        case .abortFirst(let open):
            // The epoch is raised with the abort, so that what the old producer still sends is refused.
            decide(id, .abort, of: open, on: loop) { _ in completion(.failure(.concurrentTransactions)) }
        }
    }

    private enum Initialisation {
        case refuse(TransactionError)
        case newProducerId
        case nextEpoch(Transaction)
        case abortFirst(Transaction)
    }

    private func plan(
        _ id: String, timeoutMs: Int32, expected: TransactionalProducer?, nowMs: Int64
    ) -> Initialisation {
        table.withLock { table in
            if table.isClosed { return .refuse(.coordinatorNotAvailable) }
            guard table.entries[id] != nil else {
                return table.entries.count < configuration.idsMax
                    ? .newProducerId : .refuse(.coordinatorNotAvailable)
            }
            let plan = table.withEntry(id) { entry -> Initialisation in
                if entry.isChanging || entry.current.state.isPrepared { return .refuse(.concurrentTransactions) }
                let producer = entry.current.producer
                if let expected, expected != producer { return .refuse(.producerFenced) }
                if entry.current.state == .ongoing {
                    entry.isChanging = true
                    var open = entry.current
                    // The last epoch is never given to a producer: it is here to fence.
                    open.producer.epoch += 1
                    return .abortFirst(open)
                }
                guard producer.epoch < Transaction.epochMax - 1 else { return .newProducerId }
                entry.isChanging = true
                var next = entry.current.touched(nowMs)
                next.producer.epoch += 1
                next.timeoutMs = timeoutMs
                next.state = .empty
                next.partitions = []
                next.startMs = -1
                return .nextEpoch(next)
            }
            return plan ?? .newProducerId
        }
    }

    /// A producer id nobody has had, for a new transactional id or one whose epochs are used up.
    private func install(
        _ fresh: Transaction, as id: String, on loop: any EventLoop,
        completion: @escaping Completion<TransactionalProducer>
    ) {
        let isFree = table.withLock { table -> Bool in
            if table.isClosed { return false }
            if table.withEntry(id, { entry in
                if entry.isChanging || entry.current.state == .ongoing || entry.current.state.isPrepared {
                    return false
                }
                entry.isChanging = true
                return true
            }) == false { return false }
            if table.entries[id] == nil {
                table.insert(id, TransactionTable.Entry(current: fresh, isChanging: true))
            }
            return true
        }
        guard isFree else { return completion(.failure(.concurrentTransactions)) }
        write(id, fresh, on: loop) { completion($0.map { fresh.producer }) }
    }

    // MARK: Changes of an open transaction

    /// Partitions that the transaction is going to write to; opens it if it is not.
    package func addPartitions(
        _ id: String, _ producer: TransactionalProducer, _ partitions: [TopicPartition], on loop: any EventLoop,
        completion: @escaping Completion<Void>
    ) {
        let next = reserve(id, producer) { (current) throws(TransactionError) -> Transaction? in
            guard !current.state.isPrepared else { throw .concurrentTransactions }
            if current.state == .ongoing, current.partitions.isSuperset(of: partitions) { return nil }
            let next = current.adding(partitions, nowMs: self.clock.nowMs())
            guard next.partitions.count <= self.configuration.partitionsMax else { throw .invalidRequest }
            return next
        }
        switch next {
        case .failure(let error): completion(.failure(error))
        case .success(nil): completion(.success(()))
        case .success(let next?): write(id, next, on: loop, completion: completion)
        }
    }

    /// The transaction is going to commit offsets.
    package func addOffsets(
        _ id: String, _ producer: TransactionalProducer, on loop: any EventLoop,
        completion: @escaping Completion<Void>
    ) {
        addPartitions(id, producer, [Self.offsetsPartition], on: loop, completion: completion)
    }

    static let offsetsPartition = TopicPartition(topic: Engine.offsetsTopic, partition: 0)

    /// Offsets that count when the transaction commits. `completion` is told why they are refused, nil if they are
    /// durable.
    package func commitOffsets(
        _ commit: OffsetCommit, of id: String, _ producer: TransactionalProducer, on loop: any EventLoop,
        completion: @escaping @Sendable (OffsetRefusal?) -> Void
    ) {
        do throws(GroupError) {
            let changes = try groups.admitTransactional(commit)
            addOffsets(changes, to: id, producer, on: loop) { result in
                if case .failure(let error) = result { completion(.transaction(error)) } else { completion(nil) }
            }
        } catch {
            completion(.group(error))
        }
    }

    private func addOffsets(
        _ changes: [OffsetChange], to id: String, _ producer: TransactionalProducer, on loop: any EventLoop,
        completion: @escaping Completion<Void>
    ) {
        let reserved = reserve(id, producer) { (current) throws(TransactionError) -> Transaction? in
            guard current.state == .ongoing, current.partitions.contains(Self.offsetsPartition) else {
                throw .invalidTxnState
            }
            return current
        }
        if case .failure(let error) = reserved { return completion(.failure(error)) }
        let hasRoom = table.withLock { $0.offsetCount + changes.count <= configuration.offsetsMax }
        guard hasRoom, !changes.isEmpty else {
            release(id)
            return completion(hasRoom ? .success(()) : .failure(.coordinatorNotAvailable))
        }
        groups.addUnstable(changes.map(\.key))
        log.append(changes.map { TransactionRecord.encode(id, $0.key, $0.offset) }, on: loop) { result in
            let replaced = self.table.withLock { table in
                table.withEntry(id) { entry -> [OffsetKey] in
                    entry.isChanging = false
                    guard case .success = result else { return changes.map(\.key) }
                    return changes.compactMap { change in
                        change.offset.flatMap { entry.offsets.updateValue($0, forKey: change.key) }.map { _ in
                            change.key
                        }
                    }
                }
            }
            // Each pending offset counts once, however often the producer named it.
            self.groups.removeUnstable(replaced ?? [])
            completion(result.mapError { TransactionError($0) })
        }
    }

    /// Whether a batch of this producer belongs to an open transaction that names the partition. Throws what the
    /// producer is told otherwise.
    package func verify(
        _ id: String, _ producer: TransactionalProducer, writesTo partition: TopicPartition
    ) throws(TransactionError) {
        let entry = table.withLock { $0.entries[id] }
        guard let current = entry?.current else { throw .invalidProducerIdMapping }
        try current.check(producer)
        guard current.state == .ongoing, current.partitions.contains(partition) else { throw .invalidTxnState }
    }

    // MARK: Steps of a change

    /// Reserves the entry for the change that `edit` makes; nil: nothing is to be changed.
    func reserve(
        _ id: String, _ producer: TransactionalProducer,
        _ edit: (Transaction) throws(TransactionError) -> Transaction?
    ) -> Result<Transaction?, TransactionError> {
        table.withLock { table in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            let result = table.withEntry(id) { entry -> Result<Transaction?, TransactionError> in
                do throws(TransactionError) {
                    try entry.current.check(producer)
                    guard !entry.isChanging else { throw .concurrentTransactions }
                    let next = try edit(entry.current)
                    entry.isChanging = next != nil
                    return .success(next)
                } catch {
                    return .failure(error)
                }
            }
            return result ?? .failure(.invalidProducerIdMapping)
        }
    }

    func release(_ id: String) {
        table.withLock { table in _ = table.withEntry(id) { $0.isChanging = false } }
    }

    /// Makes a reserved change durable, then current.
    func write(
        _ id: String, _ next: Transaction, on loop: any EventLoop, completion: @escaping Completion<Void>
    ) {
        log.append([TransactionRecord.encode(id, next)], on: loop) { result in
            self.table.withLock { table in
                _ = table.withEntry(id) { entry in
                    entry.isChanging = false
                    if case .success = result { entry.current = next }
                }
            }
            completion(result.mapError { TransactionError($0) })
        }
    }
}
