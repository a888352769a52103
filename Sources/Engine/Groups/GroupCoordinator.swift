// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the group coordinator: membership of consumer groups, and their committed offsets.
//
// Safe to call from any thread. Everything it keeps is in one `GroupTable` under one lock (`table`), which is
// held for one input of one group or one pass over the table, never across a callback, a log call or a write
// to a log of committed offsets. Under it, only event loops' own locks are taken (to schedule and cancel timers).
// Answers are delivered on the event loop that the caller names: directly, possibly before the call returns, when
// the caller is on it, else by a hop. A parked answer whose reader is gone is delivered all the same; the
// reader's side drops it.
//
// Timers: one per group, on the coordinator's own loop, never later than the group's next deadline. It is
// moved when a deadline comes earlier and left alone when one moves away, so a heartbeat costs no timer.
//
// Time: sessions and rebalances are measured by the loop's monotonic time, offsets' retention by the clock's
// wall time. Randomness: only member ids, from `random`.
//
// Offsets and groups are durable. What an input changed of a group is queued for the log before the lock is released,
// and its answers go when that, and all that was written of the group before, is durable. If the log refuses, they are
// errors, and the same records are written with the next change.

import Bytes
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

package final class GroupCoordinator: Sendable {
    package let configuration: GroupConfiguration
    let clock: any Clock
    let loop: any EventLoop
    let store: any OffsetStore
    let logger: Logger
    private let random: @Sendable () -> UInt64
    var randomWord: () -> UInt64 { random }
    let table: Mutex<GroupTable>
    /// Group ids are one namespace: whether a share group has this one.
    let shares = NIOLockedValueBox(WeakShares())

    package init(
        configuration: GroupConfiguration, clock: any Clock, loop: any EventLoop, store: any OffsetStore,
        logger: Logger, random: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) }
    ) {
        self.configuration = configuration
        self.clock = clock
        self.loop = loop
        self.store = store
        self.logger = logger
        self.random = random
        table = Mutex(GroupTable(configuration: configuration))
    }

    // MARK: Join, sync

    /// `completion` runs when the member is told its place in the next generation, or why it has none.
    package func join(
        _ request: GroupJoinRequest, on loop: any EventLoop,
        completion: @escaping @Sendable (GroupJoinResponse) -> Void
    ) {
        let waiter = GroupWaiter(loop: loop, completion: completion)
        if let error = refusal(of: request) {
            return waiter.delivery(of: GroupJoinResponse(error: error, memberId: request.memberId)).deliver()
        }
        var detached = request
        detached.protocols = request.protocols.map {
            GroupProtocol(name: $0.name, metadata: ByteBuffer(buffer: $0.metadata))
        }
        let newMemberId = request.memberId.isEmpty ? makeMemberId(for: request) : ""
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        let error = table.withLock { table -> GroupError? in
            if let error = table.admission(of: detached) { return error }
            let isNew = table.createIfMissing(detached.groupId)
            let token = table.makeToken()
            input(detached.groupId, &table, wallMs: wallMs, into: &outcome) { entry, topics, outcome in
                entry.joins[token] = waiter
                if entry.consumer != nil && entry.isEmpty {
                    entry.become(ClassicGroup(id: entry.id, configuration: configuration))
                }
                let actions =
                    entry.withClassic {
                        $0.join(detached, newMemberId: newMemberId, token: token, nowMs: nowMs)
                    } ?? entry.withConsumer {
                        [.answerJoin(token, $0.join(detached, newMemberId: newMemberId, topics: topics, nowMs: nowMs))]
                    } ?? []
                entry.execute(actions, wallMs: wallMs, into: &outcome)
            }
            if isNew { table.remove(detached.groupId, .ifVacant) }
            return nil
        }
        if let error {
            waiter.delivery(of: GroupJoinResponse(error: error, memberId: request.memberId)).deliver()
        }
        finish(outcome, on: loop)
    }

    private func refusal(of request: GroupJoinRequest) -> GroupError? {
        if request.groupId.isEmpty || request.groupId.utf8.count > configuration.groupIdBytesMax {
            return .invalidGroupId
        }
        if isShareGroup(request.groupId) { return .inconsistentGroupProtocol }
        // Kafka has no code for it; this one is fatal to clients, as it should be.
        if let instance = request.groupInstanceId, instance.utf8.count > configuration.groupIdBytesMax {
            return .invalidGroupId
        }
        let timeouts = configuration.minSessionTimeoutMs...configuration.maxSessionTimeoutMs
        if !timeouts.contains(request.sessionTimeoutMs) { return .invalidSessionTimeout }
        // They become strings of records.
        let names = [request.protocolType, request.clientId] + request.protocols.map(\.name)
        if names.contains(where: { $0.utf8.count > Int(Int16.max) }) { return .inconsistentGroupProtocol }
        if request.memberId.utf8.count > configuration.memberIdBytesMax { return .unknownMemberId }
        return request.retainedBytes > configuration.memberBytesMax ? .groupMaxSizeReached : nil
    }

    /// `completion` runs when the member's assignment is known, or why it has none.
    package func sync(
        _ request: GroupSyncRequest, on loop: any EventLoop,
        completion: @escaping @Sendable (GroupSyncResponse) -> Void
    ) {
        let waiter = GroupWaiter(loop: loop, completion: completion)
        let bytes = request.assignments.reduce(0) { $0 + $1.assignment.readableBytes }
        var refusal: GroupError?
        if request.groupId.isEmpty { refusal = .invalidGroupId }
        if bytes > configuration.assignmentBytesMax { refusal = .unknownServerError }
        if let refusal {
            return waiter.delivery(of: GroupSyncResponse(error: refusal)).deliver()
        }
        var detached = request
        detached.assignments = request.assignments.map {
            .init(memberId: $0.memberId, assignment: ByteBuffer(buffer: $0.assignment))
        }
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        let error = table.withLock { table -> GroupError? in
            if table.isClosed { return .coordinatorNotAvailable }
            if bytes > 0 && !table.hasRoomForMembership(bytes) { return .unknownServerError }
            let token = table.makeToken()
            let isFound = input(detached.groupId, &table, wallMs: wallMs, into: &outcome) { entry, topics, outcome in
                entry.syncs[token] = waiter
                let actions =
                    entry.withClassic { $0.sync(detached, token: token, nowMs: nowMs) }
                    ?? entry.withConsumer { [.answerSync(token, $0.sync(detached, topics: topics, nowMs: nowMs))] }
                    ?? []
                entry.execute(actions, wallMs: wallMs, into: &outcome)
            }
            return isFound ? nil : .unknownMemberId
        }
        if let error { waiter.delivery(of: GroupSyncResponse(error: error)).deliver() }
        finish(outcome, on: loop)
    }

    // MARK: Heartbeat, leave

    package func heartbeat(
        groupId: String, _ member: GroupMemberIdentity, generationId: Int32
    ) throws(GroupError) {
        if groupId.isEmpty { throw .invalidGroupId }
        let nowMs = monotonicMs
        let error = table.withLock { table -> GroupError? in
            if table.isClosed { return .coordinatorNotAvailable }
            let answer = table.withEntry(groupId) { entry -> GroupError? in
                defer { arm(&entry) }
                if let answer = entry.withClassic({ $0.heartbeatError(member, generationId, nowMs) }) { return answer }
                return entry.withConsumer { $0.heartbeatError(member, generationId, nowMs) } ?? .unknownMemberId
            }
            return answer ?? .unknownMemberId
        }
        if let error { throw error }
    }

    /// On success one result per member, nil for success.
    package func leave(
        groupId: String, _ members: [GroupMemberIdentity], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<[GroupError?], GroupError>) -> Void
    ) {
        let waiter = GroupWaiter(loop: loop, completion: completion)
        if groupId.isEmpty { return waiter.delivery(of: .failure(.invalidGroupId)).deliver() }
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        let refusal = table.withLock { table -> Result<[GroupError?], GroupError>? in
            if table.isClosed { return .failure(.coordinatorNotAvailable) }
            let isFound = input(groupId, &table, wallMs: wallMs, into: &outcome) { entry, topics, outcome in
                let (results, actions) =
                    entry.withClassic { $0.leave(members, nowMs: nowMs) }
                    ?? entry.withConsumer { ($0.leave(members, topics: topics, nowMs: nowMs), []) } ?? ([], [])
                entry.execute(actions, wallMs: wallMs, into: &outcome)
                outcome.deliveries.append(waiter.delivery(of: .success(results)) { .failure($0) })
            }
            return isFound ? nil : .success(members.map { _ in .unknownMemberId })
        }
        if let refusal { waiter.delivery(of: refusal).deliver() }
        finish(outcome, on: loop)
    }

    // MARK: Timers

    /// A timer that fires later than this, in ms, tells that the process was stopped or the machine asleep.
    private static let noticeablePauseMs: Int64 = 500

    var monotonicMs: Int64 { Int64(loop.now.uptimeNanoseconds / 1_000_000) }

    /// Moves the group's timer if a deadline lies before it.
    func arm(_ entry: inout GroupEntry) {
        let deadlineMs = entry.nextDeadlineMs
        guard deadlineMs < entry.timerDeadlineMs else { return }
        entry.timer?.cancel()
        entry.timerDeadlineMs = deadlineMs
        let groupId = entry.id
        entry.timer = loop.scheduleTask(
            deadline: .uptimeNanoseconds(UInt64(max(deadlineMs, 0)) * 1_000_000)
        ) { [weak self] in
            self?.timerFired(groupId, deadlineMs)
        }
    }

    private func timerFired(_ groupId: String, _ deadlineMs: Int64) {
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        let pauseMs = nowMs - deadlineMs
        let stoodStill = pauseMs >= Self.noticeablePauseMs
        var outcome = GroupOutcome()
        table.withLock { table in
            _ = input(groupId, &table, wallMs: wallMs, into: &outcome) { entry, topics, outcome in
                // A timer that was moved may fire all the same if it was about to.
                guard entry.timerDeadlineMs == deadlineMs else { return }
                entry.timer = nil
                entry.timerDeadlineMs = .max
                let actions = entry.withClassic { group -> [GroupAction] in
                    // Heartbeats of this time may lie in the sockets still.
                    if stoodStill { group.excuse(pauseMs: pauseMs, nowMs: nowMs) }
                    return group.advance(nowMs: nowMs)
                }
                entry.withConsumer { group in
                    if stoodStill { group.excuse(pauseMs: pauseMs, nowMs: nowMs) }
                    group.advance(topics: topics, nowMs: nowMs)
                }
                entry.execute(actions ?? [], wallMs: wallMs, into: &outcome)
            }
        }
        if stoodStill {
            logger.warning("group \(groupId): the broker stood still for \(pauseMs) ms; its members' sessions begin anew")
        }
        finish(outcome, on: loop)
    }

    // MARK: Shared

    /// Hands an input to a group's state machine and does what every input entails. False: there is no such group.
    @discardableResult
    func input(
        _ groupId: String, _ table: inout GroupTable, wallMs: Int64, into outcome: inout GroupOutcome,
        _ body: (inout GroupEntry, GroupTopics, inout GroupOutcome) -> Void
    ) -> Bool {
        let topics = table.topics
        let nowMs = monotonicMs
        var local = GroupOutcome()
        let found: Void? = table.withEntry(groupId) { entry in
            body(&entry, topics, &local)
            entry.settleConsumer(topics: topics, nowMs: nowMs, wallMs: wallMs, into: &local)
            arm(&entry)
        }
        if found == nil { return false }
        table.settle(groupId, local, wallMs: wallMs, into: &outcome)
        return true
    }

    /// Kafka's form: what the client calls itself, and a random (version 4) UUID. Cut, so that the id fits
    /// in a string of any version.
    private func makeMemberId(for request: GroupJoinRequest) -> String {
        let high = (random() & 0xffff_ffff_ffff_0fff) | 0x4000
        let low = (random() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
        let name = request.groupInstanceId ?? request.clientId
        let known = name.utf8.count <= 1_024 ? name : String(decoding: name.utf8.prefix(1_024), as: UTF8.self)
        return "\(known)-\(UUIDText.text(high: high, low: low))"
    }

    func finish(_ outcome: GroupOutcome, on loop: any EventLoop) {
        for report in outcome.reports { log(report.event, of: report.groupId) }
        if outcome.mustFlush { scheduleFlush(on: loop) }
        for delivery in outcome.deliveries { delivery.deliver() }
    }

    private func log(_ event: GroupEvent, of groupId: String) {
        switch event {
        case .rebalanceStarted(let generation, let reason):
            logger.debug("group \(groupId): rebalancing generation \(generation): \(reason)")
        case .joinCompleted(let generation, let members, let leader, let name):
            logger.info("group \(groupId): generation \(generation), \(members) members, \(name), led by \(leader)")
        case .stabilized(let generation, let members):
            logger.debug("group \(groupId): generation \(generation) is stable with \(members) members")
        case .epochRaised(let epoch, let members):
            logger.debug("group \(groupId): epoch \(epoch) with \(members) members")
        case .becameEmpty(let generation):
            logger.info("group \(groupId): generation \(generation) is empty")
        case .membersRemoved(let members, let cause):
            logger.info("group \(groupId): removed \(members.joined(separator: ", ")): \(cause)")
        }
    }
}

