// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: committed offsets: durable before visible, in order, bounded, expiring.

import Bytes
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Engine

@Suite struct GroupCoordinatorOffsetsTests {
    private static let day: Int64 = 24 * 3_600 * 1_000

    // MARK: Commit

    @Test func `A commit is answered and visible once it is durable, not before`() {
        let it = CoordinatorFixture()
        it.store.state.withLock { $0.holds = true }
        let answer = it.commit([.init(topic: "t", partition: 3, offset: 42, leaderEpoch: 7, metadata: "m")])
        it.run()
        #expect(answer.value == nil)
        #expect(it.committed("t", 3) == nil)
        #expect(it.state() == .dead)
        it.store.complete()
        it.run()
        #expect(answer.value == .success([nil]))
        let read = try? it.groups.committed(groupId: "g", topics: nil)
        let expected = CommittedOffset(
            offset: 42, leaderEpoch: 7, metadata: "m", commitTimestampMs: it.clock.nowMs())
        #expect(read == [TopicPositions(topic: "t", positions: [.init(partition: 3, offset: expected)])])
        #expect(it.state() == .empty)
    }

    @Test(arguments: [GroupError.notCoordinator, .coordinatorNotAvailable])
    func `A commit that the log refuses fails and leaves nothing behind`(error: GroupError) {
        let it = CoordinatorFixture()
        it.commit(1)
        it.store.state.withLock { $0.failure = error }
        let answer = it.commit([.init(topic: "t", partition: 0, offset: 2)])
        let newcomer = it.commit([.init(topic: "t", partition: 0, offset: 2)], group: "other")
        it.run()
        #expect(answer.value == .failure(error))
        #expect(newcomer.value == .failure(error))
        #expect(it.committed() == 1)
        #expect(it.groups.groupCount == 1)
    }

    @Test func `Commits of one turn share a batch`() {
        let it = CoordinatorFixture()
        let answers = (0..<5).map { it.commit([.init(topic: "t", partition: 0, offset: $0)], group: "g\($0)") }
        it.run()
        #expect(it.store.state.withLock { $0.batches } == [5])
        #expect(answers.allSatisfy { $0.value == .success([nil]) })
    }

    @Test func `The log's order decides, whatever the order of completion`() {
        let it = CoordinatorFixture()
        it.store.state.withLock { $0.holds = true }
        let first = it.commit([.init(topic: "t", partition: 0, offset: 1)])
        it.run()
        let second = it.commit([.init(topic: "t", partition: 0, offset: 2)])
        it.run()
        it.store.complete(1)
        it.run()
        #expect(second.value == nil)
        #expect(it.committed() == nil)
        it.store.complete(0)
        it.run()
        #expect(first.value == .success([nil]))
        #expect(second.value == .success([nil]))
        #expect(it.committed() == 2)
    }

