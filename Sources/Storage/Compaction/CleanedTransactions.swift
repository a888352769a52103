// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: which transaction a batch belongs to while compaction walks a log (Kafka's
// CleanedTransactionMetadata).
//
// Walks batches in order, with the list of aborted transactions beside them. It says which batches belong to aborted ones,
// which markers no longer have a batch of their transaction before them, and which aborted transactions readers must
// still be told of. A value of one walk.

import NIOCore
import Records

struct CleanedTransactions {
    /// By first offset; those before `next` have been met.
    private let aborted: [AbortedTransaction]
    private var next = 0
    private var ongoingAborted: [Int64: (transaction: AbortedTransaction, hasBatches: Bool)] = [:]
    private var ongoingCommitted: Set<Int64> = []
    /// Aborted transactions of which batches were met, by their markers' order, since `takeKept` was last called.
    private var kept: [AbortedTransaction] = []

    init(_ aborted: [AbortedTransaction]) {
        self.aborted = aborted.sorted { $0.firstOffset < $1.firstOffset }
    }

    /// Whether the records of this batch are those of an aborted transaction.
    mutating func isAborted(_ header: BatchHeader) -> Bool {
        meet(upTo: header.lastOffset)
        guard header.isTransactional else { return false }
        guard let known = ongoingAborted[header.producerId] else {
            ongoingCommitted.insert(header.producerId)
            return false
        }
        ongoingAborted[header.producerId] = (known.transaction, true)
        return true
    }

    /// Whether this control batch is a marker without any batch of its transaction, or empty already.
    mutating func isMarkerOfNothing(_ batch: ByteBuffer, _ header: BatchHeader) -> Bool {
        meet(upTo: header.lastOffset)
        guard header.recordCount > 0 else { return true }
        guard let (marker, _) = TransactionMarker.read(batch) else { return false }
        switch marker {
        case .abort:
            guard let (transaction, hasBatches) = ongoingAborted.removeValue(forKey: header.producerId), hasBatches
            else { return true }
            kept.append(transaction)
            return false
        case .commit:
            return ongoingCommitted.remove(header.producerId) == nil
        }
    }

    /// What readers of the batches walked since the last call must be told of.
    mutating func takeKept() -> [AbortedTransaction] {
        defer { kept = [] }
        return kept
    }

    private mutating func meet(upTo offset: Int64) {
        while next < aborted.count, aborted[next].firstOffset <= offset {
            let transaction = aborted[next]
            if ongoingAborted[transaction.producerId] == nil {
                ongoingAborted[transaction.producerId] = (transaction, false)
            }
            next += 1
        }
    }
}
