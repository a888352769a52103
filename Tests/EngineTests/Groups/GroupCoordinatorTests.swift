// SPDX-License-Identifier: Apache-2.0
// Martlet, EngineTests: the group coordinator's membership: timers, bounds, answers.

import Bytes
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import Synchronization
import Testing

@testable import Engine

@Suite struct GroupCoordinatorTests {
    @Test func `A member joins, syncs, heartbeats and leaves`() throws {
        let it = CoordinatorFixture()
        let first = it.join(it.request())
        let id = try #require(first.value?.memberId)
        #expect(first.value?.error == .memberIdRequired)
        #expect(id == "c-00000000-0000-4001-8000-000000000002")
        let joined = it.join(it.request(id))
        #expect(joined.value == nil)
        it.run()
        #expect(joined.value?.generationId == 1)
        let synced = it.sync(id, generation: 1, assignments: [id: "a"])
        #expect(synced.value == nil, "it is not durable yet")
        it.run()
        #expect(synced.value?.assignment.text == "a")
        #expect(it.heartbeat(id, generation: 1) == nil)
        #expect(try it.leave(groupId: "g", [.init(memberId: id)]) == [nil])
        #expect(it.state() == .empty)
    }

    @Test func `A static member's id starts with its instance id`() {
        let it = CoordinatorFixture()
        let joined = it.join(it.request(instance: "i"))
        it.run()
        #expect(joined.value?.memberId.hasPrefix("i-") == true)
    }

    @Test func `Sessions end by the loop's time, and heartbeats move their end`() {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        for _ in 0..<20 {
            it.pass(ms: 9_999)
            #expect(it.heartbeat(id, generation: 1) == nil)
        }
        it.pass(ms: 9_999)
        #expect(it.state() == .stable)
        it.pass(ms: 1)
        #expect(it.state() == .empty)
    }

    @Test func `The wall clock has no part in sessions`() {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        it.clock.advance(ms: 1_000_000_000)
        it.loop.advanceTime(by: .milliseconds(5_000))
        #expect(it.heartbeat(id, generation: 1) == nil)
    }

    @Test func `A parked join is answered when the rebalance times out`() {
        let it = CoordinatorFixture()
        _ = it.stableMember()
        let second = it.join(it.request(version: 3))
        it.pass(ms: 9_999)
        #expect(second.value == nil)
        // The first member neither joins again nor is heard of.
        it.pass(ms: 1)
        #expect(second.value?.error == nil)
        #expect(second.value?.generationId == 2)
        #expect(second.value?.members.count == 1)
    }

    @Test(arguments: [
        ("", 10_000, GroupError.invalidGroupId),
        (String(repeating: "g", count: 1_025), 10_000, .invalidGroupId),
        ("g", 5_999, .invalidSessionTimeout),
        ("g", 1_800_001, .invalidSessionTimeout),
    ] as [(String, Int32, GroupError)])
    func `A join outside the bounds is refused`(group: String, sessionMs: Int32, error: GroupError) {
        let it = CoordinatorFixture()
        #expect(it.join(it.request(group: group, sessionMs: sessionMs)).value?.error == error)
        #expect(it.groups.groupCount == 0)
    }

    @Test func `Member ids stay short, however long the names they are made of`() {
        let it = CoordinatorFixture()
        let long = String(repeating: "i", count: 1_025)
        #expect(it.join(it.request(instance: long)).value?.error == .invalidGroupId)
        var request = it.request()
        request.clientId = String(repeating: "é", count: 16_000)
        let answer = it.join(request).value
        #expect(answer?.error == .memberIdRequired)
        #expect(answer.map { $0.memberId.utf8.count < 1_100 } == true)
    }

    @Test func `A member's metadata, a sync's assignments, and all of them together are bounded`() {
        let it = CoordinatorFixture {
            $0.memberBytesMax = 2_000
            $0.assignmentBytesMax = 50
            $0.membershipBytesMax = 3_000
        }
        let large = ByteBuffer(repeating: 1, count: 2_000)
        #expect(it.join(it.request(metadata: large)).value?.error == .groupMaxSizeReached)
        let id = it.stableMember(metadata: ByteBuffer(repeating: 1, count: 1_000))
        let sync = it.sync(id, generation: 1, assignments: [id: String(repeating: "x", count: 51)])
        #expect(sync.value?.error == .unknownServerError)
        let other = it.request(group: "other", version: 3, metadata: ByteBuffer(repeating: 1, count: 1_500))
        #expect(it.join(other).value?.error == .groupMaxSizeReached)
        // What leaves makes room.
        _ = try? it.leave(groupId: "g", [.init(memberId: id)])
        let again = it.join(other)
        it.run()
        #expect(again.value?.error == nil)
    }

    @Test func `The books are balanced when everybody is gone`() {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        _ = it.join(it.request())
        #expect(it.groups.table.withLock { $0.membershipBytes } > 0)
        _ = try? it.leave(groupId: "g", [.init(memberId: id)])
        it.pass(ms: 10_000)
        #expect(it.groups.table.withLock { $0.membershipBytes } == 0)
    }

    @Test func `Groups are bounded`() {
        let it = CoordinatorFixture { $0.groupsMax = 2 }
        _ = it.stableMember(group: "a")
        it.commit(1, group: "b")
        #expect(it.join(it.request(group: "c")).value?.error == .groupMaxSizeReached)
        let commit = it.commit([.init(topic: "t", partition: 0, offset: 1)], group: "c")
        #expect(commit.value == .failure(.invalidCommitOffsetSize))
        #expect(it.join(it.request(group: "a")).value?.error == .memberIdRequired)
    }

