// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how transactions end: by their producer, by their timeout, by a start after a crash.
//
//   decide:   PrepareCommit or PrepareAbort durable; from here on there is no way back
//   carryOut: offsets durable in their groups -> markers durable in every partition
//   conclude: CompleteCommit or CompleteAbort appended, the producer answered
//
// What cannot be carried out (a full disk) is tried again by `cleanUp` (+Upkeep), and at the next start.

import Bytes
import Logging
import NIOCore
import Records
import Synchronization

extension TransactionCoordinator {
    /// Commits or aborts the open transaction; succeeds when that is decided, durable and, unless a disk fails, carried
    /// out, with the producer of the next transaction. Asking again for what was done is no error. A client of
    /// version 2 may also abort a transaction in which it did nothing.
    package func end(
        _ id: String, _ producer: TransactionalProducer, _ marker: TransactionMarker,
        by version: ClientTransactionVersion = .one, on loop: any EventLoop,
        completion: @escaping Completion<TransactionalProducer>
    ) {
        switch planEnd(id, producer, marker, version) {
        case .refuse(let error):
            completion(.failure(error))
        case .wasDone(let successor):
            completion(.success(successor))
        case .decide(let current) where version == .two && current.isEpochExhausted:
            producerIds.allocate(on: loop).whenComplete { result in
                guard case .success(let next) = result else {
                    let waiting = self.release(id)
                    completion(.failure(.coordinatorNotAvailable))
                    return waiting.resume()
                }
                self.decide(
                    id, marker, of: current, by: version, nextProducerId: next, on: loop, completion: completion)
            }
        case .decide(let current):
            decide(id, marker, of: current, by: version, on: loop, completion: completion)
        }
    }

    private enum End {
        case refuse(TransactionError)
        case wasDone(TransactionalProducer)
        /// Reserved.
        case decide(Transaction)
    }

    private func planEnd(
        _ id: String, _ producer: TransactionalProducer, _ marker: TransactionMarker,
        _ version: ClientTransactionVersion
    ) -> End {
        table.withLock { table in
            if table.isClosed { return .refuse(.coordinatorNotAvailable) }
            let end = table.withEntry(id) { entry -> End in
                do throws(TransactionError) {
                    let isRetry = version == .two && entry.current.isRetryOfEnd(producer)
                    if !isRetry { try entry.current.check(producer) }
                    guard !entry.isChanging else { throw .concurrentTransactions }
                    if let successor = try entry.current.wasEnded(marker, version, isRetry: isRetry) {
                        return .wasDone(successor)
                    }
                    entry.isChanging = true
                    return .decide(entry.current)
                } catch {
                    return .refuse(error)
                }
            }
            return end ?? .refuse(id.isEmpty ? .invalidRequest : .invalidProducerIdMapping)
        }
    }

    /// Writes the decision down and carries it out. The entry is reserved.
    func decide(
        _ id: String, _ marker: TransactionMarker, of open: Transaction, by version: ClientTransactionVersion = .one,
        nextProducerId: Int64 = -1, on loop: any EventLoop, completion: @escaping Completion<TransactionalProducer>
    ) {
        let prepared = open.prepared(marker, by: version, nextProducerId: nextProducerId, nowMs: clock.nowMs())
        log.append([encode(id, prepared)], on: loop) { result in
            if case .failure(let error) = result {
                let waiting = self.release(id)
                completion(.failure(TransactionError(error)))
                return waiting.resume()
            }
            self.table.withLock { table in _ = table.withEntry(id) { $0.current = prepared } }
            self.carryOut(id, prepared, marker, on: loop) { waiting in
                completion(.success(prepared.successor))
                waiting.resume()
            }
        }
    }

    /// Commits the offsets, then writes the markers, then concludes. The entry is reserved until then.
    func carryOut(
        _ id: String, _ prepared: Transaction, _ marker: TransactionMarker, on loop: any EventLoop,
        then: @escaping @Sendable (Waiting) -> Void
    ) {
        let offsets = table.withLock { $0.entries[id]?.offsets ?? [:] }
        let live = offsets.filter { topics.topic(named: $0.key.topic)?.partition($0.key.partition) != nil }
        guard marker == .commit, !live.isEmpty, !sabotaged("loseTransactionOffsets") else {
            return writeMarkers(id, prepared, marker, on: loop, then: then)
        }
        let transaction = AppliedTransaction(producer: prepared.producer, decidedMs: prepared.lastUpdateMs)
        groups.commit(live, of: id, transaction, on: loop) { result in
            if case .failure(let error) = result {
                return then(self.postpone(id, "the offsets of transactional id \(id)", "\(error)"))
            }
            self.writeMarkers(id, prepared, marker, on: loop, then: then)
        }
    }

