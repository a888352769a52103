// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: share sessions, and the queues that fetches and workers take from.

import Bytes
import NIOCore
import Synchronization

extension ShareCoordinator {
    package typealias OpenedQueue = (place: SharePlace, queue: Result<ShareQueue, ShareError>)

    // MARK: Queues

    /// The group's queues of these partitions, in order; made where there are none. `completion` runs on `loop` once each one's
    /// start is durable, which may be before this returns. On `loop`.
    package func openQueues(
        _ groupId: String, _ places: [SharePlace], on loop: any EventLoop,
        completion: @escaping @Sendable ([OpenedQueue]) -> Void
    ) {
        let found = places.map { place in (place, queue(groupId, place)) }
        let opening = Opening(found, completion)
        for (index, (_, result)) in found.enumerated() {
            guard case .success(let queue) = result else { continue }
            queue.whenReady(on: loop) { opening.finish(index, $0) }
        }
        opening.finishIfDone()
    }

    /// The queue if there is one: for what needs no new one.
    package func existingQueue(_ groupId: String, _ place: SharePlace) -> ShareQueue? {
        table.withLock { $0.entries[groupId]?.queues[place] }
    }

    private func queue(_ groupId: String, _ place: SharePlace) -> Result<ShareQueue, ShareError> {
        if let queue = existingQueue(groupId, place) { return .success(queue) }
        guard let topic = topics.topic(id: place.topicId) else { return .failure(.unknownTopicId) }
        guard let partition = topic.partition(place.partition), !topic.isInternal else {
            return .failure(.unknownTopicOrPartition)
        }
        do throws(ShareError) {
            try check(groupId)
            let settings = settings(of: groupId)
            let start = try startOffset(of: partition, settings)
            return .success(
                try change(groupId, creating: true) { (entry) throws(ShareError) in
                    if let queue = entry.queues[place] { return queue }
                    let key = ShareKey(groupId: groupId, topicId: place.topicId, partition: place.partition)
                    let queue = self.makeQueue(key, partition, SharePartition(startOffset: start), isReady: false)
                    entry.queues[place] = queue
                    return queue
                })
        } catch {
            return .failure(error)
        }
    }

    func makeQueue(
        _ key: ShareKey, _ partition: Partition, _ machine: SharePartition, isReady: Bool
    ) -> ShareQueue {
        ShareQueue(key: key, partition: partition, machine: machine, isReady: isReady, context: context) {
            [weak self, configuration] in
            self?.settings(of: key.groupId) ?? ShareGroupSettings(configuration)
        }
    }

    /// Where a group begins that has not read the partition before.
    private func startOffset(of partition: Partition, _ settings: ShareGroupSettings) throws(ShareError) -> Int64 {
        let offsets = partition.offsets
        switch settings.reset {
        case .latest: return offsets.highWatermark
        case .earliest: return offsets.start
        case .byDuration(let ms):
            do throws(EngineError) {
                return try partition.offset(forTimestamp: max(0, context.clock.nowMs() - ms))?.offset ?? offsets.highWatermark
            } catch {
                throw .storageFailure
            }
        }
    }

    // MARK: Sessions

    /// Opens (epoch 0) or goes on with a session; the partitions to fetch from, in turn. `connection` is whose end ends it.
    package func session(
        _ key: ShareSessionKey, epoch: Int32, add: [SharePlace], forget: [SharePlace], connection: ObjectIdentifier,
        on loop: any EventLoop
    ) throws(ShareError) -> [SharePlace] {
        try check(key.groupId)
        let result = table.withLock { table -> Result<[SharePlace], ShareError> in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            do throws(ShareError) {
                if epoch == 0 {
                    return .success(
                        try table.sessions.open(
                            key, add, connection: connection, sessionsMax: configuration.shareSessionsMax,
                            placesMax: configuration.partitionsPerSessionMax))
                }
                return .success(
                    try table.sessions.update(
                        key, epoch: epoch, add: add, forget: forget, placesMax: configuration.partitionsPerSessionMax))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// What a session fetches from; nothing if there is none.
    package func places(of key: ShareSessionKey) -> [SharePlace] {
        table.withLock { $0.sessions.sessions[key]?.places ?? [] }
    }

    /// Ends a session. What the member holds is given back by `release`, once its last acknowledgements are in.
    package func closeSession(_ key: ShareSessionKey) throws(ShareError) -> [SharePlace] {
        let result = table.withLock { table -> Result<[SharePlace], ShareError> in
            do throws(ShareError) { return .success(try table.sessions.close(key)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// Gives back what a member holds in these partitions. On `loop`.
    package func release(_ key: ShareSessionKey, _ places: [SharePlace], on loop: any EventLoop) {
        for place in places { existingQueue(key.groupId, place)?.release(key.member, on: loop) }
    }

    /// A connection is gone, and its sessions with it. On `loop`.
    package func connectionClosed(_ connection: ObjectIdentifier, on loop: any EventLoop) {
        let gone = table.withLock { $0.sessions.remove(connection: connection) }
        for (key, places) in gone { release(key, places, on: loop) }
    }
}

/// Waits for queues to be ready. Confined to the loop of who opens them.
private final class Opening: @unchecked Sendable {
    // Unchecked: see above.
    private var found: [ShareCoordinator.OpenedQueue]
    private var missing: Int
    private var completion: (@Sendable ([ShareCoordinator.OpenedQueue]) -> Void)?
    private var isCounted = false

    init(
        _ found: [(SharePlace, Result<ShareQueue, ShareError>)],
        _ completion: @escaping @Sendable ([ShareCoordinator.OpenedQueue]) -> Void
    ) {
        self.found = found.map { (place: $0.0, queue: $0.1) }
        self.completion = completion
        missing = found.reduce(0) { count, entry in if case .success = entry.1 { count + 1 } else { count } }
    }

    func finish(_ index: Int, _ error: ShareError?) {
        if let error { found[index].queue = .failure(error) }
        missing -= 1
        if isCounted { finishIfDone() }
    }

    func finishIfDone() {
        isCounted = true
        guard missing == 0, let completion else { return }
        self.completion = nil
        completion(found)
    }
}
