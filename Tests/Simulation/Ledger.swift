// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: the plain model of transactions: what was written in each, and how it ended as far as is known.
//
// Transactional producers write to a topic of their own, so that markers and aborted records are nobody else's concern.

/// One transaction.
final class LedgerTransaction {
    enum Fate: Equatable {
        /// Never asked to be committed: whatever happens, nobody may see it.
        case aborted
        /// Asked to be committed, and not answered, or not clearly.
        case unknown
        case committed
    }

    struct Batch {
        var partition: Int32
        var value: String
        /// Once it was acknowledged.
        var offset: Int64?
    }

    let number: Int
    let owner: String
    var fate = Fate.aborted
    var batches: [Batch] = []
    /// The offset that its group is to have once it is committed.
    var offset: Int64?

    init(_ number: Int, owner: String) {
        self.number = number
        self.owner = owner
    }
}

final class Ledger {
    static let topic = "ledger"
    static let partitions: Int32 = 2

    /// Whether the topic's creation was acknowledged.
    var isThere = false
    private(set) var transactions: [LedgerTransaction] = []
    private var byValue: [String: LedgerTransaction] = [:]

    func begin(owner: String) -> LedgerTransaction {
        let made = LedgerTransaction(transactions.count, owner: owner)
        transactions.append(made)
        return made
    }

    /// A value that is like no other, for a batch that is about to be sent.
    func add(to transaction: LedgerTransaction, partition: Int32) -> String {
        let value = "\(transaction.owner)/\(transaction.number)/\(transaction.batches.count)"
        transaction.batches.append(LedgerTransaction.Batch(partition: partition, value: value))
        byValue[value] = transaction
        return value
    }

    func transaction(of value: String) -> LedgerTransaction? { byValue[value] }

    /// What the group of a producer may have as its offset; an inner nil: none.
    func allowedOffsets(of owner: String) -> [Int64?] {
        let mine = transactions.filter { $0.owner == owner && $0.offset != nil && $0.fate != .aborted }
        let last = mine.last { $0.fate == .committed }
        return [last?.offset] + mine.filter { $0.fate == .unknown && $0.number > last?.number ?? -1 }.map(\.offset)
    }
}
