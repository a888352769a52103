// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: a subscription as a member of a consumer group, the same one that Kafka's clients join (KIP-848).
//
//   joining --assignment--> owns partitions --assignment changes--> gives up, takes over, says so --> ...
//           --fenced--> joining again                     --call ends--> leaves
//           --nothing is read for too long--> stands aside --something is read--> joining again
//
// Confined to its connection's loop, where the heartbeats are sent as well: a member lives as long as its call and its
// connection do. A partition that is taken away is not read any more before the group is told; where it goes on elsewhere is what
// was committed. A subscriber that takes nothing for too long, although there is something, stands aside: it leaves the group,
// as a Kafka consumer does that does not poll, and is a member again when it reads.

import Bytes
import Contract
import Engine
import GRPCWire
import NIOCore
import Transport

final class SubscriptionMember: @unchecked Sendable {
    // Unchecked: see above.
    let groupId: String
    let memberId: String
    private(set) var epoch = ConsumerHeartbeat.joining
    private let instanceId: String?
    private let topics: [String]
    private let pattern: String?
    private unowned let subscription: Subscription
    private let call: GRPCCall
    private var owned: [TopicIdPartitions] = []
    private var mustTell = true
    private var isInFlight = false
    private var hasLeft = false
    private var standsAside = false
    private var timer: Scheduled<Void>?
    private let pollInterval: TimeAmount
    private var pollTimer: Scheduled<Void>?
    /// What the subscriber had taken when it was last seen to take something or to have nothing to take, and when that was.
    private var taken = (productions: 0, unsentBytes: 0)
    private var takenAt: NIODeadline

    init(_ request: Martlet_V1_SubscribeRequest, _ subscription: Subscription, _ call: GRPCCall) {
        groupId = request.member.group
        instanceId = request.member.instanceID.isEmpty ? nil : request.member.instanceID
        topics = request.topics.map(\.topic)
        pattern = request.topicPattern.isEmpty ? nil : Self.expression(request.topicPattern)
        var random = SystemRandomNumberGenerator()
        memberId = TopicId.random(using: &random).description
        self.subscription = subscription
        self.call = call
        let interval = request.member.maxPollIntervalMs
        pollInterval = .milliseconds(interval == 0 ? Limits.memberPollIntervalMs : Int64(interval))
        takenAt = call.loop.now
        watchReading()
    }

    /// The glob as the coordinator takes patterns.
    static func expression(_ glob: String) -> String {
        var expression = ""
        for character in glob {
            switch character {
            case "*": expression += ".*"
            case "?": expression += "."
            case ".": expression += "\\."
            default: expression.append(character)
            }
        }
        return expression
    }

    func heartbeat() {
        guard !hasLeft, !standsAside, !isInFlight else { return }
        timer?.cancel()
        timer = nil
        isInFlight = true
        let isJoining = epoch == ConsumerHeartbeat.joining
        var heartbeat = ConsumerHeartbeat(
            groupId: groupId, memberId: memberId, memberEpoch: epoch, instanceId: instanceId,
            rebalanceTimeoutMs: isJoining ? Limits.memberRebalanceMs : nil, clientId: call.clientId.isEmpty ? "grpc" : call.clientId,
            clientHost: "/\(call.peer.remoteAddress)", subscribedTopics: isJoining ? topics : nil,
            subscribedPattern: isJoining ? pattern : nil, owned: isJoining ? [] : (mustTell ? owned : nil))
        mustTell = false
        // A pattern passes over what the caller may not read, as without a group.
        let (access, client) = (call.engine.access, call.accessClient)
        heartbeat.mayDescribe = {
            access.decide(client, .read, .topic, $0, graceMs: AccessControl.patternGraceMs).isAllowed
        }
        send(heartbeat)
    }

    /// An external policy is asked before about what the pattern matches: nobody can wait while it is matched.
    private func send(_ heartbeat: ConsumerHeartbeat) {
        let groups = call.engine.groups
        guard call.asksPolicy else { return groups.heartbeat(heartbeat, on: call.loop) { self.answered($0) } }
        let names = groups.topicsToMatch(
            groupId: heartbeat.groupId, memberId: heartbeat.memberId, pattern: heartbeat.subscribedPattern)
        call.authorize({ for name in names { _ = self.call.maySee(.read, .topic, name) } }) {
            guard !self.hasLeft, !self.standsAside else { return self.isInFlight = false }
            groups.heartbeat(heartbeat, on: self.call.loop) { self.answered($0) }
        }
    }

