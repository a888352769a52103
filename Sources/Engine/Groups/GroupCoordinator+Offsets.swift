// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the group coordinator's committed offsets.
//
// A commit is checked, encoded and queued; it is visible and answered once the log says that it is durable.
// Commits of one turn of an event loop share a batch. If the log refuses, nothing of the batch is visible.

import Bytes
import NIOCore
import Synchronization

extension GroupCoordinator {
    // MARK: Commit

    /// Commits positions. On success one result per position, in order; nil for success.
    package func commit(
        _ commit: OffsetCommit, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<[GroupError?], GroupError>) -> Void
    ) {
        let results = commit.positions.map { isTooLong($0.metadata) ? GroupError.offsetMetadataTooLarge : nil }
        let waiter = GroupWaiter<Result<Void, GroupError>>(loop: loop) { result in
            completion(result.map { results })
        }
        let write = OffsetWrite(
            changes: changes(of: commit, where: results), groups: [commit.groupId], completion: waiter)
        enqueue(write, on: loop) { (table) throws(GroupError) in
            try self.admit(commit, changes: write.changes, to: &table)
        }
    }

    /// Kafka counts UTF-16 units, of which there are never more than bytes.
    func isTooLong(_ metadata: String) -> Bool {
        metadata.utf8.count > configuration.offsetMetadataMax
            && metadata.utf16.count > configuration.offsetMetadataMax
    }

    func changes(of commit: OffsetCommit, where results: [GroupError?]) -> [OffsetChange] {
        let nowMs = clock.nowMs()
        var changes: [OffsetChange] = []
        changes.reserveCapacity(commit.positions.count)
        for (position, error) in zip(commit.positions, results) where error == nil {
            changes.append(
                OffsetChange(
                    key: OffsetKey(groupId: commit.groupId, topic: position.topic, partition: position.partition),
                    offset: CommittedOffset(
                        offset: position.offset, leaderEpoch: position.leaderEpoch, metadata: position.metadata,
                        commitTimestampMs: nowMs, expireTimestampMs: commit.retentionMs.map { nowMs.addingWithoutOverflow($0) })))
        }
        return changes
    }

    func admit(
        _ commit: OffsetCommit, changes: [OffsetChange], to table: inout GroupTable
    ) throws(GroupError) {
        if commit.groupId.utf8.count > configuration.groupIdBytesMax { throw .invalidGroupId }
        let nowMs = monotonicMs
        let error = table.withEntry(commit.groupId) { entry -> GroupError? in
            do throws(GroupError) {
                try entry.validateCommit(commit, nowMs: nowMs)
                return nil
            } catch {
                return error
            }
        }
        switch error {
        // No such group. Without a generation it is not about membership, and the commit creates it.
        case .none: if commit.generationId >= 0 { throw .groupIdNotFound }
        case .some(.some(let error)): throw error
        case .some(.none): break
        }
        try checkRoom(for: changes, groupId: commit.groupId, in: &table)
    }

    func checkRoom(
        for changes: [OffsetChange], groupId: String, in table: inout GroupTable
    ) throws(GroupError) {
        // A share group has no committed offsets.
        if isShareGroup(groupId) { throw .groupIdNotFound }
        let metadataBytes = changes.reduce(0) { $0 + ($1.offset?.metadata.utf8.count ?? 0) }
        guard changes.count <= configuration.partitionsPerCommitMax, table.hasRoomForGroup(groupId),
            table.hasRoomForOffsets(count: changes.count, metadataBytes: metadataBytes)
        else { throw .invalidCommitOffsetSize }
        guard table.hasRoomForChanges(changes.count) else { throw .coordinatorLoadInProgress }
    }

    // MARK: Read

    /// What is committed and durable now. `topics` nil: everything, sorted.
    package func committed(
        groupId: String, topics: [TopicPartitions]?
    ) throws(GroupError) -> [TopicPositions] {
        let offsets = table.withLock { table -> [String: [Int32: CommittedOffset]]? in
            table.isClosed ? nil : table.groups[groupId]?.offsets ?? [:]
        }
        guard let offsets else { throw .coordinatorNotAvailable }
        guard let topics else { return Self.all(offsets) }
        return topics.map { asked in
            let known = offsets[asked.topic] ?? [:]
            return TopicPositions(
                topic: asked.topic,
                positions: asked.partitions.map { .init(partition: $0, offset: known[$0]) })
        }
    }

    private static func all(_ offsets: [String: [Int32: CommittedOffset]]) -> [TopicPositions] {
        offsets.sorted { $0.key < $1.key }.map { topic, partitions in
            TopicPositions(
                topic: topic,
                positions: partitions.sorted { $0.key < $1.key }.map { .init(partition: $0.key, offset: $0.value) })
        }
    }

    /// The same, but after every commit of the group that was made before (KIP-447's "require stable"): a
    /// member that takes over a partition starts where the last one's commit leaves it.
    package func stableCommitted(
        groupId: String, topics: [TopicPartitions]?, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<[TopicPositions], GroupError>) -> Void
    ) {
        let waiter = GroupWaiter<Result<Void, GroupError>>(loop: loop) { _ in
            completion(
                self.committedResult(groupId: groupId, topics: topics).map {
                    self.markUnstable($0, groupId: groupId)
                })
        }
        let mustFlush = table.withLock { table -> Bool? in
            guard table.writes.hasWrites(of: groupId) else { return nil }
            return table.writes.add(OffsetWrite(changes: [], groups: [groupId], completion: waiter))
        }
        guard let mustFlush else { return waiter.delivery(of: .success(())).deliver() }
        if mustFlush { scheduleFlush(on: loop) }
    }

    private func committedResult(
        groupId: String, topics: [TopicPartitions]?
    ) -> Result<[TopicPositions], GroupError> {
        do throws(GroupError) {
            return .success(try committed(groupId: groupId, topics: topics))
        } catch {
            return .failure(error)
        }
    }

    // MARK: Delete

    /// Deletes positions (KIP-496). On success one result per topic, in order; nil for success.
    package func deleteOffsets(
        groupId: String, topics: [TopicPartitions], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<[GroupError?], GroupError>) -> Void
    ) {
        let checked = table.withLock { table -> Result<[GroupError?], GroupError> in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            guard table.hasRoomForChanges(0) else { return .failure(.coordinatorLoadInProgress) }
            guard let entry = table.groups[groupId] else { return .failure(.groupIdNotFound) }
            do throws(GroupError) {
                // Of a consumer group one can always tell which topics it uses.
                try entry.classic?.validateOffsetDeletion()
            } catch {
                return .failure(error)
            }
            let inUse = entry.subscribedTopics
            return .success(topics.map { inUse.contains($0.topic) ? .groupSubscribedToTopic : nil })
        }
        guard !groupId.isEmpty, case .success(let results) = checked else {
            let error = groupId.isEmpty ? GroupError.invalidGroupId : checked.error ?? .unknownServerError
            return GroupWaiter(loop: loop, completion: completion).delivery(of: .failure(error)).deliver()
        }
        var asked: [String: Set<Int32>] = [:]
        for (topic, error) in zip(topics, results) where error == nil {
            asked[topic.topic, default: []].formUnion(topic.partitions)
        }
        let waiter = GroupWaiter<Result<Void, GroupError>>(loop: loop) { completion($0.map { results }) }
        deleteOffsets(of: groupId, on: loop, completion: waiter) { asked[$0]?.contains($1) == true }
    }

    private func deleteOffsets(
        of groupId: String, on loop: any EventLoop, completion: GroupWaiter<Result<Void, GroupError>>,
        where matches: (_ topic: String, _ partition: Int32) -> Bool
    ) {
        let mustFlush = table.withLock { table -> Bool in
            let keys = table.offsetKeys(ofGroup: groupId) { _ in true }
            let changes = keys.filter { matches($0.topic, $0.partition) }
            return table.writes.add(
                OffsetWrite(
                    changes: changes.map { OffsetChange(key: $0, offset: nil) }, groups: [groupId],
                    completion: completion))
        }
        if mustFlush { scheduleFlush(on: loop) }
    }

    /// A topic is gone, and every group's positions in it. They are gone here even if the log cannot be told.
    package func topicDeleted(
        _ topic: String, on loop: any EventLoop,
        completion: (@Sendable (Result<Void, GroupError>) -> Void)? = nil
    ) {
        let waiter = completion.map { GroupWaiter<Result<Void, GroupError>>(loop: loop, completion: $0) }
        let mustFlush = table.withLock { table -> Bool in
            let keys = table.offsetKeys { $0 == topic }
            return table.writes.add(
                OffsetWrite(
                    changes: keys.map { OffsetChange(key: $0, offset: nil) },
                    groups: Array(Set(keys.map(\.groupId))), appliesOnFailure: true, completion: waiter))
        }
        if mustFlush { scheduleFlush(on: loop) }
    }

    /// Positions that are not even in the table are deleted from the log.
    func forget(
        _ keys: [OffsetKey], on loop: any EventLoop, completion: @escaping @Sendable (Result<Void, GroupError>) -> Void
    ) {
        let waiter = GroupWaiter<Result<Void, GroupError>>(loop: loop, completion: completion)
        let mustFlush = table.withLock { table -> Bool in
            table.writes.add(
                OffsetWrite(
                    changes: keys.map { OffsetChange(key: $0, offset: nil) },
                    groups: Set(keys.map(\.groupId)).sorted(), completion: waiter))
        }
        if mustFlush { scheduleFlush(on: loop) }
    }

    // MARK: Write

    /// Queues a write if `admit` lets it.
    func enqueue(
        _ write: OffsetWrite, on loop: any EventLoop, admit: (inout GroupTable) throws(GroupError) -> Void
    ) {
        let queued = table.withLock { table -> Result<Bool, GroupError> in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            do throws(GroupError) {
                try admit(&table)
            } catch {
                return .failure(error)
            }
            return .success(table.writes.add(write))
        }
        switch queued {
        case .success(true): scheduleFlush(on: loop)
        case .success(false): break
        case .failure(let error): write.completion?.delivery(of: .failure(error)).deliver()
        }
    }

    /// At the end of the loop's turn, so that what else this turn brings shares the batch.
    func scheduleFlush(on loop: any EventLoop) {
        loop.execute { self.flush(on: loop) }
    }

    private func flush(on loop: any EventLoop) {
        let (max, bytesMax) = (configuration.changesPerBatchMax, configuration.groupBytesPerBatchMax)
        guard let batch = table.withLock({ $0.writes.next(changesMax: max, groupBytesMax: bytesMax) }) else { return }
        var records: [KeyedRecord] = batch.writes.flatMap(\.groupRecords)
        for change in batch.writes.lazy.flatMap(\.changes) {
            records.append((OffsetRecord.encode(change.key), change.offset.map(OffsetRecord.encode)))
        }
        for (id, transaction) in batch.writes.compactMap(\.applied) {
            records.append(OffsetRecord.encode(id, transaction))
        }
        if records.isEmpty {
            settle(batch.id, .success(()))
        } else {
            store.append(records, on: loop) { self.settle(batch.id, $0) }
        }
        if table.withLock({ $0.writes.appended() }) { scheduleFlush(on: loop) }
    }

    private func settle(_ batchId: UInt64, _ result: Result<Void, GroupError>) {
        var outcome = GroupOutcome()
        table.withLock { table in
            for batch in table.writes.completed(batchId, result) { table.settle(batch, into: &outcome) }
        }
        finish(outcome, on: loop)
    }
}

extension Result {
    fileprivate var error: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}