    @Test func `What is written are Kafka's records`() throws {
        let it = CoordinatorFixture()
        it.commit(42)
        it.commit(43, retentionMs: 1_000)
        let records = it.store.state.withLock { $0.records }
        let nowMs = it.clock.nowMs()
        try #require(records.count == 2)
        #expect(records[0].key == OffsetRecord.encode(OffsetKey(groupId: "g", topic: "t", partition: 0)))
        #expect(records[0].value == OffsetRecord.encode(CommittedOffset(offset: 42, commitTimestampMs: nowMs)))
        #expect(
            records[1].value
                == OffsetRecord.encode(
                    CommittedOffset(offset: 43, commitTimestampMs: nowMs, expireTimestampMs: nowMs + 1_000)))
    }

    @Test func `Too long a metadata string fails its own partition only`() {
        let it = CoordinatorFixture()
        let long = String(repeating: "x", count: 4_097)
        // As Kafka counts: 4,096 letters may take more bytes.
        let wide = String(repeating: "é", count: 4_096)
        let answer = it.commit([
            .init(topic: "t", partition: 0, offset: 1, metadata: long),
            .init(topic: "t", partition: 1, offset: 1, metadata: wide),
        ])
        it.run()
        #expect(answer.value == .success([.offsetMetadataTooLarge, nil]))
        #expect(it.committed("t", 0) == nil)
        #expect(it.committed("t", 1) == 1)
    }

    @Test func `A commit of nothing but refusals is answered without a write`() {
        let it = CoordinatorFixture()
        let long = String(repeating: "x", count: 5_000)
        let answer = it.commit([.init(topic: "t", partition: 0, offset: 1, metadata: long)])
        it.run()
        #expect(answer.value == .success([.offsetMetadataTooLarge]))
        #expect(it.store.state.withLock { $0.batches } == [])
    }

    @Test func `Members commit with their generation, others only to an empty group`() {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        let position = OffsetCommit.Position(topic: "t", partition: 0, offset: 5)
        #expect(it.commit([position], member: id, generation: 9).value == .failure(.illegalGeneration))
        #expect(it.commit([position], member: "who", generation: 1).value == .failure(.unknownMemberId))
        #expect(it.commit([position]).value == .failure(.unknownMemberId))
        #expect(it.commit([position], group: "none", generation: 1).value == .failure(.groupIdNotFound))
        let good = it.commit([position], member: id, generation: 1)
        it.run()
        #expect(good.value == .success([nil]))
        _ = try? it.leave(groupId: "g", [.init(memberId: id)])
        let administrator = it.commit([.init(topic: "t", partition: 0, offset: 0)])
        it.run()
        #expect(administrator.value == .success([nil]))
        #expect(it.committed() == 0)
    }

    @Test func `Kafka's bounds and ours on commits are kept`() {
        let it = CoordinatorFixture {
            $0.partitionsPerCommitMax = 3
            $0.offsetsMax = 4
            $0.offsetMetadataBytesMax = 10
            $0.changesInFlightMax = 5
        }
        func positions(_ range: Range<Int32>, _ metadata: String = "") -> [OffsetCommit.Position] {
            range.map { .init(topic: "t", partition: $0, offset: 1, metadata: metadata) }
        }
        let long = String(repeating: "g", count: 1_025)
        #expect(it.commit(positions(0..<1), group: long).value == .failure(.invalidGroupId))
        #expect(it.commit(positions(0..<4)).value == .failure(.invalidCommitOffsetSize))
        #expect(it.commit(positions(0..<2, "123456")).value == .failure(.invalidCommitOffsetSize))
        it.store.state.withLock { $0.holds = true }
        _ = it.commit(positions(0..<3))
        it.run()
        #expect(it.commit(positions(0..<3)).value == .failure(.coordinatorLoadInProgress))
        it.store.complete()
        it.run()
        #expect(it.commit(positions(3..<5)).value == .failure(.invalidCommitOffsetSize))
        #expect(it.groups.table.withLock { $0.offsetCount } == 3)
    }

    @Test func `The empty group id is a group like any other for commits`() {
        let it = CoordinatorFixture()
        it.commit(3, group: "")
        #expect(it.committed(group: "") == 3)
    }

    // MARK: Read

    @Test func `Reading names what was asked for, committed or not, or everything in order`() throws {
        let it = CoordinatorFixture()
        _ = it.commit([
            .init(topic: "b", partition: 2, offset: 1), .init(topic: "b", partition: 1, offset: 2),
            .init(topic: "a", partition: 0, offset: 3),
        ])
        it.run()
        let all = try it.groups.committed(groupId: "g", topics: nil)
        #expect(all.map(\.topic) == ["a", "b"])
        #expect(all[1].positions.map(\.partition) == [1, 2])
        let some = try it.groups.committed(
            groupId: "g", topics: [.init(topic: "b", partitions: [9, 1]), .init(topic: "c", partitions: [0])])
        #expect(some.map { $0.positions.map { $0.offset?.offset } } == [[nil, 2], [nil]])
        #expect(try it.groups.committed(groupId: "none", topics: nil).isEmpty)
    }

    @Test func `A stable read waits for the group's commits that are in flight, and only for those`() {
        let it = CoordinatorFixture()
        it.store.state.withLock { $0.holds = true }
        _ = it.commit([.init(topic: "t", partition: 0, offset: 7)])
        it.run()
        func offset(_ result: Result<[TopicPositions], GroupError>?) -> Int64? {
            if case .success(let topics) = result { topics.first?.positions.first?.offset?.offset } else { nil }
        }
        func read(_ group: String) -> CoordinatorFixture.Box<Result<[TopicPositions], GroupError>> {
            let box = CoordinatorFixture.Box<Result<[TopicPositions], GroupError>>()
            it.groups.stableCommitted(groupId: group, topics: nil, on: it.loop) { box.put($0) }
            return box
        }
        let waiting = read("g")
        #expect(read("other").value == .success([]))
        it.run()
        #expect(waiting.value == nil)
        it.store.complete()
        it.run()
        #expect(offset(waiting.value) == 7)
        #expect(it.store.state.withLock { $0.batches } == [1])
        #expect(offset(read("g").value) == 7)
    }

    // MARK: Restart

    @Test func `A restart finds what was durable, and only that`() throws {
        let it = CoordinatorFixture()
        it.commit(1, topic: "a")
        it.commit(2, topic: "a")
        it.commit(3, topic: "b")
        it.commit(4, topic: "gone", group: "other")
        it.groups.topicDeleted("b", on: it.loop)
        it.run()
        it.store.state.withLock { state in
            // Of a kind that is not known, and damage.
            state.records.append((key: [0, 22, 0, 1, 103], value: [0, 3]))
            state.records.append((key: [0, 1, 9], value: nil))
        }
        let after = CoordinatorFixture(store: it.store)
        let loaded = try after.groups.load { $0 != "gone" }
        #expect(loaded == .init(offsets: 1, groups: 1, skipped: 1, malformed: 1))
        #expect(after.committed("a") == 2)
        #expect(after.committed("b") == nil)
        // Positions in topics that are no more are deleted for good.
        after.run()
        #expect(after.committed("gone", group: "other") == nil)
        let last = CoordinatorFixture(store: it.store)
        #expect(try last.groups.load().offsets == 1)
        #expect(last.groups.groupCount == 1)
    }

    @Test func `The whole state can be written again and gives the same state`() throws {
        let it = CoordinatorFixture()
        it.commit(1, topic: "a")
        it.commit(2, topic: "a")
        it.commit(3, topic: "b", retentionMs: 1_000)
        let records = it.groups.durableState()
        #expect(records.count == 2)
        let store = MemoryOffsetStore()
        store.state.withLock { $0.records = records }
        let after = CoordinatorFixture(store: store)
        #expect(try after.groups.load().offsets == 2)
        #expect(
            try after.groups.committed(groupId: "g", topics: nil) == it.groups.committed(groupId: "g", topics: nil))
    }

    // MARK: Deletion

    @Test func `A deleted topic takes its positions with it, those in flight included`() throws {
        let it = CoordinatorFixture()
        it.commit(1, group: "a")
        it.commit(1, topic: "other", group: "a")
        it.store.state.withLock { $0.holds = true }
        _ = it.commit([.init(topic: "t", partition: 0, offset: 2)], group: "b")
        it.run()
        let done = CoordinatorFixture.Box<Result<Void, GroupError>>()
        it.groups.topicDeleted("t", on: it.loop) { done.put($0) }
        it.run()
        it.store.complete()
        it.store.complete()
        it.run()
        #expect(done.value != nil)
        #expect(it.committed(group: "a") == nil)
        #expect(it.committed(group: "b") == nil)
        #expect(it.committed("other", group: "a") == 1)
        let after = CoordinatorFixture(store: it.store)
        #expect(try after.groups.load().offsets == 1)
    }

    @Test func `A deleted topic's positions are gone even if the log cannot be told`() {
        let it = CoordinatorFixture()
        it.commit(1)
        it.store.state.withLock { $0.failure = .notCoordinator }
        it.groups.topicDeleted("t", on: it.loop)
        it.run()
        #expect(it.committed() == nil)
    }

    private func deleteOffsets(_ it: CoordinatorFixture, _ topics: [TopicPartitions], group: String = "g")
        -> CoordinatorFixture.CommitResult?
    {
        let box = CoordinatorFixture.Box<CoordinatorFixture.CommitResult>()
        it.groups.deleteOffsets(groupId: group, topics: topics, on: it.loop) { box.put($0) }
        it.run()
        return box.value
    }

    @Test func `Positions are deleted unless the group consumes their topic`() {
        let it = CoordinatorFixture()
        let subscription = ByteBuffer(bytes: [0, 1, 0, 0, 0, 1, 0, 4] + Array("mine".utf8))
        it.commit(1, topic: "mine")
        it.commit(1, topic: "left")
        _ = it.stableMember(metadata: subscription)
        let both = [TopicPartitions(topic: "mine", partitions: [0]), .init(topic: "left", partitions: [0, 1])]
        #expect(deleteOffsets(it, both) == .success([.groupSubscribedToTopic, nil]))
        #expect(it.committed("mine") == 1)
        #expect(it.committed("left") == nil)
        let tombstone = it.store.state.withLock { $0.records.last }
        #expect(tombstone?.key == OffsetRecord.encode(OffsetKey(groupId: "g", topic: "left", partition: 0)))
        #expect(tombstone?.value == nil)
        #expect(deleteOffsets(it, both, group: "none") == .failure(.groupIdNotFound))
        #expect(deleteOffsets(it, both, group: "") == .failure(.invalidGroupId))
    }

    @Test func `A group of something else than consumers keeps its positions while it has members`() {
        let it = CoordinatorFixture()
        var request = it.request(version: 3)
        request.protocolType = "connect"
        _ = it.join(request)
        it.run()
        #expect(
            deleteOffsets(it, [.init(topic: "t", partitions: [0])]) == .failure(.nonEmptyGroup))
    }

    // MARK: Retention

    @Test func `Positions that nobody uses expire after the retention, and the group with them`() throws {
        let it = CoordinatorFixture()
        it.groups.start()
        it.commit(1)
        it.pass(ms: 7 * Self.day - 600_000)
        #expect(it.committed() == 1)
        it.pass(ms: 600_000)
        #expect(it.committed() == nil)
        #expect(it.groups.groupCount == 0)
        let after = CoordinatorFixture(store: it.store)
        #expect(try after.groups.load().offsets == 0)
    }

    @Test func `A group's positions are kept while it has members, then for the retention`() {
        let it = CoordinatorFixture()
        it.commit(1)
        let id = it.stableMember(metadata: ByteBuffer(bytes: [0, 0, 0, 0, 0, 1, 0, 1] + Array("t".utf8)))
        it.clock.advance(ms: 30 * Self.day)
        it.groups.cleanUp()
        it.run()
        #expect(it.committed() == 1)
        _ = try? it.leave(groupId: "g", [.init(memberId: id)])
        it.clock.advance(ms: 7 * Self.day - 1)
        it.groups.cleanUp()
        it.run()
        #expect(it.committed() == 1)
        it.clock.advance(ms: 1)
        it.groups.cleanUp()
        it.run()
        #expect(it.committed() == nil)
    }

    @Test func `A stable group of consumers loses positions of topics it left, not those it consumes`() {
        let it = CoordinatorFixture()
        it.commit(1, topic: "t")
        it.commit(1, topic: "left")
        _ = it.stableMember(metadata: ByteBuffer(bytes: [0, 0, 0, 0, 0, 1, 0, 1] + Array("t".utf8)))
        it.clock.advance(ms: 8 * Self.day)
        it.groups.cleanUp()
        it.run()
        #expect(it.committed("t") == 1)
        #expect(it.committed("left") == nil)
    }

    @Test func `A restart does not make positions expire that were in use until then`() throws {
        let it = CoordinatorFixture()
        it.commit(1)
        let after = CoordinatorFixture(store: it.store)
        after.clock.advance(ms: 30 * Self.day)
        _ = try after.groups.load()
        after.groups.cleanUp()
        after.run()
        #expect(after.committed() == 1)
        after.clock.advance(ms: 7 * Self.day)
        after.groups.cleanUp()
        after.run()
        #expect(after.committed() == nil)
    }

    @Test func `A retention that came with the commit counts instead of the broker's`() {
        let it = CoordinatorFixture()
        it.commit(1, topic: "short", retentionMs: 1_000)
        it.commit(1, topic: "long")
        it.clock.advance(ms: 1_000)
        it.groups.cleanUp()
        it.run()
        #expect(it.committed("short") == nil)
        #expect(it.committed("long") == 1)
    }
}
