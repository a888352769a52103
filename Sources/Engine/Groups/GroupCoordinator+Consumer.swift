// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the group coordinator for members of consumer groups (KIP-848), and what it knows of topics.
//
// A pattern is compiled and matched before the lock is taken; only if topics change at that moment again under it.

import Bytes
import NIOCore
import Synchronization

extension GroupCoordinator {
    /// A member joins, stays, or leaves. `completion` runs when what it is told is durable.
    package func heartbeat(
        _ request: ConsumerHeartbeat, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<ConsumerHeartbeatAnswer, GroupRefusal>) -> Void
    ) {
        let waiter = GroupWaiter(loop: loop, completion: completion)
        var request = request
        let pattern: ConsumerGroup.Resolved?
        do throws(GroupRefusal) {
            try check(request)
            if isShareGroup(request.groupId) {
                throw GroupRefusal(.groupIdNotFound, "Group \(request.groupId) is not a consumer group.")
            }
            pattern = try resolve(request.subscribedPattern, request.mayDescribe)
        } catch {
            return waiter.delivery(of: .failure(error)).deliver()
        }
        if request.memberId.isEmpty { request.memberId = makeMemberId() }
        let (nowMs, wallMs) = (monotonicMs, clock.nowMs())
        var outcome = GroupOutcome()
        let refusal = table.withLock { table -> GroupRefusal? in
            do throws(GroupRefusal) {
                try serve(
                    request, pattern: pattern, in: &table, nowMs: nowMs, wallMs: wallMs, waiter: waiter, into: &outcome)
                return nil
            } catch {
                return error
            }
        }
        if let refusal { waiter.delivery(of: .failure(refusal)).deliver() }
        finish(outcome, on: loop)
    }

    /// Under the lock.
    private func serve(
        _ request: ConsumerHeartbeat, pattern: ConsumerGroup.Resolved?, in table: inout GroupTable, nowMs: Int64,
        wallMs: Int64, waiter: GroupWaiter<Result<ConsumerHeartbeatAnswer, GroupRefusal>>,
        into outcome: inout GroupOutcome
    ) throws(GroupRefusal) {
        let groupId = request.groupId
        if table.isClosed { throw GroupRefusal(.coordinatorNotAvailable) }
        let isJoining = request.memberEpoch == ConsumerHeartbeat.joining
        guard table.groups[groupId] != nil || isJoining else {
            throw GroupRefusal(.groupIdNotFound, "Consumer group \(groupId) not found.")
        }
        guard !isJoining || (table.hasRoomForGroup(groupId) && table.hasRoomForMembership(request.retainedBytes)) else {
            throw GroupRefusal(.groupMaxSizeReached)
        }
        let isNew = table.groups[groupId] == nil
        if isNew { table.add(GroupEntry(group: ConsumerGroup(id: groupId, configuration: configuration))) }
        let overrides = table.overrides[groupId] ?? GroupOverrides()
        var refusal: GroupRefusal?
        input(groupId, &table, wallMs: wallMs, into: &outcome) { entry, topics, outcome in
            do throws(GroupRefusal) {
                let answer = try entry.answer(
                    request, pattern?.brought(up: topics, wallMs: wallMs), overrides, topics: topics, nowMs: nowMs,
                    wallMs: wallMs, into: &outcome)
                outcome.deliveries.append(
                    waiter.delivery(of: .success(answer)) { .failure(GroupRefusal($0)) })
            } catch {
                refusal = error
            }
        }
        guard let refusal else { return }
        if isNew { table.remove(groupId, .ifVacant) }
        throw refusal
    }

    // MARK: Check

    /// What Kafka calls an invalid request, in Kafka's words.
    private func check(_ request: ConsumerHeartbeat) throws(GroupRefusal) {
        func invalid(_ message: String) -> GroupRefusal { GroupRefusal(.invalidRequest, message) }
        if request.memberId.isEmpty && (!request.mayLackId || request.memberEpoch != ConsumerHeartbeat.joining) {
            throw invalid("MemberId can't be empty.")
        }
        if request.groupId.isEmpty { throw invalid("GroupId can't be empty.") }
        if request.instanceId?.isEmpty == true { throw invalid("InstanceId can't be empty.") }
        if request.rackId?.isEmpty == true { throw invalid("RackId can't be empty.") }
        switch request.memberEpoch {
        case ConsumerHeartbeat.joining:
            if request.rebalanceTimeoutMs == nil {
                throw invalid("RebalanceTimeoutMs must be provided in first request.")
            }
            if request.owned?.isEmpty != true { throw invalid("TopicPartitions must be empty when (re-)joining.") }
            if request.subscribedTopics == nil && request.subscribedPattern == nil {
                throw invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
            }
        case ConsumerHeartbeat.leavingForAWhile:
            if request.instanceId == nil { throw invalid("InstanceId can't be null.") }
        case ..<ConsumerHeartbeat.leavingForAWhile: throw invalid("MemberEpoch is invalid.")
        default: break
        }
        if let assignor = request.assignor, !configuration.consumerAssignors.contains(where: { $0.rawValue == assignor }) {
            let known = configuration.consumerAssignors.map(\.rawValue).joined(separator: ", ")
            throw GroupRefusal(
                .unsupportedAssignor,
                "ServerAssignor \(assignor) is not supported. Supported assignors: \(known).")
        }
        try checkSizes(request)
    }

    private func checkSizes(_ request: ConsumerHeartbeat) throws(GroupRefusal) {
        guard request.groupId.utf8.count <= configuration.groupIdBytesMax,
            request.instanceId?.utf8.count ?? 0 <= configuration.groupIdBytesMax
        else { throw GroupRefusal(.invalidGroupId) }
        guard request.memberId.utf8.count <= configuration.memberIdBytesMax else {
            throw GroupRefusal(
                .invalidRequest, "MemberId is longer than \(configuration.memberIdBytesMax) bytes.")
        }
        guard request.retainedBytes <= configuration.memberBytesMax else { throw GroupRefusal(.groupMaxSizeReached) }
    }

    private func resolve(_ text: String?, _ rights: TopicRights?) throws(GroupRefusal) -> ConsumerGroup.Resolved? {
        guard let text, !text.isEmpty else { return nil }
        let pattern: TopicPattern
        do throws(TopicPatternError) {
            pattern = try TopicPattern(text)
        } catch {
            throw GroupRefusal(
                .invalidRegularExpression,
                "SubscribedTopicRegex `\(text.prefix(1_000))` is not a valid regular expression: \(error).")
        }
        let topics = table.withLock { $0.topics }
        let empty = ConsumerGroup.Resolved(
            pattern: pattern, topics: [], version: -1, timestampMs: 0, mayDescribe: rights)
        return empty.brought(up: topics, wallMs: clock.nowMs())
    }

    /// Kafka's form of the id that a coordinator makes.
    private func makeMemberId() -> String {
        TopicId(random: randomWord).description
    }

    // MARK: Look

    /// One description per id, in order; nil: there is no such consumer group.
    package func describeConsumerGroups(_ groupIds: [String]) throws(GroupError) -> [ConsumerGroupDescription?] {
        let found = table.withLock { table -> [ConsumerGroupDescription?]? in
            if table.isClosed { return nil }
            return groupIds.map { table.groups[$0]?.consumer?.description(table.topics) }
        }
        guard let found else { throw .coordinatorNotAvailable }
        return found
    }

    /// Whether a member may read the group's offsets with this epoch. Groups that are not there have none.
    package func checkFetch(groupId: String, memberId: String?, memberEpoch: Int32) throws(GroupError) {
        if memberId == nil && memberEpoch < 0 { return }
        let error = table.withLock { table -> GroupError? in
            guard let entry = table.groups[groupId] else { return nil }
            do throws(GroupError) {
                try entry.consumer?.validateFetch(memberId, epoch: memberEpoch)
                return nil
            } catch {
                return error
            }
        }
        if let error { throw error }
    }

    /// What is configured for this group alone, from the next heartbeat on; nil: nothing.
    package func override(_ overrides: GroupOverrides?, of groupId: String) {
        table.withLock { $0.overrides[groupId] = overrides }
    }

    // MARK: Topics

    /// Called by the catalog for each change, in order for each topic, before others see it. Under no lock of the
    /// catalog.
    package func topicChanged(_ change: TopicChange) {
        let wallMs = clock.nowMs()
        table.withLock { table in
            table.topics.apply(change)
            table.tellConsumers(of: change, wallMs: wallMs)
        }
    }
}

