// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: who speaks for a transactional id (InitProducerId).
//
// Each initialisation raises the epoch, so that whoever had the old one is fenced; used up epochs bring a new producer
// id. A producer that recovers names what it has (KIP-360), and may ask again for what it was given. That last part is
// not durable, as in Kafka: after a restart such a producer is fenced.

import Bytes
import NIOCore
import Records
import Synchronization

extension TransactionCoordinator {
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
        case .create:
            producerIds.allocate(on: loop).whenComplete { result in
                guard case .success(let producerId) = result else {
                    return completion(.failure(.coordinatorNotAvailable))
                }
                let fresh = Transaction(
                    producer: TransactionalProducer(id: producerId, epoch: 0), timeoutMs: timeoutMs, lastUpdateMs: now)
                self.create(id, fresh, on: loop, completion: completion)
            }
        case .replaceProducerId(let current, let lastEpoch):
            producerIds.allocate(on: loop).whenComplete { result in
                guard case .success(let producerId) = result else {
                    let waiting = self.release(id)
                    completion(.failure(.coordinatorNotAvailable))
                    return waiting.resume()
                }
                let next = current.initialised(
                    TransactionalProducer(id: producerId, epoch: 0), lastEpoch: lastEpoch, timeoutMs: timeoutMs,
                    nowMs: now)
                self.write(id, next, on: loop) { completion($0.map { next.producer }) }
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
        case create
        /// Reserved, as what follows.
        case replaceProducerId(Transaction, lastEpoch: Int16)
        case nextEpoch(Transaction)
        case abortFirst(Transaction)
    }

    private func plan(
        _ id: String, timeoutMs: Int32, expected: TransactionalProducer?, nowMs: Int64
    ) -> Initialisation {
        table.withLock { table in
            if table.isClosed { return .refuse(.coordinatorNotAvailable) }
            let plan = table.withEntry(id) { entry -> Initialisation in
                guard !entry.isChanging else { return .refuse(.concurrentTransactions) }
                let plan = Self.plan(entry.current, timeoutMs: timeoutMs, expected: expected, nowMs: nowMs)
                if case .refuse = plan { return plan }
                entry.isChanging = true
                return plan
            }
            if let plan { return plan }
            return table.entries.count < configuration.idsMax ? .create : .refuse(.coordinatorNotAvailable)
        }
    }

    private static func plan(
        _ current: Transaction, timeoutMs: Int32, expected: TransactionalProducer?, nowMs: Int64
    ) -> Initialisation {
        let producer = current.producer
        if let expected, expected.id != producer.id,
            expected.id != current.previousProducerId || expected.epoch < Transaction.epochMax
        {
            return .refuse(.producerFenced)
        }
        if current.state.isPrepared { return .refuse(.concurrentTransactions) }
        if let expected, expected != producer {
            // It was answered and did not hear it.
            guard current.state != .ongoing, expected.epoch == current.lastEpoch else {
                return .refuse(.producerFenced)
            }
            return .nextEpoch(
                current.initialised(producer, lastEpoch: expected.epoch, timeoutMs: timeoutMs, nowMs: nowMs))
        }
        if current.state == .ongoing { return .abortFirst(current.fencing()) }
        let lastEpoch = expected?.epoch ?? -1
        if current.isEpochExhausted { return .replaceProducerId(current, lastEpoch: lastEpoch) }
        let next = TransactionalProducer(id: producer.id, epoch: producer.epoch + 1)
        return .nextEpoch(current.initialised(next, lastEpoch: lastEpoch, timeoutMs: timeoutMs, nowMs: nowMs))
    }

    /// A transactional id that was not known, with a producer id that nobody has had.
    private func create(
        _ id: String, _ fresh: Transaction, on loop: any EventLoop,
        completion: @escaping Completion<TransactionalProducer>
    ) {
        let isFree = table.withLock { table -> Bool in
            guard !table.isClosed, table.entries[id] == nil else { return false }
            table.insert(id, TransactionTable.Entry(current: fresh, isChanging: true))
            return true
        }
        guard isFree else { return completion(.failure(.concurrentTransactions)) }
        write(id, fresh, on: loop) { completion($0.map { fresh.producer }) }
    }
}
