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
    package let features: Features
    package let access: AccessControl
    package let accessMetrics: AccessMetrics
    package let passwords: PasswordChecks
    package let quotas: ClientQuotas
    package let audit: AuditLog
    package let tokens: TokenChecks
    package let groups: GroupCoordinator
    /// Of brokers, groups and client metrics, as set at run time.
    package let configurations: ResourceConfigurations
    package let transactions: TransactionCoordinator
    package let shares: ShareCoordinator
    package let turns: Turns
    package let clock: any Clock
    let directory: DataDirectory
    let groupCommit: GroupCommit
    private let metadataPartition: Partition
    let metadata: InternalLog
    let offsets: InternalTopic
    let transactionLog: InternalTopic
    let shareLog: InternalTopic
    let logger: Logger
    let jobs = NIOLockedValueBox<[RepeatedTask]>([])
    let compactor: Compactor
    let retentionClock: NIOLockedValueBox<RetentionClock>
    /// Whether the data directory was found to be gone.
    let hasLostDirectory = NIOLockedValueBox(false)
    /// While files are taken, none is removed or replaced.
    let isBackingUp = NIOLockedValueBox(false)
    /// Housekeeping removes files, bit by bit.
    let isRemovingFiles = NIOLockedValueBox(false)
    /// How the catalog reaches the groups, which hold it in turn: weakly, because an engine whose broker could not
    /// start is let go of and never shuts down. Emptied when the engine shuts down.
    private let groupsOfCatalog = NIOLockedValueBox(WeakGroups())

    /// The internal metadata log's topic; no client sees it.
    static let metadataTopic = "__martlet_metadata"
    /// Rewriting drops whole segments, so those of internal logs are small.
    package static let internalSegmentBytes = "16777216"
    static let internalOverrides = [
        "retention.ms": "-1", "segment.bytes": internalSegmentBytes, "max.message.bytes": "16777216",
    ]
    package static let offsetsTopic = "__consumer_offsets"
    package static let transactionsTopic = "__transaction_state"
    package static let shareStateTopic = "__share_group_state"

    /// Whether a name is kept for the broker's own topics, also while there is none.
    package static func isInternal(_ name: String) -> Bool {
        name == offsetsTopic || name == transactionsTopic || name == shareStateTopic || name == metadataTopic
    }

    /// Opens the data directory's topics and reads the internal logs. `loop` is where the groups' timers run and must
    /// never wait for a disk; `background` is where directories are removed (nil: on the loop of whoever asks).
    /// `policy` decides about access, if there is one; `random` makes the ids of topics and members.
    package init(
        configuration: EngineConfiguration, directory: DataDirectory, groupCommit: GroupCommit,
        loop: any EventLoop, background: (any EventLoop)? = nil, clock: any Clock, metrics: Metrics, logger: Logger,
        audit: AuditLog = .off, policy: (any PolicySource)? = nil, random: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) }
    ) throws(EngineError) {
        self.configuration = configuration
        self.directory = directory
        self.groupCommit = groupCommit
        self.clock = clock
        self.logger = logger
        self.audit = audit
        clusterId = directory.clusterId
        retentionClock = NIOLockedValueBox(RetentionClock(wallMs: clock.nowMs(), monotonicNs: clock.monotonicNs()))
        compactor = Compactor(clock: clock, logger: logger)
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
        features = Features(metadata: metadata)
        let externalPolicy = policy.map {
            ExternalPolicy($0, configuration.access.policy, clock: clock, metrics: metrics, logger: logger)
        }
        accessMetrics = AccessMetrics(metrics)
        access = AccessControl(
            configuration: configuration.access, policy: externalPolicy, metadata: metadata, loop: loop)
        tokens = TokenChecks(rules: configuration.access.tokens, clock: clock)
        passwords = PasswordChecks(access: access, background: background ?? loop)
        quotas = ClientQuotas(
            windows: configuration.quotaWindows, metadata: metadata, loop: loop, clock: clock, metrics: metrics)
        // The catalog tells the groups of deletions; the groups' log is a topic of the catalog.
        let forget = groupsOfCatalog
        topics = TopicCatalog(
            configuration: configuration, partitions: factory, metadata: metadata, background: background,
            logger: logger, random: random,
            onChange: { change in forget.withLockedValue { $0.groups }?.topicChanged(change) },
            onDeleted: { topic, done in
                forget.withLockedValue({ $0.shares })?.topicDeleted(topic, on: loop)
                guard let groups = forget.withLockedValue({ $0.groups }) else { return done(true) }
                groups.topicDeleted(topic.name, on: loop) { result in
                    if case .success = result { done(true) } else { done(false) }
                }
            })
        offsets = InternalTopic(name: Self.offsetsTopic, topics: topics, turns: turns, clock: clock)
        var groupConfiguration = configuration.groups
        if policy != nil {
            groupConfiguration.patternRefreshMs = min(groupConfiguration.patternRefreshMs, Limits.policyPatternRefreshMs)
        }
        groups = GroupCoordinator(
            configuration: groupConfiguration, clock: clock, loop: loop, store: OffsetLog(topic: offsets),
            logger: logger, random: random)
        configurations = ResourceConfigurations(
            metadata: metadata,
            rules: ConfigurationRules(
                groups: configuration.groups, shares: configuration.shares, topicDefaults: configuration.topicDefaults),
            onChange: Self.configurationChanged(topics, configuration.nodeId, groups))
        transactionLog = InternalTopic(name: Self.transactionsTopic, topics: topics, turns: turns, clock: clock)
        transactions = TransactionCoordinator(
            configuration: configuration.transactions, clock: clock, loop: loop, log: transactionLog,
            topics: topics, groups: groups, producerIds: producerIds, features: features, turns: turns, logger: logger)
        shareLog = InternalTopic(name: Self.shareStateTopic, topics: topics, turns: turns, clock: clock)
        shares = ShareCoordinator(
            configuration: configuration.shares, clock: clock, loop: loop, log: shareLog, topics: topics, turns: turns,
            logger: logger, isOtherGroup: { [groups] in groups.hasGroup($0) },
            overrides: { [configurations] in configurations.overrides(of: ConfigurationResource(.group, $0)) })
        groups.shares.withLockedValue { [shares] in $0.coordinator = shares }
        try load()
        try settle(metadataPartition)
        for topic in topics.all { groups.topicChanged(.present(topic.groupTopic)) }
        do throws(EngineError) {
            _ = try groups.load(
                topicExists: { [topics] in topics.topic(named: $0) != nil }, onOrphan: { [topics] in topics.hold($0) },
                onForgotten: { [topics] in topics.release($0) })
        } catch {
            throw EngineError(.storageFailure, "the committed offsets cannot be read: \(error.message)")
        }
        if let partition = topics.topic(named: Self.offsetsTopic)?.partition(0) { try settle(partition) }
        groups.start()
        try transactions.load()
        if let partition = topics.topic(named: Self.transactionsTopic)?.partition(0) { try settle(partition) }
        transactions.start()
        try shares.load()
        if let partition = topics.topic(named: Self.shareStateTopic)?.partition(0) { try settle(partition) }
        shares.start()
        let (groups, shares) = (groups, shares)
        forget.withLockedValue { $0 = WeakGroups(groups: groups, shares: shares) }
        register(metrics)
    }

    /// The broker is about to stop: answers the members who wait for each other, so that connections can end.
    package func prepareToShutDown() {
        transactions.close()
        shares.close()
        groups.close()
    }

    /// Ends everything in order: nothing is taken any more, what was taken is durable, and the data directory says that
    /// the next start has nothing to recover. Connections must be closed; called once.
    package func shutDown() throws(EngineError) {
        let jobs = jobs.withLockedValue { jobs in
            defer { jobs = [] }
            return jobs
        }
        for job in jobs { job.cancel() }
        compactor.cancel()
        prepareToShutDown()
        groupsOfCatalog.withLockedValue { $0 = WeakGroups() }
        let partitions = allPartitions
        guard configuration.durability != .memory else {
            for partition in partitions { _ = partition.shutDown() }
            return
        }
        // After a crash every log has something to sync: all at once, not one after the other as they close.
        if !sabotaged("closeWithoutSync") {
            for partition in partitions { groupCommit.enqueue(partition) }
        }
        groupCommit.stop()
        for partition in partitions { snapshotProducers(of: partition, isLast: true) }
        do throws(StorageError) {
            try directory.close(partitions.map { $0.shutDown() })
        } catch {
            throw EngineError(error)
        }
    }

    /// Where the data is, and the bytes of its volume, in all and free; nil where there is no such thing.
    package var location: String { directory.location }
    package var volumeBytes: (total: Int64, free: Int64)? { directory.volumeBytes }

    /// Every partition there is, the internal ones included.
    package var allPartitions: [Partition] {
        [metadataPartition] + topics.all.flatMap(\.partitions)
    }

    /// What a process that was killed left of the broker's own logs may be in the page cache only. Whoever builds on it,
    /// say with records in a topic that is in there, must not lose it with the machine.
    private func settle(_ partition: Partition) throws(EngineError) {
        if configuration.durability == .disk { try partition.syncNow() }
    }

    private func load() throws(EngineError) {
        var found: [String: MetadataRecord.TopicRecord] = [:]
        var nextProducerId: Int64 = 0
        var accessRecords: [AccessRecord] = []
        var quotaChanges: [QuotaChange] = []
        var configured: [ConfigurationResource: [String: String]] = [:]
        var unreadable = 0
        let damaged = try metadata.replay { key, value in
            switch MetadataRecord(key: key, value: value) {
            case .topic(let topic): found[topic.name] = topic
            case .topicDeleted(let name): found[name] = nil
            case .producerIds(let next): nextProducerId = max(nextProducerId, next)
            case .features(let record): features.load(record)
            case .access(let record): accessRecords.append(record)
            case .quota(let change): quotaChanges.append(change)
            case .configuration(let resource, let overrides):
                configured[resource] = overrides.isEmpty ? nil : overrides
            case nil: unreadable += 1
            }
        }
        if unreadable > 0 {
            logger.error("the metadata log has \(unreadable) records that this version cannot read; they are ignored")
        }
        // Each was reported with its offsets by the log; the broker serves what it still knows.
        if damaged > 0 {
            logger.error("\(damaged) damaged stretches of the metadata log were left out; topics may be missing or as before a change")
        }
        producerIds.load(next: nextProducerId)
        access.load(accessRecords)
        quotas.load(quotaChanges)
        // Before the topics, which start with what is set for all of them.
        for resource in configurations.load(configured) {
            logger.error(
                "a configuration set at run time is not accepted any more and not in force",
                metadata: ["resource": "\(resource.kind) \(resource.name)"])
        }
        try topics.load(found.values.sorted { $0.name < $1.name })
    }
}

private struct WeakGroups {
    weak var groups: GroupCoordinator?
    weak var shares: ShareCoordinator?
}
