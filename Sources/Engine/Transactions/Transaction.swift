// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one transactional id: its producer, and the state of its current or last transaction.
//
// A value without I/O, owned by the coordinator's table. States and transitions are Kafka's
// (TransactionMetadata), version 1:
//
//   Empty -> Ongoing -> PrepareCommit -> CompleteCommit -> Ongoing ...
//                    -> PrepareAbort  -> CompleteAbort  -> Ongoing ...
//   Complete* and Empty -> Empty when a producer initialises itself.

import Records

/// The raw values are those of the log's records; names are what ListTransactions shows.
package enum TransactionState: UInt8, Sendable, CaseIterable {
    case empty = 0
    case ongoing = 1
    case prepareCommit = 2
    case prepareAbort = 3
    case completeCommit = 4
    case completeAbort = 5

    package var name: String {
        switch self {
        case .empty: "Empty"
        case .ongoing: "Ongoing"
        case .prepareCommit: "PrepareCommit"
        case .prepareAbort: "PrepareAbort"
        case .completeCommit: "CompleteCommit"
        case .completeAbort: "CompleteAbort"
        }
    }

    /// How a decided transaction ends; nil while nothing is decided.
    var marker: TransactionMarker? {
        switch self {
        case .prepareCommit, .completeCommit: .commit
        case .prepareAbort, .completeAbort: .abort
        case .empty, .ongoing: nil
        }
    }

    /// Decided, with markers still to be written.
    var isPrepared: Bool { self == .prepareCommit || self == .prepareAbort }
}

/// One partition of a topic, by name.
package struct TopicPartition: Hashable, Sendable, Comparable {
    package var topic: String
    package var partition: Int32

    package init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    package static func < (left: TopicPartition, right: TopicPartition) -> Bool {
        (left.topic, left.partition) < (right.topic, right.partition)
    }
}

/// Whom a request claims to come from.
package struct TransactionalProducer: Equatable, Sendable {
    package var id: Int64
    package var epoch: Int16

    package init(id: Int64, epoch: Int16) {
        self.id = id
        self.epoch = epoch
    }
}

package struct Transaction: Equatable, Sendable {
    package var producer: TransactionalProducer
    /// The producer's `transaction.timeout.ms`.
    package var timeoutMs: Int32
    package var state = TransactionState.empty
    /// What the current transaction writes to; `__consumer_offsets` among them if it commits offsets.
    package var partitions: Set<TopicPartition> = []
    /// Wall clock; -1: no transaction was begun since the producer initialised itself.
    package var startMs: Int64 = -1
    /// Wall clock of the last change. Grows with every change, so that it names a decision.
    package var lastUpdateMs: Int64

    /// The last epoch a producer may have: one above is kept for fencing it.
    static let epochMax = Int16.max - 1

    /// May this producer speak for the transactional id?
    func check(_ claimed: TransactionalProducer) throws(TransactionError) {
        guard claimed.id == producer.id else { throw .invalidProducerIdMapping }
        guard claimed.epoch == producer.epoch else { throw .producerFenced }
    }

    /// The same with `partitions` in an open transaction, at `nowMs`.
    func adding(_ added: some Sequence<TopicPartition>, nowMs: Int64) -> Transaction {
        var next = touched(nowMs)
        if state != .ongoing {
            next.state = .ongoing
            next.partitions = []
            next.startMs = nowMs
        }
        next.partitions.formUnion(added)
        return next
    }

    /// The same with its end decided.
    func prepared(_ marker: TransactionMarker, nowMs: Int64) -> Transaction {
        var next = touched(nowMs)
        next.state = marker == .commit ? .prepareCommit : .prepareAbort
        return next
    }

    /// The same, over.
    func completed(nowMs: Int64) -> Transaction {
        var next = touched(nowMs)
        next.state = state == .prepareCommit ? .completeCommit : .completeAbort
        next.partitions = []
        return next
    }

    func touched(_ nowMs: Int64) -> Transaction {
        var next = self
        next.lastUpdateMs = max(nowMs, lastUpdateMs + 1)
        return next
    }
}
