// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: random members of both protocols in one group, from seeds: they join, consume, commit, stall,
// leave and vanish, and the broker crashes, with a model of what must hold.
//
//   - a partition is never a living member's while it is another's (who gave nothing up and was not put out);
//   - a member that gets a partition starts where the last acknowledged commit of it is, so no record is delivered twice
//     within a generation;
//   - a commit that was acknowledged is never lost, and the committed offset never goes back;
//   - left alone, the group becomes stable, and everything is somebody's.

import Bytes
import NIOCore
import Synchronization
import Testing

@testable import Engine

private final class Consumer {
    let name: Int
    let isClassic: Bool
    var memberId = ""
    /// -1: it has to join.
    var epoch: Int32 = -1
    /// Partition → the next offset that it delivers.
    var owned: [Int32: Int64] = [:]
    var lives = 0

    init(name: Int, isClassic: Bool) {
        self.name = name
        self.isClassic = isClassic
    }
}

private struct Violation: Error {}

private final class Life {
    /// What happened, for the report of a failure.
    private var story: [String] = []
    static let partitions: Int32 = 5
    private var it: CoordinatorFixture
    private var generator: SeededGenerator
    private var consumers: [Consumer]
    /// Partition → the last acknowledged commit.
    private var committed: [Int32: Int64] = [:]
    private let seed: UInt64

    init(seed: UInt64) throws {
        self.seed = seed
        generator = SeededGenerator(state: seed)
        it = CoordinatorFixture()
        it.topic("t", Self.partitions)
        let kinds: [Bool] = seed % 3 == 0 ? [false] : seed % 3 == 1 ? [true, false, false] : [true, true, false]
        consumers = (0..<4).map { Consumer(name: $0, isClassic: kinds[$0 % kinds.count]) }
    }

    func run(steps: Int) throws {
        for _ in 0..<steps {
            let consumer = consumers.randomElement(using: &generator)!
            switch Int.random(in: 0..<100, using: &generator) {
            case 0..<70: try beat(consumer)
            case 70..<88: consume(consumer)
            case 88..<91: try leave(consumer)
            case 91..<93: vanish(consumer)
            case 93..<95: try crash()
            default: pass(ms: Int64.random(in: 1...3_000, using: &generator))
            }
            try checkOwners()
        }
        try settle()
    }

    // MARK: Consumers

    private func beat(_ consumer: Consumer) throws {
        if consumer.isClassic { try beatClassic(consumer) } else { try beatNew(consumer) }
        let kind = consumer.isClassic ? "classic" : "new"
        story.append("\(kind) \(consumer.name) beats: \(consumer.epoch) \(consumer.owned.keys.sorted())")
    }

    private func beatNew(_ consumer: Consumer) throws {
        if consumer.epoch < 0 {
            consumer.lives += 1
            consumer.memberId = "m\(consumer.name)-\(consumer.lives)"
        }
        let isJoining = consumer.epoch < 0
        let owned = consumer.owned.keys.sorted()
        let request =
            isJoining
            ? CoordinatorFixture.joining(consumer.memberId)
            : CoordinatorFixture.staying(consumer.memberId, epoch: consumer.epoch, owned: owned)
        do throws(GroupRefusal) {
            let answer = try it.beaten(request)
            #expect(answer.memberEpoch >= consumer.epoch, "an epoch went back, seed \(seed)")
            consumer.epoch = answer.memberEpoch
            if let assignment = answer.assignment { take(Set(assignment.flatMap(\.partitions)), consumer) }
        } catch {
            lose(consumer)
        }
    }

    private func beatClassic(_ consumer: Consumer) throws {
        if consumer.epoch >= 0 {
            switch it.heartbeat(consumer.memberId, generation: consumer.epoch) {
            case nil: return
            // An eager consumer gives up everything before it joins again.
            case .rebalanceInProgress?: consumer.owned = [:]
            default: lose(consumer)
            }
        }
        var metadata = ByteBuffer()
        metadata.writeInteger(Int16(1))
        metadata.writeInteger(Int32(1))
        metadata.writeKafkaString("t")
        metadata.writeInteger(Int32(-1))
        metadata.writeInteger(Int32(0))
        let box = it.join(it.request(consumer.memberId, version: 3, sessionMs: 10_000, metadata: metadata))
        it.run()
        // In a classic group everybody has to be there first; who is not is put out.
        if box.value == nil { joinOthers(than: consumer) }
        guard let joined = box.value, joined.error == nil else { return lose(consumer) }
        consumer.memberId = joined.memberId
        consumer.epoch = joined.generationId
        let assignments = assign(joined)
        let synced = it.sync(joined.memberId, generation: joined.generationId, assignments: assignments)
        it.run()
        // A follower whose leader is slow joins again.
        guard let answer = synced.value, answer.error == nil,
            let assignment = ConsumerSubscription.assignment(in: answer.assignment)
        else { return }
        take(Set(assignment.flatMap(\.partitions)), consumer)
    }

    /// The other classic members join, too, as they would after their next heartbeat; here their places are given up.
    private func joinOthers(than consumer: Consumer) {
        for other in consumers where other !== consumer && other.isClassic && other.epoch >= 0 { lose(other) }
        pass(ms: 60_001)
    }

