// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what is done with groups as a whole: start, stop, list, describe, delete, clean up.

import Bytes
import Logging
import NIOCore
import Synchronization

extension GroupCoordinator {
    // MARK: Life

    /// What a start found in the log of committed offsets.
    package struct Loaded: Equatable, Sendable {
        package var offsets = 0
        package var groups = 0
        /// Records of kinds that are not known.
        package var skipped = 0
        package var malformed = 0
    }

    /// Reads the log of committed offsets. Positions in topics that do not exist (the broker may have stopped
    /// between the topic's deletion and theirs) are deleted on the way, once `start` runs. `onOrphan` is told each such
    /// topic's name, and `onForgotten` when its positions are durably gone.
    package func load(
        topicExists: (String) -> Bool = { _ in true }, onOrphan: (String) -> Void = { _ in },
        onForgotten: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(EngineError) -> Loaded {
        var loaded = Loaded()
        var live: [OffsetKey: CommittedOffset] = [:]
        var applied: [String: AppliedTransaction] = [:]
        var images: [String: GroupImage] = [:]
        try store.replay { key, value in
            switch OffsetRecord(key: key, value: value) {
            case .committed(let key, let offset): live[key] = offset
            case .deleted(let key): live[key] = nil
            case .applied(let id, let transaction): applied[id] = transaction
            case .group(let groupId, let key, let value):
                if !images[groupId, default: GroupImage()].apply(key, value) { loaded.malformed += 1 }
            case .other: loaded.skipped += 1
            case .malformed: loaded.malformed += 1
            }
        }
        let orphans = live.keys.filter { !topicExists($0.topic) }.sorted()
        for key in orphans { live[key] = nil }
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        (loaded.offsets, loaded.groups) = table.withLock { table in
            table.applied = applied
            for (groupId, image) in images.sorted(by: { $0.key < $1.key }) {
                restore(groupId, image, to: &table, nowMs: nowMs, wallMs: wallMs, into: &outcome)
            }
            for (key, offset) in live { table.apply(OffsetChange(key: key, offset: offset)) }
            for groupId in Array(table.groups.keys) {
                // Where it is not known when the last member left, retention starts afresh, rather than forget the
                // positions of a group that was alive until the restart.
                _ = table.withEntry(groupId) { if $0.idleSinceMs == nil { $0.idleSinceMs = wallMs } }
            }
            return (table.offsetCount, table.groups.count)
        }
        finish(outcome, on: loop)
        if loaded.malformed > 0 {
            logger.warning("groups and committed offsets: \(loaded.malformed) records could not be read and are ignored")
        }
        for topic in Set(orphans.map(\.topic)).sorted() {
            onOrphan(topic)
            forget(orphans.filter { $0.topic == topic }, on: loop) { result in
                if case .success = result { onForgotten(topic) }
            }
        }
        return loaded
    }

    /// Begins to clean up now and then. Must be called once, after `load`.
    package func start() {
        let interval = TimeAmount.milliseconds(configuration.offsetsRetentionCheckIntervalMs)
        let task = loop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { [weak self] _ in
            self?.cleanUp()
        }
        table.withLock { $0.cleanUpTask = task }
    }

    /// Refuses what comes from now on and answers what is parked, so that clients look for another broker or
    /// wait for this one. Commits in flight are still answered when the log has settled them.
    package func close() {
        let wallMs = clock.nowMs()
        var outcome = GroupOutcome()
        let task = table.withLock { table -> RepeatedTask? in
            table.isClosed = true
            for groupId in table.groups.keys.sorted() {
                _ = table.withEntry(groupId) { entry in
                    entry.execute(entry.withClassic { $0.close() } ?? [], wallMs: wallMs, into: &outcome)
                    entry.timer?.cancel()
                    entry.timer = nil
                }
            }
            defer { table.cleanUpTask = nil }
            return table.cleanUpTask
        }
        task?.cancel()
        finish(outcome, on: loop)
    }

    // MARK: Look

    /// Groups whose state is one of `states` and whose type is one of `types`, if any are named; case is
    /// ignored (KIP-518, KIP-848). Sorted by id.
    package func list(states: [String] = [], types: [String] = []) throws(GroupError) -> [GroupListing] {
        let wantedStates = Set(states.map(Self.normalised))
        let wantedTypes = Set(types.map(Self.normalised))
        let listings = table.withLock { table -> [GroupListing]? in
            table.isClosed ? nil : table.groups.values.map(\.listing)
        }
        guard let listings else { throw .coordinatorNotAvailable }
        return listings.filter {
            (states.isEmpty || wantedStates.contains($0.state.lowercased()))
                && (types.isEmpty || wantedTypes.contains($0.type.rawValue))
        }.sorted { $0.groupId < $1.groupId }
    }

    private static func normalised(_ text: String) -> String {
        var characters = Substring(text)
        while characters.first?.isWhitespace == true { characters.removeFirst() }
        while characters.last?.isWhitespace == true { characters.removeLast() }
        return characters.lowercased()
    }

    /// One description per id, in order; of a group that is not there or not classic, state Dead.
    package func describe(_ groupIds: [String]) throws(GroupError) -> [GroupDescription] {
        let found = table.withLock { table -> [GroupDescription]? in
            if table.isClosed { return nil }
            return groupIds.map { groupId in
                guard let entry = table.groups[groupId] else { return .notFound(groupId) }
                return entry.classic?.groupDescription ?? .notClassic(groupId)
            }
        }
        guard let found else { throw .coordinatorNotAvailable }
        return found
    }

    package var groupCount: Int { table.withLock { $0.groups.count } }

    // MARK: Delete, clean up

    /// Deletes groups with their offsets. One result per id, in order; nil for success.
    package func delete(
        _ groupIds: [String], on loop: any EventLoop, completion: @escaping @Sendable ([GroupError?]) -> Void
    ) {
        let (results, mustFlush) = table.withLock { table -> ([GroupError?], Bool) in
            var results: [GroupError?] = []
            var deleted: [String] = []
            for groupId in groupIds {
                let error = table.deletionError(of: groupId)
                if error == nil { deleted.append(groupId) }
                results.append(error)
            }
            guard !deleted.isEmpty else { return (results, false) }
            let keys = deleted.flatMap { table.offsetKeys(ofGroup: $0) { _ in true } }
            let tombstones = table.takeTombstones(of: deleted)
            let write = OffsetWrite(
                changes: keys.map { OffsetChange(key: $0, offset: nil) }, groupRecords: tombstones.records,
                groupKeys: tombstones.keys, groups: deleted, removal: .ifEmpty,
                completion: GroupWaiter(loop: loop) { [results] written in
                    completion(results.map { $0 ?? written.failure })
                })
            return (results, table.writes.add(write))
        }
        if mustFlush { scheduleFlush(on: loop) }
        if results.allSatisfy({ $0 != nil }) {
            GroupWaiter(loop: loop, completion: completion).delivery(of: results).deliver()
        }
    }

    /// Deletes what retention no longer keeps, and forgets groups of which nothing is left.
    package func cleanUp() {
        let nowMs = clock.nowMs()
        let retentionMs = configuration.offsetsRetentionMs
        let mustFlush = table.withLock { table -> Bool in
            if table.isClosed { return false }
            var expired: [OffsetKey] = []
            var vacant: [String] = []
            for (groupId, entry) in table.groups where !table.writes.hasWrites(of: groupId) {
                let own = entry.expiredOffsets(nowMs: nowMs, retentionMs: retentionMs)
                expired += own
                if entry.isVacant && own.count == entry.offsets.values.reduce(0, { $0 + $1.count }) {
                    vacant.append(groupId)
                }
            }
            let tombstones = table.takeTombstones(of: vacant.sorted())
            for groupId in vacant { table.remove(groupId, .ifVacant) }
            guard !expired.isEmpty || !tombstones.records.isEmpty else { return false }
            return table.writes.add(
                OffsetWrite(
                    changes: expired.sorted().map { OffsetChange(key: $0, offset: nil) },
                    groupRecords: tombstones.records, groupKeys: tombstones.keys,
                    groups: Set(expired.map(\.groupId) + vacant).sorted(), removal: .ifVacant))
        }
        if mustFlush { scheduleFlush(on: loop) }
    }
}

extension GroupTable {
    fileprivate func deletionError(of groupId: String) -> GroupError? {
        if isClosed { return .coordinatorNotAvailable }
        guard hasRoomForChanges(0) else { return .coordinatorLoadInProgress }
        guard let entry = groups[groupId] else { return .groupIdNotFound }
        guard let classic = entry.classic else { return entry.isEmpty ? nil : .nonEmptyGroup }
        do throws(GroupError) {
            try classic.validateDeletion()
            return nil
        } catch {
            return error
        }
    }

    /// The deletions of what the log has of these groups, as parts of a write.
    fileprivate mutating func takeTombstones(
        of groupIds: [String]
    ) -> (keys: [(groupId: String, keys: Set<GroupRecordKey>)], records: [KeyedRecord]) {
        var taken: [(groupId: String, keys: Set<GroupRecordKey>)] = []
        var records: [KeyedRecord] = []
        for groupId in groupIds {
            guard let (keys, deletions) = withEntry(groupId, { $0.takeTombstones() }), !keys.isEmpty else { continue }
            taken.append((groupId, keys))
            records += deletions
        }
        return (taken, records)
    }
}

extension Result where Failure == GroupError {
    fileprivate var failure: GroupError? {
        if case .failure(let error) = self { error } else { nil }
    }
}
