// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: one transactional id: its producer, and the state of its current or last transaction.
//
// A value without I/O, owned by the coordinator's table. States and transitions are Kafka's
// (TransactionMetadata):
//
//   Empty -> Ongoing -> PrepareCommit -> CompleteCommit -> Ongoing ...
//                    -> PrepareAbort  -> CompleteAbort  -> Ongoing ...
//   Complete* and Empty -> Empty when a producer initialises itself.
//   Complete* and Empty -> PrepareAbort when a client of version 2 aborts a transaction in which it did nothing.
//
// In version 1 the producer keeps its epoch from one transaction to the next; in version 2 (KIP-890) every end of a
// transaction raises it, so that nothing of an earlier transaction can be taken for a part of a later one.

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

    /// Over.
    var isComplete: Bool { self == .completeCommit || self == .completeAbort }
}

/// How a client goes about transactions. The raw values are those of the log's records.
package enum ClientTransactionVersion: Int16, Sendable {
    /// It names its partitions before it writes, and keeps its epoch.
    case one = 0
    /// KIP-890: writing adds the partition, and every end of a transaction raises the epoch.
    case two = 2
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
    /// The producer id before this one, if the last transaction used up its epochs; -1: none.
    package var previousProducerId: Int64 = -1
    /// The producer id from the end of this transaction on, because the epochs are used up; -1: the same.
    package var nextProducerId: Int64 = -1
    /// The epoch before the one that the producer itself was given last, so that it can ask again; -1: none. Not
    /// durable.
    package var lastEpoch: Int16 = -1
    /// How the client that made the last change goes about transactions.
    package var clientVersion = ClientTransactionVersion.one
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

    /// Whether the producer cannot be given another epoch.
    var isEpochExhausted: Bool { producer.epoch >= Self.epochMax }

    /// Who speaks for the transactional id once the transaction is over.
    var successor: TransactionalProducer {
        nextProducerId < 0 ? producer : TransactionalProducer(id: nextProducerId, epoch: 0)
    }

    /// May this producer speak for the transactional id?
    func check(_ claimed: TransactionalProducer) throws(TransactionError) {
        // It was told its new id already; the id is in force when the markers of the old one are written.
        if state.isPrepared, nextProducerId >= 0, claimed == successor { throw .concurrentTransactions }
        guard claimed.id == producer.id else { throw .invalidProducerIdMapping }
        guard claimed.epoch == producer.epoch else { throw .producerFenced }
    }

    /// Whether a client of version 2 asks again for the end of a transaction that was already decided.
    func isRetryOfEnd(_ claimed: TransactionalProducer) -> Bool {
        if state.isComplete, previousProducerId >= 0, claimed.id == previousProducerId,
            claimed.epoch == Self.epochMax, producer.epoch == 0
        {
            return true
        }
        return clientVersion == .two && (state.isPrepared || state.isComplete) && claimed.id == producer.id
            && Int(claimed.epoch) + 1 == Int(producer.epoch)
    }

    /// The same with `partitions` in an open transaction, at `nowMs`.
    func adding(
        _ added: some Sequence<TopicPartition>, by version: ClientTransactionVersion, nowMs: Int64
    ) -> Transaction {
        var next = touched(nowMs)
        if state != .ongoing {
            next.state = .ongoing
            next.partitions = []
            next.startMs = nowMs
            next.previousProducerId = -1
        }
        next.clientVersion = version
        next.partitions.formUnion(added)
        return next
    }

    /// The same with its end decided. A client of version 2 is given the next epoch, or with it `nextProducerId`.
    func prepared(
        _ marker: TransactionMarker, by version: ClientTransactionVersion = .one, nextProducerId: Int64 = -1,
        nowMs: Int64
    ) -> Transaction {
        var next = touched(nowMs)
        next.state = marker == .commit ? .prepareCommit : .prepareAbort
        next.clientVersion = version
        if state != .ongoing {
            next.partitions = []
            next.startMs = nowMs
        }
        if version == .two {
            next.lastEpoch = producer.epoch
            next.producer.epoch += 1
            next.nextProducerId = nextProducerId
        }
        return next
    }

    /// The same, over.
    func completed(nowMs: Int64) -> Transaction {
        var next = touched(nowMs)
        next.state = state == .prepareCommit ? .completeCommit : .completeAbort
        next.partitions = []
        if nextProducerId >= 0 {
            next.previousProducerId = producer.id
            next.producer = successor
            next.nextProducerId = -1
        }
        return next
    }

    /// The same with an epoch that nobody is given: whoever has the current one is shut out.
    func fencing() -> Transaction {
        var next = self
        next.producer.epoch = min(producer.epoch, Int16.max - 1) + 1
        next.lastEpoch = -1
        return next
    }

    /// The same for `producer`, which has just initialised itself.
    func initialised(
        _ producer: TransactionalProducer, lastEpoch: Int16, timeoutMs: Int32, nowMs: Int64
    ) -> Transaction {
        var next = touched(nowMs)
        next.previousProducerId = producer.id == self.producer.id ? -1 : self.producer.id
        next.producer = producer
        next.lastEpoch = lastEpoch
        next.clientVersion = .one
        next.timeoutMs = timeoutMs
        next.state = .empty
        next.partitions = []
        next.startMs = -1
        return next
    }

    func touched(_ nowMs: Int64) -> Transaction {
        var next = self
        next.lastUpdateMs = max(nowMs, lastUpdateMs + 1)
        return next
    }
}
