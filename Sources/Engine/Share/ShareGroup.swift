// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the members of one share group, as a pure machine: epochs, sessions, assignment (KIP-932).
//
//   empty --join--> stable --the last one leaves or its session ends--> empty
//
// The group epoch rises with every change of members, subscriptions or topics; a member's epoch follows with its next
// heartbeat, which brings the assignment. Partitions are shared: a topic's are dealt out in turn, and where there are fewer than
// members, several members have the same. Workers (gRPC) are members without a session, and have every partition.

package struct ShareGroup: Sendable {
    package struct Member: Sendable {
        package var id: ShareMemberId
        package var epoch: Int32 = 0
        package var previousEpoch: Int32 = 0
        package var rackId: String?
        package var clientId: String
        package var clientHost: String
        package var topics: [String]
        package var isWorker = false
        /// Topic → partitions.
        package var assignment: [String: [Int32]] = [:]
        /// When its session ends, monotonic ms; `.max` for a worker.
        var sessionEndsMs = Int64.max
    }

    package enum State: String, Sendable {
        case empty = "Empty"
        case stable = "Stable"
        case dead = "Dead"
    }

    /// What a member is told.
    package struct Answer: Sendable {
        package var memberEpoch: Int32
        /// nil: as before.
        package var assignment: [String: [Int32]]?
    }

    /// A heartbeat. `topics` is nil if the subscription is as before.
    package struct Heartbeat: Sendable {
        package var member: ShareMemberId
        package var epoch: Int32
        package var rackId: String?
        package var topics: [String]?
        package var clientId: String
        package var clientHost: String

        package init(
            member: ShareMemberId, epoch: Int32, rackId: String?, topics: [String]?, clientId: String, clientHost: String
        ) {
            self.member = member
            self.epoch = epoch
            self.rackId = rackId
            self.topics = topics
            self.clientId = clientId
            self.clientHost = clientHost
        }
    }

    package let id: String
    package private(set) var epoch: Int32 = 0
    package private(set) var members: [ShareMemberId: Member] = [:]
    /// The partition counts that the assignment was made from.
    private var assignedFrom: [String: Int] = [:]

    init(id: String) { self.id = id }

    package var state: State { members.isEmpty ? .empty : .stable }

    var nextSessionEndMs: Int64 { members.values.reduce(Int64.max) { min($0, $1.sessionEndsMs) } }

    /// Joins or stays. `partitionCount` says how many partitions a topic has, 0 if there is none.
    mutating func heartbeat(
        _ beat: Heartbeat, nowMs: Int64, sessionMs: Int64, membersMax: Int, partitionCount: (String) -> Int
    ) throws(ShareError) -> Answer {
        var hasChanged = false
        if var member = members[beat.member], !member.isWorker {
            guard beat.epoch == 0 || beat.epoch == member.epoch || beat.epoch == member.previousEpoch else {
                throw .fencedMemberEpoch
            }
            if let topics = beat.topics?.sorted(), topics != member.topics {
                member.topics = topics
                hasChanged = true
            }
            member.rackId = beat.rackId ?? member.rackId
            member.clientId = beat.clientId
            member.clientHost = beat.clientHost
            member.sessionEndsMs = nowMs + sessionMs
            members[beat.member] = member
        } else {
            guard beat.epoch == 0 else { throw .unknownMemberId }
            guard members.count < membersMax else { throw .groupMaxSizeReached }
            members[beat.member] = Member(
                id: beat.member, rackId: beat.rackId, clientId: beat.clientId, clientHost: beat.clientHost,
                topics: (beat.topics ?? []).sorted(), sessionEndsMs: nowMs + sessionMs)
            hasChanged = true
        }
        assignIfNeeded(hasChanged, partitionCount)
        guard var member = members[beat.member] else { throw .unknownMemberId }
        let isTold = beat.epoch == 0 || beat.topics != nil || member.epoch != epoch
        if member.epoch != epoch {
            member.previousEpoch = member.epoch
            member.epoch = epoch
            members[beat.member] = member
        }
        return Answer(memberEpoch: member.epoch, assignment: isTold ? member.assignment : nil)
    }

    /// A worker begins; it has all partitions of its topics.
    mutating func join(worker: Member, membersMax: Int, partitionCount: (String) -> Int) throws(ShareError) {
        guard members.count < membersMax else { throw .groupMaxSizeReached }
        var worker = worker
        worker.isWorker = true
        members[worker.id] = worker
        assignIfNeeded(true, partitionCount)
        members[worker.id]?.epoch = epoch
    }

    /// Whether it was a member.
    mutating func remove(_ member: ShareMemberId, partitionCount: (String) -> Int) -> Bool {
        guard members.removeValue(forKey: member) != nil else { return false }
        assignIfNeeded(true, partitionCount)
        return true
    }

    /// The members whose session has ended.
    func expired(nowMs: Int64) -> [ShareMemberId] {
        members.values.filter { $0.sessionEndsMs <= nowMs }.map(\.id)
    }

    /// The broker stood still: heartbeats of this time may lie in the sockets still.
    mutating func excuse(nowMs: Int64, sessionMs: Int64) {
        for (id, member) in members where member.sessionEndsMs != .max { members[id]?.sessionEndsMs = nowMs + sessionMs }
    }

    private mutating func assignIfNeeded(_ hasChanged: Bool, _ partitionCount: (String) -> Int) {
        let topics = Set(members.values.flatMap(\.topics))
        let counts = Dictionary(uniqueKeysWithValues: topics.map { ($0, partitionCount($0)) })
        guard hasChanged || counts != assignedFrom else { return }
        epoch += 1
        assignedFrom = counts
        for id in members.keys { members[id]?.assignment = [:] }
        for (topic, count) in counts where count > 0 {
            let subscribed = members.values.filter { $0.topics.contains(topic) }
            for worker in subscribed where worker.isWorker {
                members[worker.id]?.assignment[topic] = Array(0..<Int32(count))
            }
            deal(topic, count, to: subscribed.filter { !$0.isWorker }.map(\.id).sorted { $0.text < $1.text })
        }
    }

    private mutating func deal(_ topic: String, _ count: Int, to subscribers: [ShareMemberId]) {
        guard !subscribers.isEmpty else { return }
        for turn in 0..<max(count, subscribers.count) {
            members[subscribers[turn % subscribers.count]]?.assignment[topic, default: []].append(Int32(turn % count))
        }
    }
}
