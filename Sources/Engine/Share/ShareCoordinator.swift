// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: share groups (KIP-932) and their queues, for Kafka's share consumers and for gRPC workers alike.
//
// Safe to call from any thread. The groups' members and sessions are in one `ShareTable` under one lock, held for one look or
// one change, never across a callback or a write, and never while a queue's lock is taken. What is known of records is in the queues,
// each under its own lock. Completions run on the event loop that the caller names.
// docs/decisions/0020-share-groups.md says what is durable and in which order. Beside this file: +State, +Sessions, +Administration.

import Bytes
import Logging
import NIOCore
import Synchronization

package final class ShareCoordinator: Sendable {
    package let configuration: ShareConfiguration
    let context: ShareContext
    let topics: TopicCatalog
    let table = Mutex(ShareTable())
    /// Whether a group id belongs to a group of another type: they share one namespace.
    private let isOtherGroup: @Sendable (String) -> Bool
    /// What a group has set itself, by key.
    let overrides: @Sendable (String) -> [String: String]

    init(
        configuration: ShareConfiguration, clock: any Clock, loop: any EventLoop, log: InternalTopic, topics: TopicCatalog,
        turns: Turns, logger: Logger, isOtherGroup: @escaping @Sendable (String) -> Bool,
        overrides: @escaping @Sendable (String) -> [String: String]
    ) {
        self.overrides = overrides
        self.configuration = configuration
        self.topics = topics
        self.isOtherGroup = isOtherGroup
        context = ShareContext(
            configuration: configuration, log: log, turns: turns, clock: clock, loop: loop, logger: logger,
            deadLetters: DeadLetterWriter(
                topics: topics, turns: turns, createsTopics: configuration.createsDeadLetterTopics,
                nowMs: { clock.nowMs() }))
    }

    // MARK: Members

    /// Joins, stays in or (epoch -1) leaves a group. On `loop`.
    package func heartbeat(
        _ groupId: String, _ beat: ShareGroup.Heartbeat, on loop: any EventLoop
    ) throws(ShareError) -> ShareGroup.Answer {
        try check(groupId)
        if beat.epoch == -1 {
            try leave(groupId, beat.member, on: loop)
            return ShareGroup.Answer(memberEpoch: -1, assignment: nil)
        }
        let nowMs = context.monotonicMs
        let answer = try change(groupId, creating: beat.epoch == 0) { (entry) throws(ShareError) in
            try entry.group.heartbeat(
                beat, nowMs: nowMs, sessionMs: self.configuration.sessionTimeoutMs,
                membersMax: self.configuration.membersMax, partitionCount: self.partitionCount)
        }
        armSessionTimer()
        return answer
    }

    /// A worker begins: a member without a session, until `leave`. On its loop.
    package func join(
        worker: ShareMemberId, of groupId: String, topics: [String], clientHost: String
    ) throws(ShareError) {
        try check(groupId)
        try change(groupId, creating: true) { (entry) throws(ShareError) in
            try entry.group.join(
                worker: ShareGroup.Member(
                    id: worker, clientId: "martlet.v1.Work", clientHost: clientHost, topics: topics.sorted()),
                membersMax: self.configuration.membersMax, partitionCount: self.partitionCount)
        }
    }

    /// A member leaves: what it holds is available again. On `loop`.
    package func leave(_ groupId: String, _ member: ShareMemberId, on loop: any EventLoop) throws(ShareError) {
        let queues = try change(groupId, creating: false) { (entry) throws(ShareError) in
            guard entry.group.remove(member, partitionCount: self.partitionCount) else { throw .unknownMemberId }
            return Array(entry.queues.values)
        }
        table.withLock { $0.sessions.remove(ShareSessionKey(groupId: groupId, member: member)) }
        for queue in queues { queue.release(member, on: loop) }
    }

    func check(_ groupId: String) throws(ShareError) {
        guard !groupId.isEmpty, groupId.utf8.count <= configuration.groupIdBytesMax else { throw .invalidGroupId }
        guard !isOtherGroup(groupId) else { throw .groupIdNotFound }
    }

    func partitionCount(_ topic: String) -> Int { topics.topic(named: topic)?.partitionCount ?? 0 }

    /// Changes one group under the lock. The partition counts that `body` asks for are behind locks of topics, which take no others.
    func change<T>(
        _ groupId: String, creating: Bool, _ body: (inout ShareTable.Entry) throws(ShareError) -> T
    ) throws(ShareError) -> T {
        let result = table.withLock { table -> Result<T, ShareError> in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            if table.entries[groupId] == nil {
                guard creating else { return .failure(.groupIdNotFound) }
                guard table.entries.count < configuration.groupsMax else { return .failure(.groupMaxSizeReached) }
                table.entries[groupId] = ShareTable.Entry(group: ShareGroup(id: groupId))
            }
            guard var entry = table.entries[groupId] else { return .failure(.groupIdNotFound) }
            do throws(ShareError) {
                let value = try body(&entry)
                table.entries[groupId] = entry
                return .success(value)
            } catch {
                // A group that was made for nothing.
                if entry.isVacant { table.entries[groupId] = nil }
                return .failure(error)
            }
        }
        return try result.get()
    }

    // MARK: Session timeouts

    /// A timer that fires later than this, in ms, tells that the process was stopped or the machine asleep.
    private static let noticeablePauseMs: Int64 = 500

    private func armSessionTimer() {
        table.withLock { table in
            let nextMs = table.entries.values.reduce(Int64.max) { min($0, $1.group.nextSessionEndMs) }
            guard nextMs < table.timerAtMs, !table.isClosed else { return }
            table.timer?.cancel()
            table.timerAtMs = nextMs
            table.timer = context.loop.scheduleTask(deadline: .uptimeNanoseconds(UInt64(max(0, nextMs)) * 1_000_000)) {
                [weak self] in
                self?.sessionTimerFired(nextMs)
            }
        }
    }

    private func sessionTimerFired(_ atMs: Int64) {
        let nowMs = context.monotonicMs
        let gone = table.withLock { table -> [(groupId: String, member: ShareMemberId)] in
            guard table.timerAtMs == atMs else { return [] }
            table.timer = nil
            table.timerAtMs = .max
            if nowMs - atMs >= Self.noticeablePauseMs {
                for groupId in table.entries.keys {
                    table.entries[groupId]?.group.excuse(nowMs: nowMs, sessionMs: configuration.sessionTimeoutMs)
                }
            }
            return table.entries.flatMap { groupId, entry in entry.group.expired(nowMs: nowMs).map { (groupId, $0) } }
        }
        for (groupId, member) in gone {
            context.logger.info("group \(groupId): removed \(member): its session timed out")
            // It may have left meanwhile.
            try? leave(groupId, member, on: context.loop)
        }
        armSessionTimer()
    }
}

/// Everything the coordinator keeps but the records' states.
struct ShareTable: Sendable {
    struct Entry: Sendable {
        var group: ShareGroup
        var queues: [SharePlace: ShareQueue] = [:]

        var isVacant: Bool { group.members.isEmpty && queues.isEmpty }
    }

    var entries: [String: Entry] = [:]
    var sessions = ShareSessions()
    /// Read at start, of topics that do not exist any more.
    var orphans: [ShareKey] = []
    var isClosed = false
    var timer: Scheduled<Void>?
    var timerAtMs = Int64.max
}

extension ShareGroupSettings {
    /// The broker's own, without any of a group's.
    init(_ broker: ShareConfiguration) {
        do throws(EngineError) {
            try self.init([:], broker)
        } catch {
            preconditionFailure("no setting was refused: \(error)")
        }
    }
}
