// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: a group coordinator on an embedded loop, with a log of committed offsets in memory that
// waits, fails and forgets when told to.

import Bytes
import Logging
import NIOCore
import NIOEmbedded
import Synchronization

@testable import Engine

final class MemoryOffsetStore: OffsetStore {
    struct Pending: Sendable {
        var records: [KeyedRecord]
        var loop: any EventLoop
        var completion: @Sendable (Result<Void, GroupError>) -> Void
    }

    struct State: Sendable {
        /// Durable, in order.
        var records: [KeyedRecord] = []
        var batches: [Int] = []
        var pending: [Pending] = []
        var failure: GroupError?
        var holds = false
    }

    let state: Mutex<State>

    init(_ records: [KeyedRecord] = []) {
        state = Mutex(State(records: records))
    }

    func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, GroupError>) -> Void
    ) {
        let holds = state.withLock { state in
            state.batches.append(records.count)
            state.pending.append(Pending(records: records, loop: loop, completion: completion))
            return state.holds
        }
        if !holds { loop.execute { self.complete() } }
    }

    /// Completes the oldest batch, or the one at `index`.
    func complete(_ index: Int = 0) {
        let (pending, failure) = state.withLock { state in
            let pending = state.pending.remove(at: index)
            if state.failure == nil { state.records += pending.records }
            return (pending, state.failure)
        }
        pending.loop.execute { pending.completion(failure.map { .failure($0) } ?? .success(())) }
    }

    func replay(_ body: (ByteBuffer, ByteBuffer?) -> Void) throws(EngineError) {
        let records = state.withLock { $0.records }
        for record in records { body(ByteBuffer(bytes: record.key), record.value.map { ByteBuffer(bytes: $0) }) }
    }
}

final class CoordinatorFixture {
    let loop = EmbeddedEventLoop()
    let clock = ManualClock()
    let store: MemoryOffsetStore
    let groups: GroupCoordinator
    private let counter = Mutex<UInt64>(0)

    /// Member ids follow from `ids`; a restarted coordinator makes others.
    init(store: MemoryOffsetStore = MemoryOffsetStore(), ids: UInt64 = 0, _ change: (inout GroupConfiguration) -> Void = { _ in }) {
        var configuration = GroupConfiguration()
        configuration.initialRebalanceDelayMs = 0
        change(&configuration)
        self.store = store
        let generator = Mutex<UInt64>(ids)
        groups = GroupCoordinator(
            configuration: configuration, clock: clock, loop: loop, store: store,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            random: { generator.withLock { $0 += 1; return $0 } })
    }

    /// What a completion left behind; nil until then.
    final class Box<Value: Sendable>: Sendable {
        private let stored = Mutex<[Value]>([])

        func put(_ value: Value) { stored.withLock { $0.append(value) } }

        /// nil also if it was put more than once, which nothing may do.
        var value: Value? { stored.withLock { $0.count == 1 ? $0[0] : nil } }
    }

    /// Time passes, on the loop and on the wall.
    func pass(ms: Int64) {
        clock.advance(ms: ms)
        loop.advanceTime(by: .milliseconds(ms))
    }

    func run() { loop.run() }

    func request(
        _ memberId: String = "", group: String = "g", instance: String? = nil, version: Int = 9,
        sessionMs: Int32 = 10_000, metadata: ByteBuffer = ByteBuffer(string: "m")
    ) -> GroupJoinRequest {
        GroupJoinRequest(
            groupId: group, memberId: memberId, groupInstanceId: instance, clientId: "c", clientHost: "/127.0.0.1",
            sessionTimeoutMs: sessionMs, rebalanceTimeoutMs: 60_000, protocolType: "consumer",
            protocols: [GroupProtocol(name: "range", metadata: metadata)],
            requiresKnownMemberId: version >= 4, supportsSkippingAssignment: version >= 9)
    }

    func join(_ request: GroupJoinRequest) -> Box<GroupJoinResponse> {
        let box = Box<GroupJoinResponse>()
        groups.join(request, on: loop) { box.put($0) }
        return box
    }

    func sync(_ memberId: String, group: String = "g", generation: Int32, assignments: [String: String])
        -> Box<GroupSyncResponse>
    {
        sync(memberId, group: group, generation: generation, assignments: assignments.mapValues { ByteBuffer(string: $0) })
    }

    func sync(_ memberId: String, group: String = "g", generation: Int32, assignments: [String: ByteBuffer] = [:])
        -> Box<GroupSyncResponse>
    {
        let box = Box<GroupSyncResponse>()
        let request = GroupSyncRequest(
            groupId: group, memberId: memberId, generationId: generation,
            assignments: assignments.map { .init(memberId: $0.key, assignment: $0.value) })
        groups.sync(request, on: loop) { box.put($0) }
        return box
    }

