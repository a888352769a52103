// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: offsets that are committed by transactions (KIP-98, KIP-447).
//
// The transaction coordinator keeps the offsets of an open transaction. Here they are checked against the group,
// known as unstable while they are pending, and committed in one step when the transaction commits.

import NIOCore
import Synchronization

extension GroupCoordinator {
    /// The offsets that this commit would write, if the group lets it. A producer that does not know of groups (before
    /// KIP-447) names no member and no generation, and is let through.
    func admitTransactional(_ commit: OffsetCommit) throws(GroupError) -> [OffsetChange] {
        var commit = commit
        commit.isTransactional = true
        if commit.positions.contains(where: { isTooLong($0.metadata) }) { throw .offsetMetadataTooLarge }
        let changes = changes(of: commit, where: commit.positions.map { _ in nil })
        let checked = table.withLock { table -> GroupError? in
            if table.isClosed { return .coordinatorNotAvailable }
            do throws(GroupError) {
                if commit.generationId < 0 && commit.member == .none {
                    if commit.groupId.utf8.count > configuration.groupIdBytesMax { throw .invalidGroupId }
                    try checkRoom(for: changes, groupId: commit.groupId, in: &table)
                } else {
                    try admit(commit, changes: changes, to: &table)
                }
                return nil
            } catch {
                // What Kafka says of a generation of a group that is not there.
                return error == .groupIdNotFound ? .illegalGeneration : error
            }
        }
        if let checked { throw checked }
        return changes
    }

    /// These offsets are pending in an open transaction.
    func addUnstable(_ keys: some Sequence<OffsetKey>) {
        table.withLock { table in
            for key in keys { table.unstable[key, default: 0] += 1 }
        }
    }

    /// They are not any more: the transaction is over.
    func removeUnstable(_ keys: some Sequence<OffsetKey>) {
        table.withLock { table in
            for key in keys {
                let left = (table.unstable[key] ?? 1) - 1
                table.unstable[key] = left > 0 ? left : nil
            }
        }
    }

    /// Commits what a transaction has collected, in one batch; at once if that was done before (by a broker that crashed
    /// afterwards). `completion` runs on `loop`.
    func commit(
        _ offsets: [OffsetKey: CommittedOffset], of id: String, _ transaction: AppliedTransaction,
        on loop: any EventLoop, completion: @escaping @Sendable (Result<Void, GroupError>) -> Void
    ) {
        if table.withLock({ $0.applied[id] }) == transaction { return completion(.success(())) }
        let changes = offsets.map { OffsetChange(key: $0.key, offset: $0.value) }
        let write = OffsetWrite(
            changes: changes, applied: (id, transaction), groups: Array(Set(offsets.keys.map(\.groupId))),
            completion: GroupWaiter(loop: loop, completion: completion))
        enqueue(write, on: loop) { _ in }
    }

    /// The transactional id is forgotten, and with it what was remembered of its offsets.
    func forgetTransactionalId(_ id: String, on loop: any EventLoop) {
        guard table.withLock({ $0.applied[id] }) != nil else { return }
        enqueue(OffsetWrite(changes: [], applied: (id, nil), groups: []), on: loop) { _ in }
    }

    func markUnstable(_ topics: [TopicPositions], groupId: String) -> [TopicPositions] {
        let unstable = table.withLock { $0.unstable }
        guard !unstable.isEmpty else { return topics }
        return topics.map { topic in
            var marked = topic
            for index in marked.positions.indices {
                let key = OffsetKey(
                    groupId: groupId, topic: topic.topic, partition: marked.positions[index].partition)
                marked.positions[index].isUnstable = unstable[key] != nil
            }
            return marked
        }
    }
}
