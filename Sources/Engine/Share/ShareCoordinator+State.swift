// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how share groups survive: what is read at start, what a rewriting of their log needs, and the end.

import Bytes
import Logging
import NIOCore
import Synchronization

extension ShareCoordinator {
    /// Reads `__share_group_state`. What is said of topics that do not exist any more is forgotten once `start` runs; records
    /// that a loss of power has taken from a log are forgotten, because their offsets will be given again.
    func load() throws(EngineError) {
        var states: [ShareKey: SharePartition] = [:]
        var malformed = 0
        try context.log.replay { key, value in
            switch ShareStateRecord(key: key, value: value) {
            case .snapshot(let key, let start, let runs):
                var state = SharePartition(startOffset: start)
                state.restore(startOffset: start, runs)
                states[key] = state
            case .update(let key, let start, let runs):
                var state = states[key] ?? SharePartition(startOffset: max(0, start))
                state.restore(startOffset: start, runs)
                states[key] = state
            case .forgotten(let key): states[key] = nil
            case .malformed: malformed += 1
            }
        }
        if malformed > 0 {
            context.logger.warning("share groups: \(malformed) records could not be read and are ignored")
        }
        for (key, state) in states { restore(key, state) }
    }

    private func restore(_ key: ShareKey, _ state: SharePartition) {
        guard let partition = topics.topic(id: key.topicId)?.partition(key.partition) else {
            return table.withLock { $0.orphans.append(key) }
        }
        var state = state
        let end = partition.offsets.highWatermark
        let isCut = state.logEnds(at: end)
        let queue = makeQueue(key, partition, state, isReady: !isCut)
        table.withLock { table in
            let place = SharePlace(topicId: key.topicId, partition: key.partition)
            table.entries[key.groupId, default: ShareTable.Entry(group: ShareGroup(id: key.groupId))].queues[place] = queue
        }
    }

    /// After `load`, once: goes on with what the last stop interrupted.
    func start() {
        let (queues, orphans) = table.withLock { table in
            defer { table.orphans = [] }
            return (table.entries.values.flatMap(\.queues.values), table.orphans)
        }
        context.loop.execute { [context] in
            for queue in queues {
                queue.whenReady(on: context.loop) { _ in }
                queue.resumeBurials(on: context.loop)
            }
            guard !orphans.isEmpty else { return }
            context.log.append(orphans.map { (ShareStateRecord.key($0, isUpdate: false), nil) }, on: context.loop) { _ in }
        }
    }

    /// Refuses what comes from now on.
    func close() {
        table.withLock { table in
            table.isClosed = true
            table.timer?.cancel()
            table.timer = nil
        }
    }

    /// Bytes of state written at once when the broker stops; one sync each.
    private static let lastWriteBytes = 256 << 10

    /// The broker stops, and nobody says anything any more: writes down how often what is held was delivered, so that the next start
    /// knows. After the connections are closed and before the logs are. `completion` runs when that is durable, or cannot be.
    package func writeDeliveries(completion: @escaping @Sendable () -> Void) {
        let queues = table.withLock { table in table.entries.values.flatMap(\.queues.values) }
        context.loop.execute { self.writeDeliveries(of: queues[...], completion) }
    }

    private func writeDeliveries(of queues: ArraySlice<ShareQueue>, _ completion: @escaping @Sendable () -> Void) {
        var rest = queues
        var records: [KeyedRecord] = []
        var bytes = 0
        while bytes < Self.lastWriteBytes, let queue = rest.popFirst() {
            guard let record = queue.unwrittenRecord(nowMs: context.clock.nowMs()) else { continue }
            records.append(record)
            bytes += record.key.count + (record.value?.count ?? 0)
        }
        guard !records.isEmpty else { return completion() }
        let left = rest
        context.log.append(records, on: context.loop) { [self] result in
            guard case .failure(let error) = result else { return writeDeliveries(of: left, completion) }
            context.logger.warning(
                "share groups: deliveries that nothing was said of are not counted", metadata: ["cause": "\(error)"])
            completion()
        }
    }

    /// Everything that is durable, as the records that would restore it.
    func durableState() -> [KeyedRecord] {
        let queues = table.withLock { table in table.entries.values.flatMap(\.queues.values) }
        let nowMs = context.clock.nowMs()
        return queues.sorted { $0.key < $1.key }.map { $0.durableRecord(nowMs: nowMs) }
    }

    /// A topic is gone: its queues with it. Its id never comes again, so nobody waits for this.
    func topicDeleted(_ topic: Topic, on loop: any EventLoop) {
        let queues = table.withLock { table -> [ShareQueue] in
            var found: [ShareQueue] = []
            for groupId in table.entries.keys {
                for (place, queue) in table.entries[groupId]?.queues ?? [:] where place.topicId == topic.id {
                    found.append(queue)
                    table.entries[groupId]?.queues[place] = nil
                }
            }
            return found
        }
        guard !queues.isEmpty else { return }
        loop.execute { [context] in
            for queue in queues {
                queue.close {
                    context.loop.execute {
                        context.log.append([(ShareStateRecord.key(queue.key, isUpdate: false), nil)], on: context.loop) { _ in }
                    }
                }
            }
        }
    }
}