extension ConsumerGroup.Resolved {
    /// The same pattern, matched against these topics.
    fileprivate func brought(up topics: GroupTopics, wallMs: Int64) -> ConsumerGroup.Resolved {
        if topics.version == version { return self }
        var fresh = self
        fresh.topics = Set(topics.byName.keys.filter(covers))
        fresh.version = topics.version
        fresh.timestampMs = wallMs
        return fresh
    }
}

extension GroupEntry {
    /// A heartbeat's answer. One that is refused leaves the entry as it was.
    fileprivate mutating func answer(
        _ request: ConsumerHeartbeat, _ pattern: ConsumerGroup.Resolved?, _ overrides: GroupOverrides,
        topics: GroupTopics, nowMs: Int64, wallMs: Int64, into outcome: inout GroupOutcome
    ) throws(GroupRefusal) -> ConsumerHeartbeatAnswer {
        if consumer == nil {
            guard request.memberEpoch == ConsumerHeartbeat.joining else {
                throw GroupRefusal(.groupIdNotFound, "Group \(id) is not a consumer group.")
            }
            var converted = self
            var local = GroupOutcome()
            try converted.becomeConsumer(topics: topics, nowMs: nowMs, wallMs: wallMs, into: &local)
            let answer = try converted.answer(
                request, pattern, overrides, topics: topics, nowMs: nowMs, wallMs: wallMs, into: &local)
            self = converted
            outcome.reports += local.reports
            outcome.deliveries += local.deliveries
            return answer
        }
        let result = withConsumer { group -> Result<ConsumerHeartbeatAnswer, GroupRefusal> in
            do throws(GroupRefusal) {
                group.overrides = overrides
                if request.isLeaving { return .success(try group.leave(request, topics: topics, nowMs: nowMs)) }
                return .success(
                    try group.heartbeat(
                        request, memberId: request.memberId, pattern: pattern, topics: topics, nowMs: nowMs))
            } catch {
                return .failure(error)
            }
        }
        guard let result else { throw GroupRefusal(.unknownServerError) }
        return try result.get()
    }
}