    func leave() {
        guard !hasLeft else { return }
        hasLeft = true
        pollTimer?.cancel()
        pollTimer = nil
        if !standsAside { sayGoodbye() }
    }

    private func sayGoodbye() {
        timer?.cancel()
        timer = nil
        call.engine.groups.heartbeat(
            ConsumerHeartbeat(
                groupId: groupId, memberId: memberId,
                memberEpoch: instanceId == nil ? ConsumerHeartbeat.leaving : ConsumerHeartbeat.leavingForAWhile,
                instanceId: instanceId), on: call.loop) { _ in }
    }

    private func answered(_ result: Result<ConsumerHeartbeatAnswer, GroupRefusal>) {
        isInFlight = false
        guard !hasLeft, !standsAside else { return }
        switch result {
        case .success(let answer):
            let isNewEpoch = epoch != answer.memberEpoch
            epoch = answer.memberEpoch
            schedule(.milliseconds(Int64(answer.heartbeatIntervalMs)))
            if let assignment = answer.assignment, assignment != owned { return take(assignment) }
            if isNewEpoch { subscription.tellAssignment() }
        case .failure(let refusal):
            switch refusal.error {
            case .fencedMemberEpoch, .unknownMemberId:
                epoch = ConsumerHeartbeat.joining
                owned = []
                subscription.assign([])
                heartbeat()
            case .coordinatorLoadInProgress, .coordinatorNotAvailable:
                schedule(.seconds(1))
            default:
                subscription.end(
                    GRPCStatus(
                        GRPCStatus(refusal.error).code, refusal.message,
                        details: GRPCStatus(refusal.error).details).about("group", groupId))
            }
        }
    }

    private func schedule(_ delay: TimeAmount) {
        timer?.cancel()
        timer = call.loop.scheduleTask(in: delay) {
            self.timer = nil
            self.heartbeat()
        }
    }

    /// Gives up what is not in the assignment, and reads on from the commits in what is new.
    private func take(_ assignment: [TopicIdPartitions]) {
        owned = assignment
        mustTell = true
        let catalog = call.engine.topics
        let topics = assignment.compactMap { entry in catalog.topic(id: entry.topicId).map { (entry, $0) } }
        // A pattern may match what the caller may not read.
        call.authorize({ topics.first { !self.call.may(.read, .topic, $0.1.name) } }) { denied in
            guard !self.hasLeft, !self.standsAside, self.owned == assignment else { return }
            if let denied {
                return self.subscription.end(.denied(self.call.principal, .read, .topic, denied.1.name))
            }
            self.read(topics.flatMap { entry, topic in entry.partitions.compactMap { topic.partition($0) } }, of: assignment)
        }
    }

    private func read(_ partitions: [Partition], of assignment: [TopicIdPartitions]) {
        let added = subscription.assign(partitions)
        guard !added.isEmpty else { return heartbeat() }
        let wanted = Dictionary(grouping: added, by: \.topic).map {
            TopicPartitions(topic: $0.key, partitions: $0.value.map(\.index))
        }
        call.engine.groups.stableCommitted(groupId: groupId, topics: wanted, on: call.loop) { result in
            guard !self.hasLeft, !self.standsAside, self.owned == assignment else { return }
            switch result {
            case .failure(let error): self.subscription.end(GRPCStatus(error).about("group", self.groupId))
            case .success(let committed):
                self.subscription.read(added, from: committed)
                self.heartbeat()
            }
        }
    }
}

// MARK: - A subscriber that does not read

extension SubscriptionMember {
    /// The subscriber takes something, or has nothing left to take.
    func isRead() {
        guard standsAside, !hasLeft else { return }
        standsAside = false
        takenAt = call.loop.now
        call.loop.execute { self.heartbeat() }
    }

    /// Looks a few times an interval: a timer for every message would cost more than it tells.
    private func watchReading() {
        pollTimer = call.loop.scheduleTask(in: .nanoseconds(pollInterval.nanoseconds / 4)) {
            let now = self.call.loop.now
            let seen = (self.subscription.productions, self.call.unsentBytes)
            if !self.call.isHeldUp || seen != self.taken {
                self.taken = seen
                self.takenAt = now
            }
            if !self.standsAside, now - self.takenAt >= self.pollInterval { self.standAside() }
            self.watchReading()
        }
    }

    private func standAside() {
        standsAside = true
        sayGoodbye()
        epoch = ConsumerHeartbeat.joining
        owned = []
        subscription.assign([])
    }
}
