// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: everything the transaction coordinator keeps.
//
// Owned by `TransactionCoordinator`, under its one lock. No I/O and no callbacks. `current` is what is durable (or
// about to be, for the end of a transaction, which may be written down twice); one change of an entry is
// under way at a time.

import NIOCore

struct TransactionTable: Sendable {
    struct Entry: Sendable {
        var current: Transaction
        /// Offsets to commit with the transaction, durable.
        var offsets: [OffsetKey: CommittedOffset] = [:]
        /// Whether a change is on its way to the log, or markers to the partitions.
        var isChanging = false
        /// Whether its end is decided, and waits for a second attempt at its markers.
        var mustRetry = false
        /// Who goes on when the change is over, in order.
        var waiting: [@Sendable () -> Void] = []
    }

    private(set) var entries: [String: Entry] = [:]
    var isClosed = false
    private(set) var offsetCount = 0

    /// Uses an entry in place and keeps the books; nil if there is none.
    mutating func withEntry<Answer>(_ id: String, _ body: (inout Entry) -> Answer) -> Answer? {
        guard let index = entries.index(forKey: id) else { return nil }
        let before = entries.values[index].offsets.count
        let answer = body(&entries.values[index])
        offsetCount += entries.values[index].offsets.count - before
        return answer
    }

    mutating func insert(_ id: String, _ entry: Entry) {
        remove(id)
        entries[id] = entry
        offsetCount += entry.offsets.count
    }

    mutating func remove(_ id: String) {
        if let old = entries.removeValue(forKey: id) { offsetCount -= old.offsets.count }
    }
}
