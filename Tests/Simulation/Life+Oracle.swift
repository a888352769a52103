// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what must be true, asked over both protocols and compared with the model.

import Bytes
import Contract
import Engine
import KafkaWire
import NIOCore
import NIOEmbedded
import Records
import Storage
import SwiftProtobuf

extension Life {
    /// The machine went down while the oracle looked.
    struct Interrupted: Error {}

    /// Asks the broker, over a connection of its own, and waits.
    private func ask<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Request.Response {
        guard let broker else { throw Interrupted() }
        let link = try KafkaLink(broker) { [unowned self] in received($0) }
        defer { link.discard() }
        var answer: Request.Response?
        try link.send(request, version: version) { answer = $0 }
        for _ in 0..<3 where answer == nil {
            broker.loop.run()
            try link.poll()
        }
        if disk.hasCrashed { throw Interrupted() }
        guard let answer else {
            throw Violation(invariant: "a request is answered", detail: "\(Request.self)")
        }
        return answer
    }

    // MARK: When

    /// After a start: everything, against what `loss` may have cost.
    func checkAfterStart(_ loss: Loss) throws {
        do {
            try checkTopics(isAfterStart: true)
            if violation == nil { try checkCommits(isAfterStart: true) }
            for partition in model.livePartitions where violation == nil {
                try check(partition, loss)
            }
            if violation == nil { try checkLedgerAfterStart() }
            if violation == nil { try checkJournal() }
        } catch is Interrupted {}
        trace.note("checked after a start")
    }

    /// In the middle of a life: nothing may be missing.
    func verifyAlive() throws {
        guard broker != nil, !disk.hasCrashed else { return }
        calm()
        try turn()
        trace.note("look at everything")
        do {
            try checkTopics(isAfterStart: false)
            try checkCommits(isAfterStart: false)
            for partition in model.livePartitions where violation == nil { try check(partition, .nothing, isRunning: true) }
            if violation == nil { try checkLedger() }
            if violation == nil { try checkJournal() }
        } catch is Interrupted {}
    }

    // MARK: Topics

    private struct TopicFacts: Equatable, CustomStringConvertible {
        var id: TopicId?
        var partitions: Int
        var overrides: [String: String]

        var description: String {
            "\(id.map { "\($0)" } ?? "any id"), \(partitions) partitions, \(overrides.sorted { $0.key < $1.key })"
        }
    }

    private func topicsThereAre() throws -> [String: TopicFacts] {
        var request = MetadataRequest()
        request.topics = nil
        request.allowAutoTopicCreation = false
        let response = try ask(request, version: 12)
        var facts: [String: TopicFacts] = [:]
        for topic in response.topics where !topic.isInternal {
            guard let name = topic.name, ![Ledger.topic, Journal.topic, Crew.topic].contains(name) else { continue }
            facts[name] = TopicFacts(id: topic.topicId, partitions: topic.partitions.count, overrides: [:])
        }
        guard !facts.isEmpty else { return facts }
        var describe = DescribeConfigsRequest()
        describe.resources = facts.keys.sorted().map { name in
            var resource = DescribeConfigsRequest.Resource()
            resource.resourceType = 2
            resource.resourceName = name
            resource.configurationKeys = nil
            return resource
        }
        for result in try ask(describe, version: 4).results {
            for config in result.configs where config.configSource == DescribeConfigsResponse.ConfigSource.topic {
                facts[result.resourceName]?.overrides[config.name] = config.value
            }
        }
        return facts
    }

    private func checkTopics(isAfterStart: Bool) throws {
        var found = try topicsThereAre()
        for topic in model.topics {
            let actual = found.removeValue(forKey: topic.name)
            if !isAfterStart, !topic.isSettled { continue }
            let expected = topic.current.map {
                TopicFacts(id: $0.id, partitions: $0.partitions.count, overrides: $0.overrides)
            }
            if actual == expected {
                topic.open = nil
            } else if let changed = factsAfterOpen(topic), matches(actual, changed) {
                if case .create(let incarnation) = topic.open, let id = actual?.id { adopt(incarnation, id: id) }
                apply(topic)
            } else {
                violate(
                    "topics are as they were last acknowledged",
                    "\(topic.name) is \(actual.map { "\($0)" } ?? "absent"), not \(expected.map { "\($0)" } ?? "absent")"
                        + (topic.open == nil ? "" : ", nor after the change that was under way"))
            }
            topic.isWaiting = false
        }
        if let stranger = found.keys.min() { violate("no topic is there that nobody made", stranger) }
    }

