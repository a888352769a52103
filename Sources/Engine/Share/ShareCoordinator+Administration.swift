// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: share groups as administrators see and change them: lists, settings, offsets, deletion.

import Bytes
import NIOCore
import Synchronization

/// What is known of a group.
package struct ShareGroupDescription: Sendable {
    package var groupId: String
    package var state: ShareGroup.State
    package var epoch: Int32
    /// By id.
    package var members: [ShareGroup.Member]
}

/// Where a group is in a partition.
package struct ShareOffset: Equatable, Sendable {
    package var partition: Int32
    /// -1: the group has not begun there.
    package var startOffset: Int64
    package var lag: Int64
}

extension ShareCoordinator {
    package func contains(_ groupId: String) -> Bool { table.withLock { $0.entries[groupId] != nil } }

    /// All groups, by id.
    package func list() -> [(groupId: String, state: ShareGroup.State)] {
        table.withLock { table in table.entries.map { ($0.key, $0.value.group.state) } }.sorted { $0.0 < $1.0 }
    }

    /// nil if there is no such group.
    package func describe(_ groupId: String) -> ShareGroupDescription? {
        table.withLock { $0.entries[groupId]?.group }.map { group in
            ShareGroupDescription(
                groupId: groupId, state: group.state, epoch: group.epoch,
                members: group.members.values.sorted { $0.id.text < $1.id.text })
        }
    }

    // MARK: Settings

    /// The group that puts dead letters back: it remembers which were.
    package static let redriveGroup = "martlet.redrive"

    package func settings(of groupId: String) -> ShareGroupSettings {
        if groupId == Self.redriveGroup { return .redrive }
        let overrides = overrides(groupId).filter { ShareGroupSettings.names.contains($0.key) }
        guard !overrides.isEmpty else { return ShareGroupSettings(configuration) }
        // They were checked when they were set; those of an older version that are refused now are not in force.
        return (try? ShareGroupSettings(overrides, configuration)) ?? ShareGroupSettings(configuration)
    }

    // MARK: Offsets

    /// Where the group is in these partitions of a topic, or nil for all of its own.
    package func offsets(_ groupId: String, topic: String, partitions: [Int32]?) -> [ShareOffset] {
        let known = table.withLock { $0.entries[groupId]?.queues ?? [:] }
        guard let id = topics.topic(named: topic)?.id else {
            return (partitions ?? []).map { ShareOffset(partition: $0, startOffset: -1, lag: -1) }
        }
        let wanted = partitions ?? known.keys.filter { $0.topicId == id }.map(\.partition).sorted()
        return wanted.map { index in
            guard let queue = known[SharePlace(topicId: id, partition: index)] else {
                return ShareOffset(partition: index, startOffset: -1, lag: -1)
            }
            let state = queue.snapshot
            let end = queue.partition.offsets.highWatermark
            return ShareOffset(
                partition: index, startOffset: state.startOffset,
                lag: max(0, end - state.startOffset - state.deliveryCompleteCount))
        }
    }

    /// The topics that the group has begun, by name.
    package func topics(of groupId: String) -> [String] {
        let places = table.withLock { $0.entries[groupId].map { Array($0.queues.keys) } ?? [] }
        return Set(places.map(\.topicId)).compactMap { topics.topic(id: $0)?.name }.sorted()
    }

    /// A group that may be changed as a whole: it has no members.
    package func checkEmpty(_ groupId: String, creating: Bool) throws(ShareError) {
        try check(groupId)
        try change(groupId, creating: creating) { (entry) throws(ShareError) in
            guard entry.group.members.isEmpty else { throw .nonEmptyGroup }
        }
    }

    /// Lets the group begin a partition at `offset`; answered on `loop` when durable. On `loop`.
    package func alterOffset(
        _ groupId: String, _ place: SharePlace, to offset: Int64, on loop: any EventLoop,
        completion: @escaping @Sendable (ShareError?) -> Void
    ) {
        openQueues(groupId, [place], on: loop) { opened in
            switch opened[0].queue {
            case .failure(let error): completion(error)
            case .success(let queue): queue.reset(to: offset, on: loop, completion: completion)
            }
        }
    }

    /// Forgets where the group is in a topic (nil: in all, and the group itself); answered on `loop` when durable. On `loop`.
    package func forget(
        _ groupId: String, topicId: TopicId?, on loop: any EventLoop, completion: @escaping @Sendable (ShareError?) -> Void
    ) {
        do throws(ShareError) {
            try checkEmpty(groupId, creating: false)
        } catch {
            return completion(error)
        }
        let queues = table.withLock { table -> [ShareQueue] in
            table.entries[groupId]?.queues.filter { topicId == nil || $0.key.topicId == topicId }.map(\.value) ?? []
        }
        let context = context
        let left = NIOLoopBoundBox(queues.count, eventLoop: loop)
        let finish: @Sendable () -> Void = {
            let records: [KeyedRecord] = queues.map { (ShareStateRecord.key($0.key, isUpdate: false), nil) }
            context.log.append(records, on: loop) { result in
                self.table.withLock { table in
                    for queue in queues {
                        table.entries[groupId]?.queues[
                            SharePlace(topicId: queue.key.topicId, partition: queue.key.partition)] = nil
                    }
                    if topicId == nil { table.entries[groupId] = nil }
                }
                if case .failure = result { completion(.storageFailure) } else { completion(nil) }
            }
        }
        if queues.isEmpty { return finish() }
        for queue in queues {
            queue.close {
                loop.execute {
                    left.value -= 1
                    if left.value == 0 { finish() }
                }
            }
        }
    }
}
