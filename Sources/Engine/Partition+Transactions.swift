// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a partition's part in transactions: markers, and what readers of committed records see.
//
// Same lock as the rest of `Partition`. Readers of committed records stop at the first record of the oldest open
// transaction (the last stable offset) and are told which transactions before it were aborted (KIP-98).

import Bytes
import NIOConcurrencyHelpers
import Records
import Storage

/// Which records a reader wants to see. The raw values are Kafka's (`isolation.level`).
package enum IsolationLevel: Int8, Sendable {
    case readUncommitted = 0
    case readCommitted = 1
}

/// What a reader of committed records gets.
package struct CommittedRead: Sendable {
    package var slice: LogSlice?
    package var offsets: PartitionOffsets
    package var lastStableOffset: Int64
    /// Transactions whose records in the slice are to be skipped.
    package var aborted: [AbortedTransaction]
}

/// Whether a producer may write to a partition in its transaction: called under the partition's lock, it takes no
/// other than the transaction coordinator's.
package struct TransactionVerification: Sendable {
    let coordinator: TransactionCoordinator
    let transactionalId: String
    let version: ClientTransactionVersion

    package init(
        _ transactionalId: String, by coordinator: TransactionCoordinator, version: ClientTransactionVersion = .one
    ) {
        self.transactionalId = transactionalId
        self.coordinator = coordinator
        self.version = version
    }
}

extension Partition {
    /// Refuses a batch whose transaction is not open, or does not name this partition (KIP-890).
    func verifyTransaction(
        _ header: BatchHeader, _ verify: TransactionVerification?
    ) throws(EngineError) {
        guard let verify else {
            throw EngineError(.noTransactionalId, "a transactional batch came without a transactional id")
        }
        do throws(TransactionError) {
            try verify.coordinator.verify(
                verify.transactionalId,
                TransactionalProducer(id: header.producerId, epoch: header.producerEpoch),
                writesTo: TopicPartition(topic: topic, partition: index))
        } catch {
            switch error {
            case .producerFenced:
                throw EngineError(
                    .invalidProducerEpoch, "transactional id \(verify.transactionalId) has a newer producer")
            case .invalidProducerIdMapping:
                throw EngineError(
                    .invalidProducerIdMapping,
                    "transactional id \(verify.transactionalId) is not that of producer \(header.producerId)")
            case .concurrentTransactions:
                throw EngineError(
                    .concurrentTransactions, "transactional id \(verify.transactionalId) is ending its transaction")
            default:
                throw EngineError(
                    .partitionNotInTransaction,
                    "transactional id \(verify.transactionalId) has no open transaction with \(name)")
            }
        }
    }

    /// Ends a producer's transaction here: appends the marker, durable like a batch with acks=all. Ending one that is
    /// not open is no error. Throws `invalidProducerEpoch`, `transactionCoordinatorFenced`, or what an append throws;
    /// `completion` never runs before the turn's end.
    func enqueueMarker(
        _ marker: TransactionMarker, producerId: Int64, epoch: Int16, coordinatorEpoch: Int32, turn: Turn,
        completion: @escaping AppendCompletion
    ) throws(EngineError) {
        let batch = marker.batch(
            producerId: producerId, epoch: epoch, coordinatorEpoch: coordinatorEpoch, timestamp: clock.nowMs())
        let header: BatchHeader
        do { header = try BatchBytes.header(of: batch) } catch { throw EngineError(error, in: name) }
        let pending = try lock.withLockTyped { () throws(EngineError) -> Pending in
            if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
            try loadProducers()
            let refusal = producers.refusalOfMarker(
                producerId: producerId, epoch: epoch, coordinatorEpoch: coordinatorEpoch)
            if let refusal { throw refusal }
            let offset: Int64
            do throws(StorageError) {
                offset = try log.append(batch, header: header, leaderEpoch: 0)
            } catch {
                failWriting(error)
                throw EngineError(error)
            }
            producers.record(marker, header, coordinatorEpoch: coordinatorEpoch, offset: offset)
            producersChanged = true
            bytesSinceSnapshot += Int64(header.sizeInBytes)
            bytesPending += header.sizeInBytes
            let result = AppendResult(baseOffset: offset, logAppendTimeMs: -1, logStartOffset: log.startOffset)
            return Pending(group: writing, result: result, endOffset: offset + 1)
        }
        turn.add(
            self, group: pending.group, result: pending.result, endOffset: pending.endOffset,
            needsSync: durability == .disk, completion: completion)
    }

    /// The end of what readers of committed records may read.
    package func lastStableOffset() throws(EngineError) -> Int64 {
        try lock.withLockTyped { () throws(EngineError) -> Int64 in try lastStableOffsetLocked() }
    }

    func lastStableOffsetLocked() throws(EngineError) -> Int64 {
        if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
        try loadProducers()
        // Records that are appended and not yet written are not readable, open transaction or not.
        let open = max(producers.firstOpenOffset ?? .max, log.startOffset)
        return min(open, log.writtenEndOffset)
    }

    /// Like `read`, below the last stable offset.
    package func readCommitted(from offset: Int64, maxBytes: Int) throws(EngineError) -> CommittedRead {
        try lock.withLockTyped { () throws(EngineError) -> CommittedRead in
            let stable = try lastStableOffsetLocked()
            var read = CommittedRead(
                slice: nil,
                offsets: PartitionOffsets(start: log.startOffset, highWatermark: log.writtenEndOffset),
                lastStableOffset: stable, aborted: [])
            do throws(StorageError) {
                read.slice = try log.read(from: offset, maxBytes: maxBytes, below: stable)
            } catch {
                throw EngineError(error)
            }
            if read.slice != nil { read.aborted = producers.aborted(from: offset, below: stable) }
            return read
        }
    }

    /// A producer's open transaction or last batch, for DescribeProducers.
    package func activeProducers() throws(EngineError) -> [(id: Int64, state: ActiveProducer)] {
        try lock.withLockTyped { () throws(EngineError) -> [(id: Int64, state: ActiveProducer)] in
            if isClosed { throw EngineError(.unknownTopic, "topic \(topic) was deleted") }
            try loadProducers()
            return producers.entries.sorted { $0.key < $1.key }.map { id, entry in
                (
                    id,
                    ActiveProducer(
                        epoch: entry.epoch, lastSequence: entry.batches.last?.lastSequence ?? -1,
                        lastTimestampMs: entry.lastTimestamp, coordinatorEpoch: entry.coordinatorEpoch,
                        transactionStart: entry.transactionStart ?? -1)
                )
            }
        }
    }

    /// Whether this producer has an open transaction here.
    func hasOpenTransaction(of producerId: Int64) -> Bool {
        lock.withLock { producers.entries[producerId]?.transactionStart != nil }
    }
}

/// What is known of a producer in one partition.
package struct ActiveProducer: Equatable, Sendable {
    package var epoch: Int16
    /// -1: none since its epoch began.
    package var lastSequence: Int32
    package var lastTimestampMs: Int64
    /// -1: no transaction of it has ended here.
    package var coordinatorEpoch: Int32
    /// First offset of its open transaction; -1: none.
    package var transactionStart: Int64
}
