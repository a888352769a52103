// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how a partition's records become durable, and who is told then. Same lock as the rest.

import NIOConcurrencyHelpers
import NIOCore
import Storage

extension Partition: SyncParticipant {
    /// Runs `completion` on the turn's loop once everything below `endOffset` is on stable storage.
    func whenSynced(
        _ endOffset: Int64, turn: Turn, result: AppendResult, completion: @escaping AppendCompletion
    ) {
        let now: Result<AppendResult, EngineError>? = lock.withLock {
            if let failure = log.failure { return .failure(EngineError(failure)) }
            if log.syncedEndOffset >= endOffset { return .success(result) }
            syncWaiters.append(
                SyncWaiter(endOffset: endOffset, turn: turn, result: result, completion: completion))
            return nil
        }
        if let now { completion(now) } else { groupCommit.enqueue(self) }
    }

    package func beginSync() -> SyncWork? {
        let work = lock.withLock { log.beginSync() }
        // Nothing to sync: an earlier round has covered everybody, or the log has failed since they queued.
        if work == nil { answerSyncWaiters() }
        return work
    }

    package func endSync(_ work: SyncWork, failure: StorageError?) {
        lock.withLock { log.endSync(work, failure: failure) }
        // Nothing was tried: whoever waits goes on waiting, for a round that finds a descriptor.
        if failure?.code == .tooManyOpenFiles { groupCommit.enqueueDelayed(self) }
        answerSyncWaiters()
    }

    /// Makes durable what is written, in this thread. For the broker's own logs at start.
    func syncNow() throws(EngineError) {
        try lock.withLockTyped { () throws(EngineError) -> Void in
            do throws(StorageError) { try log.syncAlone() } catch { throw EngineError(error) }
        }
    }

    /// Answers those whose records are durable, and everybody else too if the log can sync no more.
    func answerSyncWaiters() {
        let (durable, lost, failure) = lock.withLock { () -> ([SyncWaiter], [SyncWaiter], StorageError?) in
            let split = syncWaiters.partition { $0.endOffset > log.syncedEndOffset }
            let durable = Array(syncWaiters[..<split])
            let rest = Array(syncWaiters[split...])
            syncWaiters = log.failure == nil ? rest : []
            return (durable, log.failure == nil ? [] : rest, log.failure)
        }
        answer(durable, failure: nil)
        answer(lost, failure: failure.map { EngineError($0) })
    }

    /// One delivery per turn.
    func answer(_ ready: [SyncWaiter], failure: EngineError?) {
        var turns: [(turn: Turn, completions: [@Sendable () -> Void])] = []
        for waiter in ready {
            let body: @Sendable () -> Void = {
                waiter.completion(failure.map { .failure($0) } ?? .success(waiter.result))
            }
            if let at = turns.firstIndex(where: { $0.turn === waiter.turn }) {
                turns[at].completions.append(body)
            } else {
                turns.append((waiter.turn, [body]))
            }
        }
        for (turn, completions) in turns { turn.deliver(completions) }
    }

}
