// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: everything the group coordinator keeps.
//
// Owned by `GroupCoordinator`, under its one lock. No I/O and no callbacks: what is to be delivered or logged
// is returned. The counters always equal what the entries hold; bounds are checked against them before
// anything is added.

import NIOCore

struct GroupTable: Sendable {
    let configuration: GroupConfiguration
    private(set) var groups: [String: GroupEntry] = [:]
    var writes = OffsetWriteQueue()
    /// The topics that there are.
    var topics = GroupTopics()
    /// What is configured for some groups, whether they exist or not.
    var overrides: [String: GroupOverrides] = [:]
    /// Transactional id → the last transaction of it whose offsets are committed, durable.
    var applied: [String: AppliedTransaction] = [:]
    /// How many open transactions are to commit this offset.
    var unstable: [OffsetKey: Int] = [:]
    var isClosed = false
    /// Runs `cleanUp` now and then.
    var cleanUpTask: RepeatedTask?
    private var nextToken: UInt64 = 0
    private(set) var membershipBytes = 0
    private(set) var offsetCount = 0
    private(set) var offsetMetadataBytes = 0

    init(configuration: GroupConfiguration) {
        self.configuration = configuration
    }

    mutating func makeToken() -> GroupToken {
        nextToken += 1
        return GroupToken(nextToken)
    }

    // MARK: Groups

    func hasRoomForGroup(_ groupId: String) -> Bool {
        groups.count < configuration.groupsMax || groups[groupId] != nil
    }

    func hasRoomForMembership(_ bytes: Int) -> Bool {
        membershipBytes + bytes <= configuration.membershipBytesMax
    }

    /// Whether the group had to be created.
    @discardableResult
    mutating func createIfMissing(_ groupId: String) -> Bool {
        if groups[groupId] != nil { return false }
        groups[groupId] = GroupEntry(group: ClassicGroup(id: groupId, configuration: configuration))
        return true
    }

    /// Uses a group in place and keeps the books; nil if there is no such group.
    mutating func withEntry<Answer>(_ groupId: String, _ body: (inout GroupEntry) -> Answer) -> Answer? {
        guard let index = groups.index(forKey: groupId) else { return nil }
        let before = groups.values[index].retainedBytes
        let answer = body(&groups.values[index])
        membershipBytes += groups.values[index].retainedBytes - before
        return answer
    }

    /// A new entry, in the place of none.
    mutating func add(_ entry: GroupEntry) {
        groups[entry.id] = entry
        membershipBytes += entry.retainedBytes
    }

    /// What an input changed of the group goes to the log, and `local` (its answers) when that and all that was written
    /// of the group before is durable.
    mutating func settle(
        _ groupId: String, _ local: GroupOutcome, wallMs: Int64, into outcome: inout GroupOutcome
    ) {
        outcome.reports += local.reports
        let taken = withEntry(groupId) { $0.takeRecords(wallMs: wallMs) }
        let mustWait = taken.map { !$0.records.isEmpty } ?? false
        guard mustWait || (!local.deliveries.isEmpty && writes.hasWrites(of: groupId)) else {
            outcome.deliveries += local.deliveries
            return
        }
        var write = OffsetWrite(changes: [], deliveries: local.deliveries, groups: [groupId])
        if let (keys, records) = taken, !records.isEmpty {
            write.groupRecords = records
            write.groupKeys = [(groupId, keys)]
        }
        if writes.add(write) { outcome.mustFlush = true }
    }

    /// Forgets the group if `removal` says so; never one that has offsets.
    mutating func remove(_ groupId: String, _ removal: OffsetWrite.Removal) {
        guard removal != .none, let entry = groups[groupId], entry.offsets.isEmpty, entry.recorded.isEmpty
        else { return }
        guard removal == .ifVacant ? entry.isVacant : entry.isEmpty else { return }
        groups[groupId] = nil
        membershipBytes -= entry.retainedBytes
        entry.timer?.cancel()
    }

    // MARK: Offsets

    func hasRoomForOffsets(count: Int, metadataBytes: Int) -> Bool {
        offsetCount + count <= configuration.offsetsMax
            && offsetMetadataBytes + metadataBytes <= configuration.offsetMetadataBytesMax
    }

    func hasRoomForChanges(_ count: Int) -> Bool {
        writes.changesInFlight + count <= configuration.changesInFlightMax
    }

    /// A change is durable: it becomes visible. A commit creates its group ("simple", if it has no members).
    mutating func apply(_ change: OffsetChange) {
        let key = change.key
        if change.offset != nil { createIfMissing(key.groupId) }
        let old = withEntry(key.groupId) { entry -> CommittedOffset? in
            if let offset = change.offset {
                return entry.offsets[key.topic, default: [:]].updateValue(offset, forKey: key.partition)
            }
            let removed = entry.offsets[key.topic]?.removeValue(forKey: key.partition)
            if entry.offsets[key.topic]?.isEmpty == true { entry.offsets[key.topic] = nil }
            return removed
        }
        if let old = old.flatMap({ $0 }) {
            offsetCount -= 1
            offsetMetadataBytes -= old.metadata.utf8.count
        }
        if let offset = change.offset {
            offsetCount += 1
            offsetMetadataBytes += offset.metadata.utf8.count
        }
    }

    /// A batch is settled: its changes become visible, or not, and those who wait are told.
    mutating func settle(_ batch: OffsetWriteQueue.Batch, into outcome: inout GroupOutcome) {
        let result = batch.result ?? .failure(.unknownServerError)
        let isDurable = if case .success = result { true } else { false }
        for write in batch.writes {
            if isDurable || write.appliesOnFailure {
                for change in write.changes { apply(change) }
                if let (id, transaction) = write.applied { applied[id] = transaction }
                for groupId in write.groups { remove(groupId, write.removal) }
            }
            if case .failure(let error) = result {
                for (groupId, keys) in write.groupKeys { _ = withEntry(groupId) { $0.notWritten(keys) } }
                outcome.deliveries += write.deliveries.map { $0.failing(error) }
            } else {
                outcome.deliveries += write.deliveries
            }
            if let completion = write.completion { outcome.deliveries.append(completion.delivery(of: result)) }
        }
    }

    /// Every position, visible or on its way, whose key matches: what a deletion has to name. In a fixed order.
    func offsetKeys(
        ofGroup groupId: String? = nil, where matches: (_ topic: String) -> Bool
    ) -> [OffsetKey] {
        var keys = writes.keys { (groupId == nil || $0.groupId == groupId) && matches($0.topic) }
        func collect(_ entry: GroupEntry) {
            for (topic, partitions) in entry.offsets where matches(topic) {
                for partition in partitions.keys {
                    keys.insert(OffsetKey(groupId: entry.id, topic: topic, partition: partition))
                }
            }
        }
        if let groupId {
            if let entry = groups[groupId] { collect(entry) }
        } else {
            for entry in groups.values { collect(entry) }
        }
        return keys.sorted()
    }
}
