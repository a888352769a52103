// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the transaction coordinator (KIP-98): producers by transactional id, and their transactions.
//
// Safe to call from any thread. Everything it keeps is in one `TransactionTable` under one lock, held for one
// look or one change, never across a callback or a write. A change is checked and reserved (`isChanging`), made
// durable in `__transaction_state`, then applied and answered; whoever comes meanwhile gets CONCURRENT_TRANSACTIONS and
// tries again, as in Kafka, or waits its turn if the client does not know that it makes a change (KIP-890). Answers are
// delivered on the event loop that the caller names. Here: changes of an open transaction, and the steps of every
// change. Producers are in +Initialising, ends in +Ending, what goes on by itself in +Upkeep; docs/decisions/0009-transactions.md says in which order
// things become durable.

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
    let producerIds: ProducerIds
    let features: Features
    let turns: Turns
    let logger: Logger
    let table = Mutex(TransactionTable())
    let job = NIOLockedValueBox<RepeatedTask?>(nil)

    init(
        configuration: TransactionConfiguration, clock: any Clock, loop: any EventLoop, log: InternalTopic,
        topics: TopicCatalog, groups: GroupCoordinator, producerIds: ProducerIds, features: Features, turns: Turns,
        logger: Logger
    ) {
        self.configuration = configuration
        self.clock = clock
        self.loop = loop
        self.log = log
        self.topics = topics
        self.groups = groups
        self.producerIds = producerIds
        self.features = features
        self.turns = turns
        self.logger = logger
    }

    // MARK: Changes of an open transaction

    /// Partitions that the transaction is going to write to; opens it if it is not. A client of version 1 says so
    /// beforehand and is asked to come again while something else changes; for one of version 2 it follows from what
    /// it writes, so it waits.
    package func addPartitions(
        _ id: String, _ producer: TransactionalProducer, _ partitions: [TopicPartition],
        by version: ClientTransactionVersion = .one, on loop: any EventLoop, completion: @escaping Completion<Void>
    ) {
        var again: (@Sendable () -> Void)?
        if version == .two {
            again = {
                self.addPartitions(id, producer, partitions, by: version, on: loop, completion: completion)
            }
        }
        let reservation = reserve(id, producer, on: loop, orWait: again) { (current) throws(TransactionError) in
            guard !current.state.isPrepared else { throw .concurrentTransactions }
            if current.state == .ongoing, current.partitions.isSuperset(of: partitions) { return nil }
            let next = current.adding(partitions, by: version, nowMs: self.clock.nowMs())
            guard next.partitions.count <= self.configuration.partitionsMax else { throw .invalidRequest }
            return next
        }
        switch reservation {
        case .refused(let error): completion(.failure(error))
        case .unchanged: completion(.success(()))
        case .reserved(let next): write(id, next, on: loop, completion: completion)
        case .waits: break
        }
    }

    /// The transaction is going to commit offsets.
    package func addOffsets(
        _ id: String, _ producer: TransactionalProducer, by version: ClientTransactionVersion = .one,
        on loop: any EventLoop, completion: @escaping Completion<Void>
    ) {
        addPartitions(id, producer, [Self.offsetsPartition], by: version, on: loop, completion: completion)
    }

    static let offsetsPartition = TopicPartition(topic: Engine.offsetsTopic, partition: 0)

    /// Offsets that count when the transaction commits. A client of version 2 need not have called `addOffsets`.
    /// `completion` is told why they are refused, nil if they are durable.
    package func commitOffsets(
        _ commit: OffsetCommit, of id: String, _ producer: TransactionalProducer,
        by version: ClientTransactionVersion = .one, on loop: any EventLoop,
        completion: @escaping @Sendable (OffsetRefusal?) -> Void
    ) {
        let changes: [OffsetChange]
        do throws(GroupError) {
            changes = try groups.admitTransactional(commit)
        } catch {
            return completion(.group(error))
        }
        let answer: Completion<Void> = { result in
            if case .failure(let error) = result { completion(.transaction(error)) } else { completion(nil) }
        }
        guard version == .two else { return keep(changes, for: id, producer, on: loop, completion: answer) }
        addOffsets(id, producer, by: version, on: loop) { result in
            if case .failure(let error) = result { return completion(.transaction(error)) }
            self.keep(changes, for: id, producer, on: loop, completion: answer)
        }
    }

    /// Keeps offsets with the open transaction.
    private func keep(
        _ changes: [OffsetChange], for id: String, _ producer: TransactionalProducer, on loop: any EventLoop,
        completion: @escaping Completion<Void>
    ) {
        let again: @Sendable () -> Void = { self.keep(changes, for: id, producer, on: loop, completion: completion) }
        let reservation = reserve(id, producer, on: loop, orWait: again) { (current) throws(TransactionError) in
            guard current.state == .ongoing, current.partitions.contains(Self.offsetsPartition) else {
                throw current.state.isPrepared ? .concurrentTransactions : .invalidTxnState
            }
            return current
        }
        switch reservation {
        case .refused(let error): return completion(.failure(error))
        case .unchanged, .waits: return
        case .reserved: break
        }
        let hasRoom = table.withLock { $0.offsetCount + changes.count <= configuration.offsetsMax }
        guard hasRoom, !changes.isEmpty else {
            let waiting = release(id)
            completion(hasRoom ? .success(()) : .failure(.coordinatorNotAvailable))
            return waiting.resume()
        }
        groups.addUnstable(changes.map(\.key))
        log.append(changes.map { TransactionRecord.encode(id, $0.key, $0.offset) }, on: loop) { result in
            var replaced = changes.map(\.key)
            let waiting = self.release(id) { entry in
                guard case .success = result else { return }
                replaced = changes.compactMap { change in
                    change.offset.flatMap { entry.offsets.updateValue($0, forKey: change.key) }.map { _ in change.key }
                }
            }
            // Each pending offset counts once, however often the producer named it.
            self.groups.removeUnstable(replaced)
            completion(result.mapError { TransactionError($0) })
            waiting.resume()
        }
    }

    /// Whether a batch of this producer belongs to an open transaction that names the partition. Throws what the
    /// producer is told otherwise.
    package func verify(
        _ id: String, _ producer: TransactionalProducer, writesTo partition: TopicPartition
    ) throws(TransactionError) {
        let entry = table.withLock { $0.entries[id] }
        guard let current = entry?.current else { throw id.isEmpty ? .invalidRequest : .invalidProducerIdMapping }
        try current.check(producer)
        guard !current.state.isPrepared else { throw .concurrentTransactions }
        guard current.state == .ongoing, current.partitions.contains(partition) else { throw .invalidTxnState }
    }

    // MARK: Steps of a change

    enum Reservation {
        case refused(TransactionError)
        /// Nothing is to be changed.
        case unchanged
        /// To be made durable; nobody else changes the entry until it is released.
        case reserved(Transaction)
        /// Another change is under way; the caller is called again when it is over.
        case waits
    }

    /// Who waited for a change; to be resumed once it is answered, so that requests are served in their order.
    struct Waiting {
        fileprivate var all: [@Sendable () -> Void] = []

        func resume() {
            for each in all { each() }
        }
    }

    /// Reserves the entry for the change that `edit` makes; nil: nothing is to be changed. `orWait` is called on `loop`
    /// when a change that is in the way is over; without it the producer is asked to come again.
    func reserve(
        _ id: String, _ producer: TransactionalProducer, on loop: any EventLoop,
        orWait again: (@Sendable () -> Void)? = nil,
        _ edit: (Transaction) throws(TransactionError) -> Transaction?
    ) -> Reservation {
        table.withLock { table in
            if table.isClosed { return .refused(.coordinatorNotAvailable) }
            let result = table.withEntry(id) { entry -> Reservation in
                do throws(TransactionError) {
                    try entry.current.check(producer)
                    if entry.isChanging {
                        guard let again, entry.waiting.count < configuration.waitingMax else {
                            throw .concurrentTransactions
                        }
                        entry.waiting.append { if loop.inEventLoop { again() } else { loop.execute(again) } }
                        return .waits
                    }
                    guard let next = try edit(entry.current) else { return .unchanged }
                    entry.isChanging = true
                    return .reserved(next)
                } catch {
                    return .refused(error)
                }
            }
            return result ?? .refused(id.isEmpty ? .invalidRequest : .invalidProducerIdMapping)
        }
    }

    /// The change of a reserved entry is over; `apply` says with what.
    func release(
        _ id: String, isForgotten: Bool = false, _ apply: (inout TransactionTable.Entry) -> Void = { _ in }
    ) -> Waiting {
        table.withLock { table in
            let waiting = table.withEntry(id) { entry in
                entry.isChanging = false
                apply(&entry)
                defer { entry.waiting = [] }
                return Waiting(all: entry.waiting)
            }
            if isForgotten { table.remove(id) }
            return waiting ?? Waiting()
        }
    }

    /// Makes a reserved change durable, then current.
    func write(
        _ id: String, _ next: Transaction, on loop: any EventLoop, completion: @escaping Completion<Void>
    ) {
        log.append([encode(id, next)], on: loop) { result in
            let waiting = self.release(id) { entry in
                if case .success = result { entry.current = next }
            }
            completion(result.mapError { TransactionError($0) })
            waiting.resume()
        }
    }

    /// The record of a transaction, in the version that the finalized features ask for.
    func encode(_ id: String, _ transaction: Transaction) -> KeyedRecord {
        TransactionRecord.encode(id, transaction, version: features.level(of: .transactions) >= 1 ? 1 : 0)
    }
}