    @Test func `A refused join leaves no group behind`() {
        let it = CoordinatorFixture()
        var request = it.request()
        request.protocols = []
        #expect(it.join(request).value?.error == .inconsistentGroupProtocol)
        #expect(it.join(it.request("who", group: "other")).value?.error == .unknownMemberId)
        #expect(it.groups.groupCount == 0)
    }

    @Test func `A group that is not there knows nobody`() throws {
        let it = CoordinatorFixture()
        #expect(it.heartbeat("m", generation: 1) == .unknownMemberId)
        #expect(it.sync("m", generation: 1).value?.error == .unknownMemberId)
        #expect(try it.leave(groupId: "g", [.init(memberId: "m"), .init(memberId: "n")])
            == [.unknownMemberId, .unknownMemberId])
        #expect(it.heartbeat("m", group: "", generation: 1) == .invalidGroupId)
        #expect(it.sync("m", group: "", generation: 1).value?.error == .invalidGroupId)
        #expect(throws: GroupError.invalidGroupId) { try it.leave(groupId: "", []) }
    }

    @Test func `Metadata and assignments are copies, not slices of what was received`() throws {
        let it = CoordinatorFixture()
        var received = ByteBuffer(repeating: 7, count: 100_000)
        let read = received.readSlice(length: 10)
        let slice = try #require(read)
        let joined = it.join(it.request(version: 3, metadata: slice))
        it.run()
        let metadata = try #require(joined.value?.members.first?.metadata)
        #expect(metadata == slice)
        #expect(metadata.capacity < 1_000)
    }

    @Test func `Answers come on the event loop that the caller named`() throws {
        let it = CoordinatorFixture()
        let other = EmbeddedEventLoop()
        _ = it.stableMember()
        let box = CoordinatorFixture.Box<GroupJoinResponse>()
        it.groups.join(it.request(version: 3), on: other) { response in
            other.preconditionInEventLoop()
            box.put(response)
        }
        #expect(box.value == nil)
        it.pass(ms: 10_000)
        other.run()
        #expect(box.value?.generationId == 2)
    }

    @Test func `Closing answers what is parked and refuses what comes`() {
        let it = CoordinatorFixture()
        let id = it.stableMember()
        it.groups.start()
        let parked = it.join(it.request(version: 3))
        it.groups.close()
        #expect(parked.value?.error == .coordinatorNotAvailable)
        #expect(it.heartbeat(id, generation: 1) == .coordinatorNotAvailable)
        #expect(it.join(it.request()).value?.error == .coordinatorNotAvailable)
        #expect(it.sync(id, generation: 1).value?.error == .coordinatorNotAvailable)
        #expect(it.commit([]).value == .failure(.coordinatorNotAvailable))
        #expect(it.delete(["g"]).value == [.coordinatorNotAvailable])
        #expect(throws: GroupError.coordinatorNotAvailable) { try it.groups.list() }
        #expect(throws: GroupError.coordinatorNotAvailable) { try it.groups.describe(["g"]) }
        #expect(throws: GroupError.coordinatorNotAvailable) { try it.leave(groupId: "g", []) }
        #expect(throws: GroupError.coordinatorNotAvailable) { try it.groups.committed(groupId: "g", topics: nil) }
    }

    @Test func `Development has no delay and takes short sessions`() {
        let configuration = GroupConfiguration.development
        #expect(configuration.initialRebalanceDelayMs == 0)
        let it = CoordinatorFixture { $0 = configuration }
        #expect(it.join(it.request(sessionMs: 100)).value?.error == .memberIdRequired)
    }

    @Test func `Many threads join, heartbeat and commit at once and are all answered`() async throws {
        let threads = MultiThreadedEventLoopGroup(numberOfThreads: 4)
        let store = MemoryOffsetStore()
        var configuration = GroupConfiguration.development
        configuration.maxSessionTimeoutMs = 1_800_000
        let groups = GroupCoordinator(
            configuration: configuration, clock: SystemClock(), loop: threads.next(), store: store,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for index in 0..<40 {
                let loop = threads.next()
                tasks.addTask {
                    let group = "g\(index % 8)"
                    let promise = loop.makePromise(of: GroupJoinResponse.self)
                    let request = GroupJoinRequest(
                        groupId: group, memberId: "", groupInstanceId: "i\(index)", clientId: "c",
                        clientHost: "/127.0.0.1", sessionTimeoutMs: 60_000, rebalanceTimeoutMs: 500,
                        protocolType: "consumer",
                        protocols: [GroupProtocol(name: "range", metadata: ByteBuffer())],
                        requiresKnownMemberId: true, supportsSkippingAssignment: true)
                    groups.join(request, on: loop) { promise.succeed($0) }
                    let answer = try await promise.futureResult.get()
                    #expect(answer.error == nil)
                    let member = GroupMemberIdentity(memberId: answer.memberId, groupInstanceId: "i\(index)")
                    let alive = Result { try groups.heartbeat(groupId: group, member, generationId: 0) }
                    #expect(throws: GroupError.self) { try alive.get() }
                    let committed = loop.makePromise(of: Void.self)
                    let commit = OffsetCommit(
                        groupId: "simple\(index)", positions: [.init(topic: "t", partition: 0, offset: Int64(index))])
                    groups.commit(commit, on: loop) { result in
                        #expect(result == .success([nil]))
                        committed.succeed()
                    }
                    try await committed.futureResult.get()
                }
            }
            try await tasks.waitForAll()
        }
        for index in 0..<40 {
            let read = try groups.committed(groupId: "simple\(index)", topics: nil)
            #expect(read.first?.positions.first?.offset?.offset == Int64(index))
        }
        groups.close()
        try await threads.shutdownGracefully()
    }
}
