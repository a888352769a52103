// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: the items that one worker holds, each under a number of its stream.
//
// An item is known by such a number so that an old one cannot settle the same record's next delivery. Ends of leases are seen
// here at the moment at which the queue gives the record to others, by the same clock. A value of its worker's.

import Engine

struct HeldItems {
    struct Item {
        var queue: ShareQueue
        var offset: Int64
        /// Monotonic ms.
        var deadlineMs: Int64
    }

    /// Those of one queue, in the order of their offsets.
    typealias OfQueue = (queue: ShareQueue, items: [(id: UInt64, offset: Int64)])

    private var items: [UInt64: Item] = [:]
    private var nextId: UInt64 = 1

    var count: Int { items.count }
    /// When the first lease ends, monotonic ms.
    var nextDeadlineMs: Int64? { items.values.lazy.map(\.deadlineMs).min() }

    /// Returns the item's number.
    mutating func add(_ item: Item) -> UInt64 {
        defer { nextId += 1 }
        items[nextId] = item
        return nextId
    }

    mutating func remove(_ ids: [UInt64]) {
        for id in ids { items[id] = nil }
    }

    mutating func removeAll() { items = [:] }

    mutating func renew(_ ids: [UInt64], deadlineMs: Int64) {
        for id in ids { items[id]?.deadlineMs = deadlineMs }
    }

    mutating func dropExpired(nowMs: Int64) {
        items = items.filter { $0.value.deadlineMs > nowMs }
    }

    /// What these numbers mean, each once; a number that is nobody's, or comes again, is unknown.
    func find(_ ids: [UInt64]) -> (held: [OfQueue], unknown: [UInt64]) {
        var unknown: [UInt64] = []
        var held: [ObjectIdentifier: OfQueue] = [:]
        var seen: Set<UInt64> = []
        for id in ids {
            guard seen.insert(id).inserted, let item = items[id] else {
                unknown.append(id)
                continue
            }
            held[ObjectIdentifier(item.queue), default: (item.queue, [])].items.append((id, item.offset))
        }
        return (held.values.map { ($0.queue, $0.items.sorted { $0.offset < $1.offset }) }, unknown)
    }
}