    /// What the topic would be if the open change had happened; nil: nothing is open; an inner nil: gone.
    private func factsAfterOpen(_ topic: TopicModel) -> TopicFacts?? {
        guard let open = topic.open else { return nil }
        switch open {
        case .create(let incarnation):
            return TopicFacts(id: nil, partitions: incarnation.partitions.count, overrides: incarnation.overrides)
        case .delete: return .some(nil)
        case .alter(let overrides):
            return topic.current.map { TopicFacts(id: $0.id, partitions: $0.partitions.count, overrides: overrides) }
        case .grow(let added):
            return topic.current.map {
                TopicFacts(id: $0.id, partitions: $0.partitions.count + added.count, overrides: $0.overrides)
            }
        }
    }

    private func matches(_ actual: TopicFacts?, _ changed: TopicFacts?) -> Bool {
        guard let actual, let changed else { return actual == nil && changed == nil }
        return (changed.id == nil || changed.id == actual.id) && changed.partitions == actual.partitions
            && changed.overrides == actual.overrides
    }

    // MARK: Committed offsets

    private func checkCommits(isAfterStart: Bool) throws {
        for group in Self.groups {
            var request = OffsetFetchRequest()
            request.groupId = group
            request.topics = nil
            let response = try ask(request, version: 7)
            guard response.errorCode == .none else {
                return violate("committed offsets can be read", "\(group): \(response.errorCode)")
            }
            var found: [CommitKey: Int64] = [:]
            for topic in response.topics {
                for partition in topic.partitions {
                    found[CommitKey(group: group, topic: topic.name, partition: partition.partitionIndex)] =
                        partition.committedOffset
                }
            }
            for key in Set(found.keys).union(model.commits.keys.filter { $0.group == group }).sorted() {
                check(key, found[key], isAfterStart: isAfterStart)
            }
        }
    }

    private func check(_ key: CommitKey, _ found: Int64?, isAfterStart: Bool) {
        let topic = model.topics.first { $0.name == key.topic }
        if !isAfterStart, topic?.isSettled != true { return }
        let commit = model.commit(key)
        guard commit.allowed.contains(found) else {
            return violate(
                "committed offsets are as they were last acknowledged",
                "\(key.group) has \(found.map { "\($0)" } ?? "nothing") in \(key.topic)-\(key.partition), not"
                    + " \(commit.allowed.map { $0.map { "\($0)" } ?? "nothing" })")
        }
        // A log that has failed shows what the page cache has: what was never acknowledged may still go with the machine.
        guard isAfterStart, !offsetsLeaveOpen else { return }
        // What was under way has either happened or will never.
        commit.value = found
        commit.flying = []
    }

    // MARK: Records

    /// What a reader finds in a partition.
    private struct Contents {
        var start: Int64
        var end: Int64
        var found: [Int64: SentBatch] = [:]
        /// Offsets that the broker says are damaged.
        var gaps: [Range<Int64>] = []
    }

    private func check(_ partition: PartitionModel, _ loss: Loss, isRunning: Bool = false) throws {
        guard let live = broker?.partition(partition) else { return }
        if isRunning, self.model.topics.first(where: { $0.name == partition.topic })?.isSettled != true { return }
        let contents = try read(partition, live)
        guard violation == nil else { return }
        checkEnds(partition, contents, loss)
        for base in partition.content.keys.sorted() where violation == nil {
            guard let batch = partition.content[base] else { continue }
            checkBatch(batch, at: base, of: partition, contents, loss)
        }
        guard violation == nil, !isRunning else { return }
        settle(partition, contents)
    }

    private func checkEnds(_ partition: PartitionModel, _ contents: Contents, _ loss: Loss) {
        if contents.end < partition.durableEnd {
            violate(
                "what was acknowledged as durable is there",
                "\(partition.name) ends at \(contents.end); \(partition.durableEnd) was acknowledged")
        }
        if loss < .power, contents.end < partition.knownEnd {
            violate(
                "what was acknowledged or seen survives the process",
                "\(partition.name) ends at \(contents.end); \(partition.knownEnd) was seen")
        }
        if contents.start > partition.deletedBelow, loss < .power {
            violate(
                "only what was to be deleted is gone",
                "\(partition.name) starts at \(contents.start); nothing from \(partition.deletedBelow) on was to go")
        }
        if contents.start < partition.startSaved {
            violate(
                "deleted records stay deleted",
                "\(partition.name) starts at \(contents.start); a checkpoint said \(partition.startSaved)")
        }
    }