    private func writeMarkers(
        _ id: String, _ prepared: Transaction, _ marker: TransactionMarker, on loop: any EventLoop,
        then: @escaping @Sendable (Waiting) -> Void
    ) {
        let turn = turns.turn(for: loop)
        let gathering = MarkerGathering { failure in
            if let failure {
                then(self.postpone(id, "a marker of transactional id \(id)", failure.message))
            } else {
                then(self.conclude(id, prepared, on: loop))
            }
        }
        for place in prepared.partitions.sorted() where place != Self.offsetsPartition {
            // What was deleted meanwhile needs no marker.
            guard let partition = topics.topic(named: place.topic)?.partition(place.partition) else { continue }
            gathering.start()
            do throws(EngineError) {
                try partition.enqueueMarker(
                    marker, producerId: prepared.producer.id, epoch: prepared.producer.epoch,
                    coordinatorEpoch: 0, turn: turn
                ) { gathering.finish($0.map { _ in }) }
            } catch {
                gathering.finish(.failure(error))
            }
        }
        gathering.allStarted()
    }

    /// The transaction is over. Its record needs no sync of its own: without it the markers are written once more.
    private func conclude(_ id: String, _ prepared: Transaction, on loop: any EventLoop) -> Waiting {
        let completed = prepared.completed(nowMs: clock.nowMs())
        var offsets: [OffsetKey] = []
        let waiting = release(id) { entry in
            entry.current = completed
            entry.mustRetry = false
            offsets = Array(entry.offsets.keys)
            entry.offsets = [:]
        }
        groups.removeUnstable(offsets)
        let records =
            [encode(id, completed)] + offsets.map { TransactionRecord.encode(id, $0, nil) }
        log.append(records, on: loop) { [logger] result in
            guard case .failure(let error) = result else { return }
            logger.warning(
                "the end of a transaction was not written down; it will be repeated at the next start",
                metadata: ["transactional-id": "\(id)", "cause": "\(error)"])
        }
        return waiting
    }

    /// The decision stands and is carried out later.
    private func postpone(_ id: String, _ what: String, _ cause: String) -> Waiting {
        logger.error(
            "\(what) could not be written; trying again every \(configuration.cleanUpIntervalMs) ms",
            metadata: ["cause": "\(cause)"])
        return release(id) { $0.mustRetry = true }
    }
}

extension Transaction {
    /// The producer of the next transaction, if this one was ended the same way before; nil if it is to be ended now.
    fileprivate func wasEnded(
        _ marker: TransactionMarker, _ version: ClientTransactionVersion, isRetry: Bool
    ) throws(TransactionError) -> TransactionalProducer? {
        switch state {
        case .ongoing:
            return nil
        case .prepareCommit, .prepareAbort:
            // With the next epoch already: the producer of the next transaction is early.
            throw state.marker == marker || version == .two && !isRetry ? .concurrentTransactions : .invalidTxnState
        case .completeCommit, .completeAbort:
            if version == .two, !isRetry, marker == .abort { return nil }
            guard state.marker == marker, version == .one || isRetry else { throw .invalidTxnState }
            return successor
        case .empty:
            guard version == .two, marker == .abort else { throw .invalidTxnState }
            return nil
        }
    }
}

/// Counts the markers of one transaction; confined to the event loop that writes them.
private final class MarkerGathering: @unchecked Sendable {
    // Unchecked: completions run on the turn's loop, on which it was made.
    private var missing = 1
    private var failure: EngineError?
    private let completion: @Sendable (EngineError?) -> Void

    init(completion: @escaping @Sendable (EngineError?) -> Void) {
        self.completion = completion
    }

    func start() { missing += 1 }

    func allStarted() { finish(.success(())) }

    func finish(_ result: Result<Void, EngineError>) {
        switch result {
        case .success: break
        // A deleted topic needs no marker; one whose producer has moved on was ended by whoever moved it.
        case .failure(let error) where error.code == .unknownTopic || error.code == .invalidProducerEpoch: break
        case .failure(let error): failure = failure ?? error
        }
        missing -= 1
        if missing == 0 { completion(failure) }
    }
}
