// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: topics come, change, and go, one change of a name at a time.

import Bytes
import Engine
import KafkaWire
import NIOCore

extension Life {
    private static let configurations: [(key: String, values: [String])] = [
        ("segment.bytes", ["300", "1500", "100000"]),
        ("retention.ms", ["1000", "60000", "-1"]),
        ("retention.bytes", ["1000", "6000", "-1"]),
        ("index.interval.bytes", ["1", "200", "4096"]),
        ("segment.ms", ["1000", "604800000"]),
        ("max.message.bytes", ["2000", "1048588"]),
    ]

    private func drawOverrides() -> [String: String] {
        var overrides: [String: String] = [:]
        if chance(0.8) { overrides["segment.bytes"] = pick(["300", "1500", "5000"]) }
        if chance(0.7) { overrides["index.interval.bytes"] = pick(["1", "200"]) }
        if chance(0.3) {
            let (key, values) = pick(Self.configurations)
            overrides[key] = pick(values)
        }
        return overrides
    }

    /// A topic whose last change is settled.
    private func settledTopic() -> (TopicModel, Incarnation)? {
        guard let topic = pickAny(model.topics.filter { $0.isSettled && $0.current != nil }), let current = topic.current
        else { return nil }
        return (topic, current)
    }

    // MARK: Create, delete

    func createTopic() throws {
        guard let admin, admin.isOpen,
            let topic = pickAny(model.topics.filter { $0.isSettled && $0.current == nil })
        else { return }
        let incarnation = model.makeIncarnation(topic.name, partitions: pick([1, 1, 2, 3]), overrides: drawOverrides())
        topic.open = .create(incarnation)
        topic.isWaiting = true
        let request = CreateTopicsRequest(
            topic.name, partitions: Int32(incarnation.partitions.count),
            configs: incarnation.overrides.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
        trace.note("create \(topic.name) with \(incarnation.partitions.count) partitions, \(incarnation.overrides.sorted { $0.key < $1.key })")
        try admin.send(request, version: 7) { [unowned self] response in
            guard let answer = response?.topics.first else { return finish(topic, nil) }
            if answer.errorCode == .none { adopt(incarnation, id: answer.topicId) }
            finish(topic, answer.errorCode)
        }
    }

    func adopt(_ incarnation: Incarnation, id: TopicId) {
        incarnation.id = id
        if !model.usedIds.insert(id).inserted {
            violate("a topic that is created again has an id of its own", "\(incarnation.name) has \(id) again")
        }
    }

    func deleteTopic() throws {
        guard let admin, admin.isOpen, let (topic, current) = settledTopic(), let id = current.id else { return }
        topic.open = .delete
        topic.isWaiting = true
        var wanted = DeleteTopicsRequest.Topic()
        if chance(0.5) { wanted.name = topic.name } else { wanted.topicId = id }
        var request = DeleteTopicsRequest()
        request.topics = [wanted]
        trace.note("delete \(topic.name)")
        try admin.send(request, version: 6) { [unowned self] response in
            finish(topic, response?.topics.first?.errorCode)
        }
    }

    // MARK: Alter, grow

    func alterTopic() throws {
        guard let admin, admin.isOpen, let (topic, current) = settledTopic() else { return }
        let (key, values) = pick(Self.configurations)
        var overrides = current.overrides
        var config = IncrementalAlterConfigsRequest.Config()
        config.name = key
        if overrides[key] != nil, chance(0.3) {
            config.configOperation = IncrementalAlterConfigsRequest.Operation.delete
            overrides[key] = nil
        } else {
            config.value = pick(values)
            overrides[key] = config.value
        }
        var resource = IncrementalAlterConfigsRequest.Resource()
        resource.resourceType = 2
        resource.resourceName = topic.name
        resource.configs = [config]
        var request = IncrementalAlterConfigsRequest()
        request.resources = [resource]
        topic.open = .alter(overrides)
        topic.isWaiting = true
        trace.note("alter \(topic.name): \(key)=\(config.value ?? "the default")")
        try admin.send(request, version: 1) { [unowned self] response in
            finish(topic, response?.resources.first?.errorCode)
        }
    }

    func growTopic() throws {
        guard let admin, admin.isOpen, let (topic, current) = settledTopic(), current.partitions.count < 4 else { return }
        let count = current.partitions.count + 1
        topic.open = .grow([model.makePartition(current, Int32(current.partitions.count))])
        topic.isWaiting = true
        var wanted = CreatePartitionsRequest.Topic()
        wanted.name = topic.name
        wanted.count = Int32(count)
        wanted.assignments = nil
        var request = CreatePartitionsRequest()
        request.topics = [wanted]
        trace.note("grow \(topic.name) to \(count) partitions")
        try admin.send(request, version: 3) { [unowned self] response in
            finish(topic, response?.results.first?.errorCode)
        }
    }

    /// An answer to a change has come; nil: none will.
    private func finish(_ topic: TopicModel, _ code: KafkaErrorCode?) {
        topic.isWaiting = false
        guard let code else { return }
        trace.note("the change of \(topic.name): \(code)")
        if code == .none {
            report.acknowledged += 1
            apply(topic)
        } else if !metadataLeavesOpen || code != .kafkaStorageError {
            topic.open = nil
        }
    }

    /// Whether the log of metadata has failed, so that an error leaves open what is stored.
    private var metadataLeavesOpen: Bool { broker?.engine.allPartitions.first?.failure != nil }

    /// The open change has happened.
    func apply(_ topic: TopicModel) {
        switch topic.open {
        case nil: break
        case .create(let incarnation): topic.current = incarnation
        case .delete:
            topic.current = nil
            for (key, commit) in model.commits where key.topic == topic.name {
                commit.value = nil
                commit.flying = []
            }
        case .alter(let overrides): topic.current?.overrides = overrides
        case .grow(let added): topic.current?.partitions += added
        }
        topic.open = nil
    }

    // MARK: Records

    func deleteRecords() throws {
        guard let admin, admin.isOpen, let partition = pickAny(model.livePartitions) else { return }
        let offset = chance(0.2) ? -1 : Int64(pick(0...Int(max(0, partition.knownEnd))))
        var position = DeleteRecordsRequest.Partition()
        position.partitionIndex = partition.index
        position.offset = offset
        var topic = DeleteRecordsRequest.Topic()
        topic.name = partition.topic
        topic.partitions = [position]
        var request = DeleteRecordsRequest()
        request.topics = [topic]
        trace.note("delete records of \(partition.name) before \(offset)")
        // From now on they may be gone.
        let target = offset >= 0 ? offset : broker?.partition(partition)?.offsets.highWatermark ?? 0
        partition.deletedBelow = max(partition.deletedBelow, target)
        partition.askedBelow = max(partition.askedBelow, target)
        try admin.send(request, version: 2) { [unowned self] response in
            guard let answer = response?.topics.first?.partitions.first else { return }
            trace.note("delete records of \(partition.name): \(answer.errorCode) \(answer.lowWatermark)")
            guard answer.errorCode == .none else { return }
            if offset >= 0, answer.lowWatermark < offset {
                violate("DeleteRecords deletes", "\(partition.name) starts at \(answer.lowWatermark), not \(offset)")
            }
            partition.start = max(partition.start, answer.lowWatermark)
            partition.knownEnd = max(partition.knownEnd, answer.lowWatermark)
        }
    }
}