    private func checkBatch(
        _ batch: SentBatch, at base: Int64, of partition: PartitionModel, _ contents: Contents, _ loss: Loss
    ) {
        let end = base + Int64(batch.count)
        if contents.found[base] != nil || partition.damaged.contains(base) { return }
        // Below the start, and rightly so; it may come back if the machine loses power now.
        if end <= contents.start, end <= partition.deletedBelow { return }
        let mustBeThere = end > partition.deletedBelow && (loss < .power || end <= partition.durableEnd)
        if mustBeThere {
            let gap = contents.gaps.first { $0.overlaps(base..<end) }
            violate(
                end <= partition.durableEnd
                    ? "what was acknowledged as durable is there" : "what was acknowledged or seen survives the process",
                "#\(batch.number) at \(base)..<\(end) of \(partition.name) is not there"
                    + (gap.map { "; \($0) is said to be damaged" } ?? ""))
            return
        }
        partition.content[base] = nil
        batch.offset = nil
    }

    /// The outcome of everything that was under way is known now.
    private func settle(_ partition: PartitionModel, _ contents: Contents) {
        for batch in partition.flying { batch.unresolved = 0 }
        partition.flying = []
        partition.knownEnd = contents.end
        partition.start = contents.start
        // What a loss of power took in front was never durable.
        partition.deletedBelow = min(max(partition.deletedBelow, contents.start), contents.end)
        partition.askedBelow = min(partition.askedBelow, contents.end)
    }

    private func read(_ partition: PartitionModel, _ live: Partition) throws -> Contents {
        let offsets = live.offsets
        var contents = Contents(start: offsets.start, end: offsets.highWatermark)
        guard let id = partition.incarnation.id else { return contents }
        var offset = offsets.start
        while offset < offsets.highWatermark, violation == nil {
            let request = FetchRequest.of(
                partition, id: id, offset: offset, maxBytes: Int32(pick([1, 500, 1 << 20])), maxWaitMs: 0)
            guard let answer = try ask(request, version: 13).topics.first?.partitions.first else {
                throw Violation(invariant: "a request is answered", detail: "fetch of \(partition.name)")
            }
            let next: Int64
            switch answer.errorCode {
            case .none: next = observe(answer, of: partition, from: offset)
            case .kafkaStorageError: next = endOfDamage(at: offset, live, partition)
            default:
                violate("every offset can be read", "\(partition.name) at \(offset): \(answer.errorCode)")
                return contents
            }
            if next <= offset {
                violate("every offset can be read", "\(partition.name) gives nothing at \(offset)")
                return contents
            }
            // What is not in a batch that was read is a gap.
            var covered = offset
            for (base, batch) in partition.content where base + Int64(batch.count) > offset && base < next {
                if answer.errorCode == .none, !isHidden(partition, base) { contents.found[base] = batch }
                covered = max(covered, base + Int64(batch.count))
            }
            if answer.errorCode != .none || isHidden(partition, offset) { contents.gaps.append(offset..<next) }
            offset = next
        }
        if violation == nil { try compareStream(partition, live, contents) }
        return contents
    }

    /// Where the batch at `base` is damaged, what was read of it does not count.
    private func isHidden(_ partition: PartitionModel, _ offset: Int64) -> Bool { isDamaged(partition, offset) }

    /// Where reading goes on behind a range that the broker says is damaged.
    private func endOfDamage(at offset: Int64, _ live: Partition, _ partition: PartitionModel) -> Int64 {
        do {
            _ = try live.read(from: offset, maxBytes: 1)
            violate("both ways of reading agree", "\(partition.name) at \(offset) can be read but not fetched")
        } catch {
            if let end = Self.number(in: error.message, after: "reading goes on at offset ") { return end }
            violate("damage is reported by range", "\(partition.name) at \(offset): \(error.message)")
        }
        return offset
    }

    static func number(in text: String, after words: String) -> Int64? {
        guard let range = text.firstRange(of: words) else { return nil }
        return Int64(text[range.upperBound...].prefix { $0.isNumber })
    }

    // MARK: The other protocol

