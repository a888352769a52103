// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what the transaction coordinator does by itself: at start, and now and then.
//
// At start the log is read, and what a crash has interrupted is brought to its end. Every
// `transaction.abort.timed.out.transaction.cleanup.interval.ms` markers that could not be written are tried again,
// transactions that take too long are aborted, and ids that nobody uses are forgotten.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Records
import Synchronization

extension TransactionCoordinator {
    /// Reads the log of transactions. At start, after the topics and the groups.
    func load() throws(EngineError) {
        var found: [String: TransactionTable.Entry] = [:]
        var unreadable = 0
        try log.replay { key, value in
            switch TransactionRecord(key: key, value: value) {
            case .transaction(let id, let transaction):
                let offsets = transaction.state == .ongoing || transaction.state.isPrepared
                    ? found[id]?.offsets ?? [:] : [:]
                found[id] = TransactionTable.Entry(current: transaction, offsets: offsets)
            case .forgotten(let id): found[id] = nil
            case .offset(let id, let key, let offset): found[id]?.offsets[key] = offset
            case .offsetForgotten(let id, let key): found[id]?.offsets[key] = nil
            case .malformed: unreadable += 1
            }
        }
        if unreadable > 0 {
            logger.error("the log of transactions has \(unreadable) records that cannot be read; they are ignored")
        }
        let entries = found
        table.withLock { table in
            for (id, entry) in entries {
                var entry = entry
                entry.mustRetry = entry.current.state.isPrepared && !sabotaged("forgetPrepared")
                table.insert(id, entry)
            }
        }
        for entry in entries.values { groups.addUnstable(entry.offsets.keys) }
    }

    /// Carries out what a crash has interrupted, and looks after timeouts from now on. Once, after `load`.
    func start() {
        loop.execute { self.cleanUp() }
        let interval = TimeAmount.milliseconds(configuration.cleanUpIntervalMs)
        let task = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { [weak self] _ in
            self?.cleanUp()
        }
        job.withLockedValue { $0 = task }
    }

    /// Refuses what comes from now on. What is decided and not carried out is carried out by the next start.
    package func close() {
        job.withLockedValue { $0 }?.cancel()
        table.withLock { $0.isClosed = true }
    }

    /// One round: finishes what is decided, aborts what has timed out, forgets ids that nobody uses. On `loop`.
    package func cleanUp() {
        let now = clock.nowMs()
        let (decided, timedOut, expired) = table.withLock { table in table.due(now, configuration) }
        for (id, prepared) in decided {
            guard let marker = prepared.state.marker else { continue }
            carryOut(id, prepared, marker, on: loop) { $0.resume() }
        }
        for (id, open) in timedOut {
            logger.info("transaction timed out and is aborted", metadata: ["transactional-id": "\(id)"])
            decide(id, .abort, of: open.fencing(), on: loop) { _ in }
        }
        for id in expired { forget(id) }
    }

    private func forget(_ id: String) {
        groups.forgetTransactionalId(id, on: loop)
        log.append([TransactionRecord.forget(id)], on: loop) { result in
            let isForgotten = if case .success = result { true } else { false }
            self.release(id, isForgotten: isForgotten).resume()
        }
    }

    /// The records that would restore the table.
    func durableState() -> [KeyedRecord] {
        table.withLock { table in
            table.entries.flatMap { id, entry in
                [encode(id, entry.current)]
                    + entry.offsets.map { TransactionRecord.encode(id, $0.key, $0.value) }
            }
        }
    }
}

extension TransactionTable {
    /// What is to be done at `now`; what is returned is reserved.
    fileprivate mutating func due(
        _ now: Int64, _ configuration: TransactionConfiguration
    ) -> (decided: [(String, Transaction)], timedOut: [(String, Transaction)], expired: [String]) {
        var due: (decided: [(String, Transaction)], timedOut: [(String, Transaction)], expired: [String]) =
            ([], [], [])
        if isClosed { return due }
        for id in entries.keys.sorted() {
            _ = withEntry(id) { entry in
                guard !entry.isChanging else { return }
                let current = entry.current
                if entry.mustRetry {
                    due.decided.append((id, current))
                } else if current.state == .ongoing, now - current.startMs > Int64(current.timeoutMs) {
                    due.timedOut.append((id, current))
                } else if current.state != .ongoing, now - current.lastUpdateMs > configuration.idExpirationMs {
                    due.expired.append(id)
                } else {
                    return
                }
                entry.isChanging = true
            }
        }
        return due
    }
}