extension GroupTable {
    fileprivate mutating func tellConsumers(of change: TopicChange, wallMs: Int64) {
        for groupId in Array(groups.keys) where groups[groupId]?.consumer?.members.isEmpty == false {
            let version = topics.version
            _ = withEntry(groupId) { entry in
                entry.withConsumer { $0.topicChanged(change, version: version, wallMs: wallMs) }
            }
        }
    }
}

extension GroupCoordinator {
    /// At start: a group as its records tell.
    func restore(
        _ groupId: String, _ image: GroupImage, to table: inout GroupTable, nowMs: Int64, wallMs: Int64,
        into outcome: inout GroupOutcome
    ) {
        var entry: GroupEntry
        if var group = image.consumerGroup(id: groupId, configuration: configuration) {
            group.overrides = table.overrides[groupId] ?? GroupOverrides()
            group.expectEverybody(nowMs: nowMs)
            group.resolvePatterns(table.topics, wallMs: wallMs)
            entry = GroupEntry(group: group)
        } else if let (group, sinceMs) = image.classicGroup(id: groupId, configuration: configuration, nowMs: nowMs) {
            entry = GroupEntry(group: group)
            if group.state == .empty { entry.idleSinceMs = sinceMs }
        } else if !image.recorded.isEmpty {
            // Parts of a group that is none: they are deleted when the group is used or cleaned up.
            entry = GroupEntry(group: ClassicGroup(id: groupId, configuration: configuration))
        } else {
            return
        }
        entry.loaded(image.recorded)
        arm(&entry)
        table.add(entry)
    }
}