    /// Reads the same by gRPC; it must be the same.
    private func compareStream(_ partition: PartitionModel, _ live: Partition, _ contents: Contents) throws {
        guard let broker else { return }
        let link = try GRPCLink(broker, clock: clock) { [unowned self] in received($0) }
        defer { link.discard() }
        var offset = contents.start
        var streamed: Set<Int64> = []
        var rounds = 0
        while offset < contents.end, violation == nil {
            rounds += 1
            let from = offset
            guard let call = try link.call(
                "/martlet.v1.Streams/Subscribe",
                Martlet_V1_SubscribeRequest.with { request in
                    request.topics = [
                        .with {
                            $0.topic = partition.topic
                            $0.partitions = [.with { $0.partition = partition.index; $0.offset = from }]
                        }
                    ]
                    request.untilEnd = true
                })
            else { throw Violation(invariant: "a request is answered", detail: "Subscribe") }
            for _ in 0..<1_000 where call.status == nil {
                broker.loop.run()
                try link.poll()
            }
            if disk.hasCrashed { throw Interrupted() }
            for message in call.take() {
                let response = try Martlet_V1_SubscribeResponse(serializedBytes: Array(message.readableBytesView))
                for record in response.batches.flatMap(\.records) {
                    observe(record, of: partition)
                    streamed.insert(record.offset)
                    offset = record.offset + 1
                }
            }
            if call.status == 0 { break }
            guard call.status == 15, let next = endOfDamage(call.text, partition, offset), next > offset || next > from else {
                return violate(
                    "both protocols can read every offset",
                    "Subscribe of \(partition.name) from \(from): \(call.status ?? -1) \(call.text)")
            }
            offset = max(next, offset)
            if rounds > 1_000 { return violate("both protocols can read every offset", "no progress at \(from)") }
        }
        compare(streamed, contents, partition)
    }

    private func endOfDamage(_ text: String, _ partition: PartitionModel, _ offset: Int64) -> Int64? {
        if let end = Self.number(in: text, after: "reading goes on at offset ") { return end }
        guard let base = Self.number(in: text, after: "the batch at offset "),
            let (known, batch) = partition.batch(containing: max(base, offset)), partition.damaged.contains(known)
        else { return nil }
        return known + Int64(batch.count)
    }

    private func compare(_ streamed: Set<Int64>, _ contents: Contents, _ partition: PartitionModel) {
        var fetched: Set<Int64> = []
        for (base, batch) in contents.found {
            for index in 0..<Int64(batch.count) where base + index >= contents.start { fetched.insert(base + index) }
        }
        if let missing = fetched.subtracting(streamed).min() {
            violate("both protocols read the same", "\(partition.name) streams no record at \(missing)")
        }
        let more = streamed.subtracting(fetched).filter { !isDamaged(partition, $0) && !partition.isDeletedCopy($0) }
        if let extra = more.min() { violate("both protocols read the same", "\(partition.name) fetches none at \(extra)") }
    }

    // MARK: Liveness

    /// With no faults left, every log that has not failed takes records and commits.
    func checkLiveness() throws {
        guard let broker, let calls, calls.isOpen, !disk.hasCrashed else { return }
        calm()
        trace.note("everything must work")
        var batches: [SentBatch] = []
        for partition in model.livePartitions where broker.partition(partition)?.failure == nil {
            let isSettled = model.topics.first { $0.name == partition.topic }?.isSettled ?? false
            if isSettled, let batch = try publish(to: partition, calls) { batches.append(batch) }
        }
        let commitsWork = !offsetsLeaveOpen && broker.engine.allPartitions.first?.failure == nil
        var key: CommitKey?
        if commitsWork, let partition = pickAny(model.livePartitions), let admin, admin.isOpen {
            key = CommitKey(group: "liveness", topic: partition.topic, partition: partition.index)
            try commit("liveness", through: admin, memberId: "", generation: -1)
        }
        for _ in 0..<6 {
            try turn()
            broker.groupCommit.runRound()
        }
        try turn()
        if disk.hasCrashed { return }
        for batch in batches where batch.offset == nil || batch.unresolved > 0 {
            let sizes = batch.sizes.reduce(0, +) + 100 * batch.count
            let limit = batch.partition.incarnation.overrides["max.message.bytes"].flatMap { Int($0) } ?? 1 << 20
            if sizes > limit { continue }
            violate("without faults every log takes records", "#\(batch.number) to \(batch.partition.name) was not taken")
        }
        if key != nil {
            for (key, commit) in model.commits.sorted(by: { $0.key < $1.key }) where key.group == "liveness" && !commit.flying.isEmpty {
                violate("without faults commits are answered", "\(key.topic)-\(key.partition)")
            }
        }
    }
}
