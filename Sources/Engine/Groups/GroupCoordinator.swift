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
// What is durable is offsets; members join again after a restart (their ids are unknown then).

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
    let table: Mutex<GroupTable>
    /// Group ids are one namespace: whether a share group has this one.
    let isShareGroup = NIOLockedValueBox<@Sendable (String) -> Bool>({ _ in false })

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
            _ = table.withEntry(detached.groupId) { entry in
                entry.joins[token] = waiter
                let actions = entry.group.join(detached, newMemberId: newMemberId, token: token, nowMs: nowMs)
                entry.execute(actions, wallMs: wallMs, into: &outcome)
                arm(&entry)
            }
            if isNew { table.remove(detached.groupId, .ifVacant) }
            return nil
        }
        if let error {
            waiter.delivery(of: GroupJoinResponse(error: error, memberId: request.memberId)).deliver()
        }
        finish(outcome)
    }

    private func refusal(of request: GroupJoinRequest) -> GroupError? {
        if request.groupId.isEmpty || request.groupId.utf8.count > configuration.groupIdBytesMax {
            return .invalidGroupId
        }
        if isShareGroup.withLockedValue({ $0 })(request.groupId) { return .inconsistentGroupProtocol }
        // Kafka has no code for it; this one is fatal to clients, as it should be.
        if let instance = request.groupInstanceId, instance.utf8.count > configuration.groupIdBytesMax {
            return .invalidGroupId
        }
        let timeouts = configuration.minSessionTimeoutMs...configuration.maxSessionTimeoutMs
        if !timeouts.contains(request.sessionTimeoutMs) { return .invalidSessionTimeout }
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
            let found: Void? = table.withEntry(detached.groupId) { entry in
                entry.syncs[token] = waiter
                let actions = entry.group.sync(detached, token: token, nowMs: nowMs)
                entry.execute(actions, wallMs: wallMs, into: &outcome)
                arm(&entry)
            }
            return found == nil ? .unknownMemberId : nil
        }
        if let error { waiter.delivery(of: GroupSyncResponse(error: error)).deliver() }
        finish(outcome)
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
                do throws(GroupError) {
                    try entry.group.heartbeat(member, generationId: generationId, nowMs: nowMs)
                    return nil
                } catch {
                    return error
                }
            }
            return answer ?? .unknownMemberId
        }
        if let error { throw error }
    }

    /// One result per member, nil for success.
    package func leave(
        groupId: String, _ members: [GroupMemberIdentity]
    ) throws(GroupError) -> [GroupError?] {
        if groupId.isEmpty { throw .invalidGroupId }
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        let results = table.withLock { table -> [GroupError?]? in
            if table.isClosed { return nil }
            let results = table.withEntry(groupId) { entry -> [GroupError?] in
                let (results, actions) = entry.group.leave(members, nowMs: nowMs)
                entry.execute(actions, wallMs: wallMs, into: &outcome)
                arm(&entry)
                return results
            }
            return results ?? members.map { _ in .unknownMemberId }
        }
        finish(outcome)
        guard let results else { throw .coordinatorNotAvailable }
        return results
    }

    // MARK: Timers

    /// A timer that fires later than this, in ms, tells that the process was stopped or the machine asleep.
    private static let noticeablePauseMs: Int64 = 500

    var monotonicMs: Int64 { Int64(loop.now.uptimeNanoseconds / 1_000_000) }

    /// Moves the group's timer if a deadline lies before it.
    private func arm(_ entry: inout GroupEntry) {
        let deadlineMs = entry.group.nextDeadlineMs
        guard deadlineMs < entry.timerDeadlineMs else { return }
        entry.timer?.cancel()
        entry.timerDeadlineMs = deadlineMs
        let groupId = entry.group.id
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
            _ = table.withEntry(groupId) { entry in
                // A timer that was moved may fire all the same if it was about to.
                guard entry.timerDeadlineMs == deadlineMs else { return }
                entry.timer = nil
                entry.timerDeadlineMs = .max
                // Heartbeats of this time may lie in the sockets still.
                if stoodStill { entry.group.excuse(pauseMs: pauseMs, nowMs: nowMs) }
                entry.execute(entry.group.advance(nowMs: nowMs), wallMs: wallMs, into: &outcome)
                arm(&entry)
            }
        }
        if stoodStill {
            logger.warning("group \(groupId): the broker stood still for \(pauseMs) ms; its members' sessions begin anew")
        }
        finish(outcome)
    }

    // MARK: Shared

    /// Kafka's form: what the client calls itself, and a random (version 4) UUID. Cut, so that the id fits
    /// in a string of any version.
    private func makeMemberId(for request: GroupJoinRequest) -> String {
        let high = (random() & 0xffff_ffff_ffff_0fff) | 0x4000
        let low = (random() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
        let name = request.groupInstanceId ?? request.clientId
        let known = name.utf8.count <= 1_024 ? name : String(decoding: name.utf8.prefix(1_024), as: UTF8.self)
        return "\(known)-\(UUIDText.text(high: high, low: low))"
    }

    func finish(_ outcome: GroupOutcome) {
        for report in outcome.reports { log(report.event, of: report.groupId) }
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
        case .becameEmpty(let generation):
            logger.info("group \(groupId): generation \(generation) is empty")
        case .membersRemoved(let members, let cause):
            logger.info("group \(groupId): removed \(members.joined(separator: ", ")): \(cause)")
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
