// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the broker without protocols: topics, partitions, groups, producers, and their upkeep.
//
// Speaks no wire and knows no socket. Both edges hold one `Engine` and call it from their connections' event loops.
// Start-up reads the internal logs and nothing else.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Storage
import Telemetry

package final class Engine: Sendable {
    package let configuration: EngineConfiguration
    package let clusterId: String
    package let topics: TopicCatalog
    package let producerIds: ProducerIds
    package let groups: GroupCoordinator
    package let turns: Turns
    package let clock: any Clock
    let directory: DataDirectory
    private let groupCommit: GroupCommit
    private let metadataPartition: Partition
    let metadata: InternalLog
    let offsets: OffsetLog
    let logger: Logger
    let jobs = NIOLockedValueBox<[RepeatedTask]>([])
    /// How the catalog reaches the groups, which hold it in turn: emptied when the engine shuts down.
    private let groupsOfCatalog = NIOLockedValueBox<GroupCoordinator?>(nil)

    /// The internal metadata log's topic; no client sees it.
    static let metadataTopic = "__martlet_metadata"
    /// Rewriting drops whole segments, so those of internal logs are small.
    static let internalOverrides = ["retention.ms": "-1", "segment.bytes": "16777216"]
    package static let offsetsTopic = "__consumer_offsets"

    /// Opens the data directory's topics and reads the internal logs. `loop` is where upkeep runs: retention,
    /// checkpoints, the groups' timers.
    package init(
        configuration: EngineConfiguration, directory: DataDirectory, groupCommit: GroupCommit,
        loop: any EventLoop, clock: any Clock, metrics: Metrics, logger: Logger
    ) throws(EngineError) {
        self.configuration = configuration
        self.directory = directory
        self.groupCommit = groupCommit
        self.clock = clock
        self.logger = logger
        clusterId = directory.clusterId
        turns = Turns()
        let factory = PartitionFactory(
            directory: directory, clock: clock, durability: configuration.durability, groupCommit: groupCommit,
            metrics: EngineMetrics(metrics))
        let record = MetadataRecord.TopicRecord(
            name: Self.metadataTopic, id: .zero, partitions: 1, isInternal: true, overrides: [:])
        metadataPartition = try factory.make(
            record, index: 0, configuration: TopicConfiguration(overrides: Self.internalOverrides))
        metadata = InternalLog(partition: metadataPartition, turns: turns, clock: clock)
        producerIds = ProducerIds(metadata: metadata)
        // The catalog tells the groups of deletions; the groups' log is a topic of the catalog.
        let forget = groupsOfCatalog
        topics = TopicCatalog(
            configuration: configuration, partitions: factory, metadata: metadata, logger: logger,
            onDeleted: { topic in forget.withLockedValue { $0 }?.topicDeleted(topic.name, on: loop) })
        offsets = OffsetLog(topics: topics, turns: turns, clock: clock)
        groups = GroupCoordinator(
            configuration: configuration.groups, clock: clock, loop: loop, store: offsets, logger: logger)
        try load()
        do throws(GroupError) {
            _ = try groups.load { [topics] in topics.topic(named: $0) != nil }
        } catch {
            throw EngineError(.storageFailure, "the committed offsets cannot be read: \(error)")
        }
        groups.start()
        let groups = groups
        forget.withLockedValue { $0 = groups }
        register(metrics)
    }

    /// The broker is about to stop: answers the members who wait for each other, so that connections can end.
    package func prepareToShutDown() {
        groups.close()
    }

    /// Ends everything in order: nothing is taken any more, what was taken is durable, and the data directory says that
    /// the next start has nothing to recover. Connections must be closed; called once.
    package func shutDown() throws(EngineError) {
        for job in jobs.withLockedValue({ $0 }) { job.cancel() }
        groups.close()
        groupsOfCatalog.withLockedValue { $0 = nil }
        let partitions = allPartitions
        guard configuration.durability != .memory else {
            for partition in partitions { _ = partition.shutDown() }
            return
        }
        groupCommit.stop()
        for partition in partitions { snapshotProducers(of: partition, isLast: true) }
        do throws(StorageError) {
            try directory.close(partitions.map { $0.shutDown() })
        } catch {
            throw EngineError(error)
        }
    }

    /// Every partition there is, the internal ones included.
    package var allPartitions: [Partition] {
        [metadataPartition] + topics.all.flatMap(\.partitions)
    }

    private func load() throws(EngineError) {
        var found: [String: MetadataRecord.TopicRecord] = [:]
        var nextProducerId: Int64 = 0
        var unreadable = 0
        try metadata.replay { key, value in
            switch MetadataRecord(key: key, value: value) {
            case .topic(let topic): found[topic.name] = topic
            case .topicDeleted(let name): found[name] = nil
            case .producerIds(let next): nextProducerId = max(nextProducerId, next)
            case nil: unreadable += 1
            }
        }
        if unreadable > 0 {
            logger.error("the metadata log has \(unreadable) records that this version cannot read; they are ignored")
        }
        producerIds.load(next: nextProducerId)
        try topics.load(Array(found.values))
    }
}