    /// The id of the only member of a stable group.
    func stableMember(group: String = "g", metadata: ByteBuffer = ByteBuffer(string: "m")) -> String {
        let box = join(request(group: group, version: 3, metadata: metadata))
        run()
        let id = box.value?.memberId ?? ""
        _ = sync(id, group: group, generation: box.value?.generationId ?? 0, assignments: [id: "a"])
        run()
        return id
    }

    typealias CommitResult = Result<[GroupError?], GroupError>

    func commit(
        _ positions: [OffsetCommit.Position], group: String = "g", member: String = "", generation: Int32 = -1,
        retentionMs: Int64? = nil
    ) -> Box<CommitResult> {
        let box = Box<CommitResult>()
        let commit = OffsetCommit(
            groupId: group, member: GroupMemberIdentity(memberId: member), generationId: generation,
            retentionMs: retentionMs, positions: positions)
        groups.commit(commit, on: loop) { box.put($0) }
        return box
    }

    /// Commits `offset` to partition 0 of `topic` and makes it durable.
    func commit(_ offset: Int64, topic: String = "t", group: String = "g", retentionMs: Int64? = nil) {
        _ = commit([.init(topic: topic, partition: 0, offset: offset)], group: group, retentionMs: retentionMs)
        run()
    }

    func committed(_ topic: String = "t", _ partition: Int32 = 0, group: String = "g") -> Int64? {
        let topics = [TopicPartitions(topic: topic, partitions: [partition])]
        return try? groups.committed(groupId: group, topics: topics).first?.positions.first?.offset?.offset
    }

    func heartbeat(_ memberId: String, group: String = "g", generation: Int32) -> GroupError? {
        do throws(GroupError) {
            try groups.heartbeat(
                groupId: group, GroupMemberIdentity(memberId: memberId), generationId: generation)
            return nil
        } catch {
            return error
        }
    }

    typealias Beat = Result<ConsumerHeartbeatAnswer, GroupRefusal>

    /// A topic that consumer groups can subscribe to; its id follows from `number`.
    func topic(_ name: String, _ partitions: Int32, number: UInt64 = 1) {
        groups.topicChanged(
            .present(GroupTopic(name: name, id: TopicId(high: 9, low: number), partitions: partitions)))
    }

    func beat(_ request: ConsumerHeartbeat) -> Box<Beat> {
        let box = Box<Beat>()
        groups.heartbeat(request, on: loop) { box.put($0) }
        return box
    }

    /// A heartbeat and its answer.
    func beaten(_ request: ConsumerHeartbeat) throws(GroupRefusal) -> ConsumerHeartbeatAnswer {
        let box = beat(request)
        run()
        guard let value = box.value else { throw GroupRefusal(.unknownServerError, "no answer, or two") }
        return try value.get()
    }

    /// What a member says that joins.
    static func joining(
        _ memberId: String, group: String = "g", topics: [String]? = ["t"], pattern: String? = nil,
        instance: String? = nil
    ) -> ConsumerHeartbeat {
        ConsumerHeartbeat(
            groupId: group, memberId: memberId, memberEpoch: 0, instanceId: instance, rebalanceTimeoutMs: 60_000,
            clientId: "c", clientHost: "/127.0.0.1", subscribedTopics: topics, subscribedPattern: pattern, owned: [])
    }

    /// What a member says that is there, and owns `owned` of topic 1.
    static func staying(
        _ memberId: String, epoch: Int32, owned: [Int32]? = nil, group: String = "g", instance: String? = nil
    ) -> ConsumerHeartbeat {
        ConsumerHeartbeat(
            groupId: group, memberId: memberId, memberEpoch: epoch, instanceId: instance, clientId: "c",
            clientHost: "/127.0.0.1",
            owned: owned.map { [TopicIdPartitions(topicId: TopicId(high: 9, low: 1), partitions: $0)] })
    }

    /// Members leave, and what that changed becomes durable.
    func leave(groupId: String, _ members: [GroupMemberIdentity]) throws(GroupError) -> [GroupError?] {
        let box = Box<Result<[GroupError?], GroupError>>()
        groups.leave(groupId: groupId, members, on: loop) { box.put($0) }
        run()
        guard let result = box.value else { return [] }
        return try result.get()
    }

    func state(_ group: String = "g") -> GroupState? {
        try? groups.describe([group]).first?.state
    }

    func delete(_ ids: [String]) -> Box<[GroupError?]> {
        let box = Box<[GroupError?]>()
        groups.delete(ids, on: loop) { box.put($0) }
        return box
    }
}
