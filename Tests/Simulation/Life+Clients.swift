// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: gRPC publishers, and commits of offsets by both protocols.

import Bytes
import Contract
import Engine
import FoundationEssentials
import KafkaWire
import NIOCore
import NIOEmbedded
import Records
import SwiftProtobuf

extension Life {
    // MARK: Publish

    func publish() throws {
        guard let calls, calls.isOpen, let partition = pickAny(model.livePartitions) else { return }
        _ = try publish(to: partition, calls)
    }

    @discardableResult
    func publish(to partition: PartitionModel, _ calls: GRPCLink) throws -> SentBatch? {
        let count = pick(1...settings.maxRecords)
        let sizes = (0..<count).map { _ in 8 + pick(0...settings.maxValue) }
        let nowMs = clock.nowMs()
        let batch = model.makeBatch(partition, sizes: sizes, maxTimestamp: nowMs)
        let request = Martlet_V1_PublishRequest.with {
            $0.topic = partition.topic
            $0.partition = partition.index
            $0.records = (0..<count).map { index in
                .with {
                    $0.value = .init(batch.value(index))
                    $0.timestampMs = nowMs
                }
            }
        }
        batch.unresolved = 1
        partition.noteFlying(batch)
        trace.note("publish #\(batch.number) to \(partition.name)")
        guard let call = try calls.call("/martlet.v1.Streams/Publish", request) else { return nil }
        openCalls.append((call, { [unowned self] call in published(batch, call) }))
        return batch
    }

    private func published(_ batch: SentBatch, _ call: GRPCLinkCall) {
        let partition = batch.partition
        if call.status == 0, let message = call.take().first,
            let response = try? Martlet_V1_PublishResponse(serializedBytes: Array(message.readableBytesView)),
            let stored = response.batches.first
        {
            return acknowledge(batch, at: stored.baseOffset, .durable)
        }
        // INVALID_ARGUMENT, RESOURCE_EXHAUSTED (too large, or a full disk).
        let isDefinite = call.status == 3 || (call.status == 8 && !leavesOpen(partition))
        refuse(batch, isDefinite: isDefinite, "\(call.status ?? -1) \(call.text)")
    }

    // MARK: Commits

    static let groups = ["billing", "search", "liveness"]

    /// OffsetCommit of a consumer that is in no generation.
    func commit() throws {
        guard let admin, admin.isOpen else { return }
        try commit(pick(Array(Self.groups.prefix(2))), through: admin, memberId: "", generation: -1)
    }

    func commit(_ group: String, through link: KafkaLink, memberId: String, generation: Int32) throws {
        var sent: [(key: CommitKey, incarnation: Incarnation, value: Int64, number: Int)] = []
        var request = OffsetCommitRequest()
        request.groupId = group
        request.memberId = memberId
        request.generationIdOrMemberEpoch = generation
        for _ in 0..<(chance(0.2) ? 3 : 1) {
            guard let partition = pickAny(model.livePartitions) else { return }
            let key = CommitKey(group: group, topic: partition.topic, partition: partition.index)
            if sent.contains(where: { $0.key == key }) { continue }
            let (number, value) = noteCommit(key)
            sent.append((key, partition.incarnation, value, number))
            var position = OffsetCommitRequest.Partition()
            position.partitionIndex = partition.index
            position.committedOffset = value
            if let at = request.topics.firstIndex(where: { $0.name == partition.topic }) {
                request.topics[at].partitions.append(position)
            } else {
                var topic = OffsetCommitRequest.Topic()
                topic.name = partition.topic
                topic.partitions = [position]
                request.topics.append(topic)
            }
        }
        trace.note("commit \(sent.map { "\($0.key.topic)-\($0.key.partition)=\($0.value)" }) of \(group)")
        try link.send(request, version: 8) { [unowned self] response in
            guard let response else { return }
            for topic in response.topics {
                for answer in topic.partitions {
                    guard let commit = sent.first(where: {
                        $0.key.topic == topic.name && $0.key.partition == answer.partitionIndex
                    }) else { continue }
                    let isDone = answer.errorCode == .none
                    let isLost = !isDone && answer.errorCode != .coordinatorNotAvailable || !isDone && !offsetsLeaveOpen
                    finishCommit(commit.key, commit.incarnation, commit.number, isDone: isDone, isLost: isLost)
                }
            }
        }
    }

    /// Streams.Commit.
    func commitByCall() throws {
        guard let calls, calls.isOpen, let partition = pickAny(model.livePartitions) else { return }
        let key = CommitKey(group: pick(Array(Self.groups.prefix(2))), topic: partition.topic, partition: partition.index)
        let (number, value) = noteCommit(key)
        let request = Martlet_V1_CommitRequest.with {
            $0.group = key.group
            $0.offsets = [.with { $0.topic = key.topic; $0.partition = key.partition; $0.offset = value }]
        }
        trace.note("commit \(key.topic)-\(key.partition)=\(value) of \(key.group) by gRPC")
        guard let call = try calls.call("/martlet.v1.Streams/Commit", request) else { return }
        let incarnation = partition.incarnation
        openCalls.append(
            (
                call,
                { [unowned self] call in
                    let isDone = call.status == 0
                    // UNAVAILABLE is what a failed log says too.
                    let isLost = !isDone && (call.status != 14 || !offsetsLeaveOpen)
                    finishCommit(key, incarnation, number, isDone: isDone, isLost: isLost)
                }
            ))
    }

    private func noteCommit(_ key: CommitKey) -> (number: Int, value: Int64) {
        model.commitCount += 1
        let number = model.commitCount
        model.commit(key).flying.append((number, Int64(number)))
        return (number, Int64(number))
    }

    /// Whether the log of offsets has failed, so that an error leaves open what is stored.
    var offsetsLeaveOpen: Bool {
        broker?.engine.topics.topic(named: "__consumer_offsets")?.partition(0)?.failure != nil
    }

    private func finishCommit(
        _ key: CommitKey, _ incarnation: Incarnation, _ number: Int, isDone: Bool, isLost: Bool
    ) {
        guard let at = model.commit(key).flying.firstIndex(where: { $0.sent == number }) else { return }
        let commit = model.commit(key)
        let value = commit.flying[at].value
        if isDone || isLost { commit.flying.remove(at: at) }
        // A topic that was deleted meanwhile took its offsets along.
        guard isDone, model.topics.contains(where: { $0.current === incarnation }), number > commit.sent else { return }
        trace.note("committed \(key.topic)-\(key.partition)=\(value) of \(key.group)")
        commit.value = value
        commit.sent = number
        report.acknowledged += 1
    }

    // MARK: Connections

    func disconnect() throws {
        guard let broker else { return }
        trace.note("a connection goes")
        switch pick(0...4) {
        case 0:
            calls?.close()
            broker.loop.run()
            calls?.discard()
            openCalls = []
            calls = try GRPCLink(broker, clock: clock) { [unowned self] in received($0) }
        case 1:
            admin?.close()
            try admin?.poll()
            admin?.discard()
            admin = try KafkaLink(broker) { [unowned self] in received($0) }
        case 2: pickAny(fetchers)?.link?.close()
        default: pickAny(producers)?.link?.close()
        }
    }
}
