// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the order in which changes to committed offsets are written and become visible.
//
// Part of the group table, under the coordinator's lock; no I/O. Writes of one turn of a loop share a batch:
// the first asks for a flush, the others join it. One flush appends at a time, so that batches reach the log in
// the order in which they left here, and finished batches are handed back in that same order, whatever the
// order of their completions: what a group sees is what a restart would replay.

import NIOCore

/// A new position, or (nil) none any more.
struct OffsetChange: Sendable {
    var key: OffsetKey
    var offset: CommittedOffset?
}

/// Changes that succeed or fail together.
struct OffsetWrite: Sendable {
    /// What becomes of groups without offsets once the changes are applied.
    enum Removal: Sendable {
        case none
        /// Forget them if nobody is about to join.
        case ifVacant
        /// Forget them if they have no members.
        case ifEmpty
    }

    var changes: [OffsetChange]
    /// The transaction that these changes belong to; its value is nil to forget the transactional id.
    var applied: (id: String, transaction: AppliedTransaction?)?
    /// Records of groups themselves, and which they are.
    var groupRecords: [KeyedRecord] = []
    var groupKeys: [(groupId: String, keys: Set<GroupRecordKey>)] = []
    /// Answers that wait for this and everything before it.
    var deliveries: [GroupDelivery] = []
    /// Groups that are looked at for `removal`.
    var groups: [String]
    var removal = Removal.none
    /// The offsets are gone even if the log could not be told (their topic is).
    var appliesOnFailure = false
    var completion: GroupWaiter<Result<Void, GroupError>>?

    /// How much of `changesInFlightMax` it takes.
    var size: Int { changes.count + groupRecords.count }

    var groupBytes: Int {
        groupRecords.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) }
    }
}

struct OffsetWriteQueue: Sendable {
    struct Batch: Sendable {
        let id: UInt64
        var writes: [OffsetWrite]
        var result: Result<Void, GroupError>?
    }

    private enum Flush {
        case idle
        case scheduled
        case appending
    }

    private var flush = Flush.idle
    private var nextId: UInt64 = 0
    private var waiting: [OffsetWrite] = []
    private var batches: [Batch] = []
    /// Group id → writes of it that are waiting or in flight.
    private var writesByGroup: [String: Int] = [:]
    private(set) var changesInFlight = 0

    func hasWrites(of groupId: String) -> Bool { writesByGroup[groupId] != nil }

    /// Keys of changes on their way.
    func keys(where matches: (OffsetKey) -> Bool) -> Set<OffsetKey> {
        guard changesInFlight > 0 else { return [] }
        var keys: Set<OffsetKey> = []
        for write in batches.lazy.flatMap(\.writes) + waiting {
            for change in write.changes where matches(change.key) { keys.insert(change.key) }
        }
        return keys
    }

    /// Takes a write; true: the caller schedules a flush.
    mutating func add(_ write: OffsetWrite) -> Bool {
        changesInFlight += write.size
        for group in write.groups { writesByGroup[group, default: 0] += 1 }
        waiting.append(write)
        guard flush == .idle else { return false }
        flush = .scheduled
        return true
    }

    /// The scheduled flush begins: the batch to append, which must be followed by `appended()`.
    mutating func next(changesMax: Int, groupBytesMax: Int = .max) -> Batch? {
        precondition(flush == .scheduled, "a flush of committed offsets that nobody scheduled")
        var count = 0
        var size = 0
        var groupBytes = 0
        for write in waiting {
            if count > 0 && size + write.size > changesMax { break }
            if count > 0 && groupBytes + write.groupBytes > groupBytesMax { break }
            count += 1
            size += write.size
            groupBytes += write.groupBytes
        }
        guard count > 0 else {
            flush = .idle
            return nil
        }
        let batch = Batch(id: nextId, writes: Array(waiting.prefix(count)))
        nextId += 1
        waiting.removeFirst(count)
        batches.append(batch)
        flush = .appending
        return batch
    }

    /// The append call returned (which says nothing about durability); true: schedule another flush.
    mutating func appended() -> Bool {
        flush = waiting.isEmpty ? .idle : .scheduled
        return flush == .scheduled
    }

    /// A batch is durable or has failed. Returns the batches that are settled with it, in order.
    mutating func completed(_ id: UInt64, _ result: Result<Void, GroupError>) -> [Batch] {
        guard let index = batches.firstIndex(where: { $0.id == id }) else { return [] }
        batches[index].result = result
        let settled = Array(batches.prefix { $0.result != nil })
        batches.removeFirst(settled.count)
        for write in settled.lazy.flatMap(\.writes) {
            changesInFlight -= write.size
            for group in write.groups {
                let left = writesByGroup[group, default: 1] - 1
                writesByGroup[group] = left == 0 ? nil : left
            }
        }
        return settled
    }
}