extension ClassicGroup {
    fileprivate mutating func heartbeatError(
        _ member: GroupMemberIdentity, _ generationId: Int32, _ nowMs: Int64
    ) -> GroupError? {
        do throws(GroupError) {
            try heartbeat(member, generationId: generationId, nowMs: nowMs)
            return nil
        } catch {
            return error
        }
    }
}

extension ConsumerGroup {
    fileprivate mutating func heartbeatError(
        _ member: GroupMemberIdentity, _ generationId: Int32, _ nowMs: Int64
    ) -> GroupError? {
        do throws(GroupRefusal) {
            try heartbeat(member, generationId: generationId, nowMs: nowMs)
            return nil
        } catch {
            return error.error
        }
    }
}

extension GroupTable {
    /// Why a join cannot even be looked at.
    fileprivate func admission(of request: GroupJoinRequest) -> GroupError? {
        if isClosed { return .coordinatorNotAvailable }
        // Whoever has an id got it from a group that exists; only members without one found a group.
        if !request.memberId.isEmpty && groups[request.groupId] == nil { return .unknownMemberId }
        guard hasRoomForGroup(request.groupId), hasRoomForMembership(request.retainedBytes) else {
            return .groupMaxSizeReached
        }
        return nil
    }
}

extension GroupCoordinator {
    /// Groups of all kinds share their names.
    func isShareGroup(_ groupId: String) -> Bool { shares.withLockedValue { $0.coordinator }?.contains(groupId) ?? false }
}

/// The coordinator of share groups, which holds this one in turn.
struct WeakShares {
    weak var coordinator: ShareCoordinator?
}