    /// What the leader makes of it; nothing, of a follower.
    private func assign(_ joined: GroupJoinResponse) -> [String: ByteBuffer] {
        var assignments: [String: ByteBuffer] = [:]
        for (index, member) in joined.members.enumerated() {
            let own = (0..<Self.partitions).filter { Int($0) % joined.members.count == index }
            assignments[member.memberId] = ConsumerSubscription.encode(
                [TopicPartitions(topic: "t", partitions: own)], version: 1)
        }
        return assignments
    }

    /// It may have these: it gives up what is not among them, and starts others where they were left.
    private func take(_ partitions: Set<Int32>, _ consumer: Consumer) {
        consumer.owned = consumer.owned.filter { partitions.contains($0.key) }
        for partition in partitions.sorted() where consumer.owned[partition] == nil {
            let start = it.committed("t", partition) ?? 0
            #expect(start >= committed[partition] ?? 0, "a commit is lost, seed \(seed)")
            consumer.owned[partition] = start
        }
    }

    /// It is out, and knows: it stops delivering.
    private func lose(_ consumer: Consumer) {
        consumer.owned = [:]
        consumer.epoch = -1
        consumer.memberId = ""
    }

    private func consume(_ consumer: Consumer) {
        guard consumer.epoch >= 0, !consumer.owned.isEmpty else { return }
        var positions: [OffsetCommit.Position] = []
        for (partition, next) in consumer.owned.sorted(by: { $0.key < $1.key }) {
            let end = next + Int64.random(in: 1...9, using: &generator)
            consumer.owned[partition] = end
            positions.append(.init(topic: "t", partition: partition, offset: end))
        }
        let box = it.commit(positions, member: consumer.memberId, generation: consumer.epoch)
        it.run()
        guard case .success? = box.value else { return }
        for position in positions {
            #expect(position.offset > committed[position.partition] ?? -1, "a commit went back, seed \(seed)")
            committed[position.partition] = position.offset
        }
    }

    private func leave(_ consumer: Consumer) throws {
        guard consumer.epoch >= 0 else { return }
        story.append("\(consumer.name) leaves")
        if consumer.isClassic {
            _ = try? it.leave(groupId: "g", [.init(memberId: consumer.memberId)])
        } else {
            _ = try? it.beaten(.init(groupId: "g", memberId: consumer.memberId, memberEpoch: -1))
        }
        lose(consumer)
    }

    /// It stops for good; somebody else starts in its place.
    private func vanish(_ consumer: Consumer) { lose(consumer) }

    /// The broker is killed: what is not durable is gone; members go on.
    private func crash() throws {
        let records = it.store.state.withLock { $0.records }
        it = CoordinatorFixture(store: MemoryOffsetStore(records), ids: generator.next() >> 16)
        story.append("crash")
        it.topic("t", Self.partitions)
        _ = try it.groups.load()
        it.run()
    }

    /// Everybody heartbeats often enough to stay in.
    private func pass(ms: Int64) {
        story.append("\(ms) ms pass")
        it.pass(ms: ms)
        it.run()
    }

    // MARK: What must hold

    private func checkOwners() throws {
        var owners: [Int32: Int] = [:]
        // Who was put out without knowing yet has a session of its own; the model sees only who is still a member.
        for consumer in consumers where isMember(consumer) {
            for partition in consumer.owned.keys {
                if let other = owners[partition] {
                    Issue.record("partition \(partition) is consumer \(other)'s and \(consumer.name)'s, seed \(seed): \(story.suffix(12))")
                    throw Violation()
                }
                owners[partition] = consumer.name
            }
        }
        for (partition, offset) in committed {
            #expect(it.committed("t", partition) ?? -1 >= offset, "a commit is lost, seed \(seed)")
        }
    }

    private func isMember(_ consumer: Consumer) -> Bool {
        guard consumer.epoch >= 0 else { return false }
        if consumer.isClassic { return it.heartbeat(consumer.memberId, generation: consumer.epoch) == nil }
        let members = try? it.groups.describeConsumerGroups(["g"])[0]?.members
        return members?.contains { $0.memberId == consumer.memberId } == true
    }

    /// Left alone, all find their place.
    private func settle() throws {
        for round in 0..<100 {
            for consumer in consumers where !consumer.isClassic || round < 80 { try beat(consumer) }
            try checkOwners()
            pass(ms: 1_000)
        }
        guard consumers.contains(where: { !$0.isClassic }) else { return }
        for _ in 0..<30 { for consumer in consumers { try beat(consumer) } }
        let all = consumers.flatMap(\.owned.keys)
        #expect(all.sorted() == Array(0..<Self.partitions), "not everything is somebody's, seed \(seed)")
        #expect(try it.groups.list()[0].state == "Stable")
    }
}

@Suite struct GroupPropertyTests {
    @Test(arguments: 0..<10 as Range<UInt64>) func `Nothing is lost, doubled or left out`(seed: UInt64) throws {
        try Life(seed: seed).run(steps: 150)
    }
}
