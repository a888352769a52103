// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which topics there are, and every change to that.
//
//   create:  name reserved -> record durable in the metadata log -> visible in the table -> answered
//   delete:  tombstone durable -> out of the table, partitions closed -> directories removed -> groups' positions durably
//            forgotten -> answered, name free
//
// The table is guarded by `lock`, held for look-ups and replacements only. Changes of one name are serialised by
// reserving it. Partition directories are made by the first append, so a topic costs one metadata record.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Storage

package final class TopicCatalog: @unchecked Sendable {
    // Unchecked: `state` is guarded by `lock`; everything else is set once in `init` or `load`.
    package static var partitionsPerTopicMax: Int { Limits.partitionsPerTopic }

    private let lock = NIOLock()
    private var state: State
    /// Held while a topic's configuration is put together and given to its partitions, so that the last one stays.
    private let applying = NIOLock()
    private let configuration: EngineConfiguration
    private let partitions: PartitionFactory
    private let metadata: InternalLog
    /// Where directories of deleted topics are put away, which waits for the disk.
    private let background: (any EventLoop)?
    private let logger: Logger
    private let random: @Sendable () -> UInt64
    /// Is told of every change of a topic while its name is reserved, so in order, and under no lock.
    private let onChange: @Sendable (TopicChange) -> Void
    /// Told whenever the table, or the number of a topic's partitions, has changed.
    package let changes = Changes()
    /// Forgets what others keep by the topic's name, and says whether it is durably forgotten.
    private let onDeleted: @Sendable (Topic, _ done: @escaping @Sendable (Bool) -> Void) -> Void

    private struct State {
        var byName: [String: Topic] = [:]
        var byId: [TopicId: Topic] = [:]
        /// Names with '.' or '_', by what they are without the difference: metrics would confuse them.
        var alike: [String: Set<String>] = [:]
        var creating: [String: [EventLoopPromise<Topic>]] = [:]
        var changing: Set<String> = []
        var partitionCount = 0
        /// Of topics that are being created.
        var partitionsComing = 0
        var defaults: TopicDefaults
        /// Changes of topics that wait for an earlier one of the same topic.
        var waiting: [String: CircularBuffer<@Sendable () -> Void>] = [:]
        var waitingCount = 0

        /// nil for a name that cannot be confused.
        static func key(_ name: String) -> String? {
            name.utf8.contains { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_") }
                ? String(name.map { $0 == "." ? "_" : $0 }) : nil
        }

        func twin(of name: String) -> String? {
            Self.key(name).flatMap { alike[$0] }?.first { $0 != name }
        }

        mutating func forget(_ name: String) {
            guard let key = Self.key(name) else { return }
            alike[key]?.remove(name)
            if alike[key]?.isEmpty == true { alike[key] = nil }
        }
    }

    init(
        configuration: EngineConfiguration, partitions: PartitionFactory, metadata: InternalLog,
        background: (any EventLoop)? = nil, logger: Logger, random: @escaping @Sendable () -> UInt64,
        onChange: @escaping @Sendable (TopicChange) -> Void = { _ in },
        onDeleted: @escaping @Sendable (Topic, _ done: @escaping @Sendable (Bool) -> Void) -> Void
    ) {
        state = State(defaults: TopicDefaults(atStart: configuration.topicDefaults))
        self.configuration = configuration
        self.partitions = partitions
        self.metadata = metadata
        self.background = background
        self.logger = logger
        self.random = random
        self.onChange = onChange
        self.onDeleted = onDeleted
    }

    /// Makes the topics that the metadata log knew. At start, before anything is served.
    func load(_ records: [MetadataRecord.TopicRecord]) throws(EngineError) {
        for record in records { insert(try build(record)) }
    }
}

// MARK: - Look-ups

extension TopicCatalog {
    package func topic(named name: String) -> Topic? {
        lock.withLock { state.byName[name] }
    }

    package func topic(id: TopicId) -> Topic? {
        lock.withLock { state.byId[id] }
    }

    /// What the broker sets for every topic, and where that was set.
    package var defaults: TopicDefaults { lock.withLock { state.defaults } }

    /// The records that would restore the table.
    func durableState() -> [KeyedRecord] {
        all.map {
            MetadataRecord.topic(Self.record(of: $0, overrides: $0.configuration.overrides)).encoded()
        }
    }

    /// All topics, by name.
    package var all: [Topic] {
        lock.withLock { Array(state.byName.values) }.sorted { $0.name < $1.name }
    }
}

// MARK: - Changes

/// What a topic should be like; nil means the broker's default.
package struct TopicSpecification: Sendable {
    package var name: String
    package var partitions: Int32?
    package var overrides: [String: String]
    package var isInternal: Bool

    package init(name: String, partitions: Int32? = nil, overrides: [String: String] = [:], isInternal: Bool = false) {
        self.name = name
        self.partitions = partitions
        self.overrides = overrides
        self.isInternal = isInternal
    }
}

extension TopicCatalog {
    /// Checks everything that `create` checks without changing anything; returns the partition count.
    package func validate(_ specification: TopicSpecification) throws(EngineError) -> Int32 {
        if let problem = topicNameProblem(specification.name) {
            throw EngineError(.invalidTopicName, "invalid topic name \"\(specification.name)\": \(problem)")
        }
        let count = specification.partitions ?? configuration.defaultPartitions
        guard count >= 1, count <= Limits.partitionsPerTopic else {
            throw EngineError(
                .invalidPartitionCount,
                "a topic has 1 to \(Limits.partitionsPerTopic) partitions, not \(count)")
        }
        _ = try TopicConfiguration(
            overrides: specification.overrides, defaults: effectiveDefaults(isInternal: specification.isInternal))
        let (exists, twin, total) = lock.withLock {
            (
                state.byName[specification.name] != nil, state.twin(of: specification.name),
                state.partitionCount + state.partitionsComing
            )
        }
        if exists { throw EngineError(.topicExists, "topic \(specification.name) already exists") }
        if let twin {
            throw EngineError(
                .invalidTopicName,
                "Topic '\(specification.name)' collides with existing topic: \(twin); they differ only in '.' and '_'")
        }
        guard total + Int(count) <= configuration.partitionsMax else { throw tooManyPartitions }
        return count
    }

    private var tooManyPartitions: EngineError {
        EngineError(
            .invalidPartitionCount,
            "the broker would have more than its \(configuration.partitionsMax) partitions; delete topics that are not used")
    }

    /// Creates a topic; succeeds when it is durable and visible. Fails with `topicExists` if it is there or coming.
    package func create(_ specification: TopicSpecification, on loop: any EventLoop) -> EventLoopFuture<Topic> {
        create(specification, on: loop, joining: false)
    }

    /// The topic, created with defaults if it is missing (auto.create.topics.enable).
    package func topicOrCreate(
        _ specification: TopicSpecification, on loop: any EventLoop
    ) -> EventLoopFuture<Topic> {
        if let topic = topic(named: specification.name) { return loop.makeSucceededFuture(topic) }
        return create(specification, on: loop, joining: true)
    }

    private func create(
        _ specification: TopicSpecification, on loop: any EventLoop, joining: Bool
    ) -> EventLoopFuture<Topic> {
        let promise = loop.makePromise(of: Topic.self)
        let record: MetadataRecord.TopicRecord
        do {
            let count = try validate(specification)
            var id = TopicId(random: random)
            if sabotaged("reuseTopicId") { id = TopicId(high: UInt64(specification.name.utf8.count), low: 1) }
            record = MetadataRecord.TopicRecord(
                name: specification.name, id: id, partitions: count,
                isInternal: specification.isInternal, overrides: specification.overrides)
        } catch {
            promise.fail(error)
            return promise.futureResult
        }
        let reservation: Reservation = lock.withLock {
            if state.changing.contains(record.name) { return .held }
            if state.byName[record.name] != nil { return .taken }
            if let twin = State.key(record.name).flatMap({ key in
                state.creating.keys.first { $0 != record.name && State.key($0) == key }
            }) {
                return .twin(twin)
            }
            if let others = state.creating[record.name] {
                guard joining else { return .taken }
                state.creating[record.name] = others + [promise]
                return .joined
            }
            guard state.partitionCount + state.partitionsComing + Int(record.partitions) <= configuration.partitionsMax
            else { return .full }
            state.partitionsComing += Int(record.partitions)
            state.creating[record.name] = [promise]
            return .made
        }
        switch reservation {
        case .joined: break
        case .taken: promise.fail(EngineError(.topicExists, "topic \(record.name) already exists"))
        case .held:
            promise.fail(
                EngineError(.topicExists, "topic \(record.name) is being changed or deleted; try again when that is done"))
        case .twin(let twin):
            promise.fail(
                EngineError(.invalidTopicName, "Topic '\(record.name)' collides with a topic that is being made: \(twin)"))
        case .full: promise.fail(tooManyPartitions)
        case .made: commit(record, on: loop)
        }
        return promise.futureResult
    }

    private enum Reservation {
        case made
        case joined
        case taken
        case held
        case twin(String)
        case full
    }

    /// Opens the logs first: when that fails, nothing must be on record that the next start would take for a topic.
    private func commit(_ record: MetadataRecord.TopicRecord, on loop: any EventLoop) {
        let topic: Topic
        do throws(EngineError) {
            topic = try build(record)
        } catch {
            return finish(record, .failure(error))
        }
        metadata.append([MetadataRecord.topic(record).encoded()], on: loop) { result in
            switch result {
            case .success:
                // Before it can be seen, and so be changed by others.
                self.onChange(.present(topic.groupTopic))
                self.insert(topic)
                // The defaults may have changed since it was built.
                self.configure(topic)
                self.finish(record, .success(topic))
            case .failure(let error):
                self.partitions.remove(topic)
                self.finish(record, .failure(error))
            }
        }
    }

    /// Answers everybody who waits for the topic.
    private func finish(_ record: MetadataRecord.TopicRecord, _ outcome: Result<Topic, EngineError>) {
        let promises = lock.withLock {
            state.partitionsComing -= Int(record.partitions)
            return state.creating.removeValue(forKey: record.name) ?? []
        }
        for promise in promises {
            switch outcome {
            case .success(let topic): promise.succeed(topic)
            case .failure(let error): promise.fail(error)
            }
        }
    }

    /// Deletes a topic; succeeds when that is durable and nothing serves it any more.
    package func delete(_ name: String, on loop: any EventLoop) -> EventLoopFuture<Void> {
        change(name, on: loop) { _ in .topicDeleted(name: name) } apply: { topic in
            self.lock.withLock {
                self.state.byName[name] = nil
                self.state.byId[topic.id] = nil
                self.state.forget(name)
                self.state.partitionCount -= topic.partitionCount
            }
            self.onChange(.deleted(name: name, id: topic.id))
            for partition in topic.partitions {
                partition.close(EngineError(.unknownTopic, "topic \(name) was deleted"))
            }
            self.changes.happened()
        } afterwards: { topic, done in
            // Directories take their time to go; the name is free when they and what others kept by it are gone.
            self.inBackground {
                self.partitions.remove(topic)
                if sabotaged("keepOffsetsOfDeleted") { return done(true) }
                self.onDeleted(topic, done)
            }
        }
    }

    /// Keeps a name from being used while something of a deleted topic of that name is still to be forgotten.
    func hold(_ name: String) {
        lock.withLock { _ = state.changing.insert(name) }
    }

    /// Replaces the topic's overrides by what `edit` makes of them.
    package func alter(
        _ name: String, on loop: any EventLoop,
        edit: @escaping @Sendable (inout [String: String]) throws(EngineError) -> Void
    ) -> EventLoopFuture<Void> {
        let edited = NIOLockedValueBox<[String: String]?>(nil)
        return change(name, on: loop) { topic throws(EngineError) in
            var overrides = topic.configuration.overrides
            try edit(&overrides)
            _ = try TopicConfiguration(
                overrides: overrides, defaults: self.effectiveDefaults(isInternal: topic.isInternal))
            let checked = overrides
            edited.withLockedValue { $0 = checked }
            return .topic(Self.record(of: topic, overrides: overrides))
        } apply: { topic in
            if let overrides = edited.withLockedValue({ $0 }) { self.configure(topic, overrides: overrides) }
        }
    }

    /// Changes what the broker sets for every topic; in force when this returns.
    func changeDefaults(_ edit: (inout TopicDefaults) -> Void) {
        lock.withLock { edit(&state.defaults) }
        for topic in all { configure(topic) }
    }

    /// The broker's own topics keep what it was started with: what is set for everybody's must not break them.
    private func effectiveDefaults(isInternal: Bool) -> [String: String] {
        isInternal ? configuration.topicDefaults : defaults.effective
    }

    /// Puts a topic's overrides (nil: those it has) and the broker's defaults in force.
    private func configure(_ topic: Topic, overrides: [String: String]? = nil) {
        applying.withLock {
            let current = topic.configuration
            do throws(EngineError) {
                let configuration = try TopicConfiguration(
                    overrides: overrides ?? current.overrides, defaults: effectiveDefaults(isInternal: topic.isInternal))
                if configuration != current { topic.apply(configuration) }
            } catch {
                // Each was accepted by itself; what does not go together leaves the topic as it was.
                logger.warning(
                    "a topic's configuration does not go with the broker's; it stays as it was",
                    metadata: ["topic": "\(topic.name)", "cause": "\(error)"])
            }
        }
    }

    /// Grows a topic to `count` partitions. Their logs are opened first, as for a new topic.
    package func grow(_ name: String, to count: Int32, on loop: any EventLoop) -> EventLoopFuture<Void> {
        let added = NIOLockedValueBox<[Partition]>([])
        return change(name, on: loop) { topic throws(EngineError) in
            guard count > topic.partitionCount, count <= Limits.partitionsPerTopic else {
                throw EngineError(
                    .invalidPartitionCount,
                    "topic \(name) has \(topic.partitionCount) partitions; it can only grow, up to \(Limits.partitionsPerTopic)")
            }
            guard self.lock.withLock({ self.state.partitionCount + self.state.partitionsComing })
                + Int(count) - topic.partitionCount <= self.configuration.partitionsMax
            else { throw self.tooManyPartitions }
            var record = Self.record(of: topic, overrides: topic.configuration.overrides)
            record.partitions = count
            for index in Int32(topic.partitionCount)..<count {
                let made = try self.partitions.make(record, index: index, configuration: topic.configuration)
                added.withLockedValue { $0.append(made) }
            }
            return .topic(record)
        } apply: { topic in
            let added = added.withLockedValue { $0 }
            self.applying.withLock {
                // The configuration may have changed since they were made.
                for partition in added { partition.apply(topic.configuration) }
                topic.grow(by: added)
            }
            self.onChange(.present(topic.groupTopic))
            self.lock.withLock { self.state.partitionCount += added.count }
            self.changes.happened()
        } discard: {
            for partition in added.withLockedValue({ $0 }) { self.partitions.remove(partition) }
        }
    }

    /// Changes of one topic happen one after the other. Reserves the name, makes the change durable, then visible; the name is free when `afterwards` says that all is
    /// done, and stays reserved until the next start if it says that it could not be. `discard` takes back what `record`
    /// has prepared for a change that fails.
    private func change(
        _ name: String, on loop: any EventLoop,
        record: @escaping @Sendable (Topic) throws(EngineError) -> MetadataRecord,
        apply: @escaping @Sendable (Topic) -> Void,
        discard: @escaping @Sendable () -> Void = {},
        afterwards: @escaping @Sendable (Topic, _ done: @escaping @Sendable (Bool) -> Void) -> Void = { $1(true) }
    ) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        let isWaiting = wait(name) {
            loop.execute {
                self.change(name, on: loop, record: record, apply: apply, discard: discard, afterwards: afterwards)
                    .cascade(to: promise)
            }
        }
        if isWaiting { return promise.futureResult }
        do throws(EngineError) {
            let topic = try reserve(name)
            do throws(EngineError) {
                metadata.append([try record(topic).encoded()], on: loop) { result in
                    do throws(EngineError) {
                        try result.get()
                        apply(topic)
                        afterwards(topic) { isDone in
                            if isDone { self.release(name) } else { self.wake(name) }
                            promise.succeed(())
                        }
                    } catch {
                        discard()
                        self.release(name)
                        promise.fail(error)
                    }
                }
            } catch {
                discard()
                release(name)
                throw error
            }
        } catch {
            promise.fail(error)
        }
        return promise.futureResult
    }

    private func inBackground(_ work: @escaping @Sendable () -> Void) {
        if let background { background.execute(work) } else { work() }
    }

    private func reserve(_ name: String) throws(EngineError) -> Topic {
        try lock.withLockTyped { () throws(EngineError) -> Topic in
            guard let topic = state.byName[name] else {
                throw EngineError(.unknownTopic, "topic \(name) does not exist")
            }
            guard state.changing.insert(name).inserted else {
                throw EngineError(.limitReached, "topic \(name) is being changed by another request; try again")
            }
            return topic
        }
    }

    /// The name may be used again.
    func release(_ name: String) {
        lock.withLock { _ = state.changing.remove(name) }
        wake(name)
    }

    /// Whether a topic is being changed, and `retry` is called when that is done.
    private func wait(_ name: String, retry: @escaping @Sendable () -> Void) -> Bool {
        lock.withLock {
            guard state.changing.contains(name), state.byName[name] != nil, state.waitingCount < Limits.topicChangesWaiting
            else { return false }
            state.waiting[name, default: []].append(retry)
            state.waitingCount += 1
            return true
        }
    }

    /// Has everybody try again who waits for a change of this topic.
    private func wake(_ name: String) {
        let waiting = lock.withLock {
            let waiting = state.waiting.removeValue(forKey: name) ?? []
            state.waitingCount -= waiting.count
            return waiting
        }
        for retry in waiting { retry() }
    }

    private func insert(_ topic: Topic) {
        lock.withLock {
            state.byName[topic.name] = topic
            state.byId[topic.id] = topic
            if let key = State.key(topic.name) { state.alike[key, default: []].insert(topic.name) }
            state.partitionCount += topic.partitionCount
        }
        changes.happened()
    }

    private func build(_ record: MetadataRecord.TopicRecord) throws(EngineError) -> Topic {
        let topicConfiguration = try TopicConfiguration(
            overrides: record.overrides, defaults: effectiveDefaults(isInternal: record.isInternal))
        let made = try (0..<record.partitions).map { index throws(EngineError) in
            try partitions.make(record, index: index, configuration: topicConfiguration)
        }
        return Topic(
            name: record.name, id: record.id, isInternal: record.isInternal, partitions: made,
            configuration: topicConfiguration)
    }

    private static func record(of topic: Topic, overrides: [String: String]) -> MetadataRecord.TopicRecord {
        MetadataRecord.TopicRecord(
            name: topic.name, id: topic.id, partitions: Int32(topic.partitionCount), isInternal: topic.isInternal,
            overrides: overrides)
    }
}
