// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a classic group of consumers becomes a consumer group, and the other way round, while members are
// in it (KIP-848's online migration).
//
// Pure functions of the two state machines. The generation goes on as the group's epoch and back, so that members of
// the other protocol keep what they have until they are asked to join again.

import Bytes
import NIOCore

extension ConsumerGroup {
    /// The same group with its classic members, each with what it has; nil if they do not use Kafka's embedded consumer
    /// protocol, or if that is not configured.
    init?(upgrading classic: ClassicGroup, topics all: GroupTopics, nowMs: Int64) {
        let configuration = classic.configuration
        guard configuration.consumerMigration.allowsUpgrade, classic.members.count <= configuration.consumerMembersMax,
            classic.protocolType == ConsumerSubscription.protocolType
        else { return nil }
        self.init(id: classic.id, configuration: configuration)
        groupEpoch = classic.generationId
        assignmentEpoch = classic.generationId
        for old in classic.membersByAge {
            let metadata = old.metadata(of: classic.protocolName ?? old.protocols.first?.name)
            guard let subscription = ConsumerSubscription(metadata),
                let assignment = ConsumerSubscription.assignment(in: old.assignment)
            else { return nil }
            var member = ConsumerGroupMember(id: old.id)
            member.epoch = classic.generationId
            member.previousEpoch = classic.generationId
            member.instanceId = old.groupInstanceId
            member.rackId = subscription.rackId
            member.rebalanceTimeoutMs = Int32(clamping: old.rebalanceTimeoutMs)
            member.clientId = old.clientId
            member.clientHost = old.clientHost
            member.subscribedTopics = Set(subscription.topics).sorted()
            // A leader may have given a partition to two.
            for each in assignment {
                guard let topic = all.byName[each.topic] else { continue }
                for partition in each.partitions where !isHeld(topic.id, partition) {
                    member.assigned.insert(topic.id, partition)
                }
            }
            member.classic = ConsumerGroupMember.Classic(
                sessionTimeoutMs: Int32(clamping: old.sessionTimeoutMs), protocols: old.protocols)
            put(member)
            setTarget(member.assigned, of: member.id)
        }
        changes.formUnion([.metadata, .targetEpoch])
        expectEverybody(nowMs: nowMs)
    }
}

extension ClassicGroup {
    /// The same group with its members, all of which speak the classic protocol. Stable, with what was planned for each
    /// as its assignment; the caller has it rebalance.
    init(downgrading consumer: ConsumerGroup, topics all: GroupTopics, nowMs: Int64) {
        let members = consumer.membersById.enumerated().map { index, old in
            var member = GroupMember(
                id: old.id, groupInstanceId: old.instanceId, clientId: old.clientId, clientHost: old.clientHost,
                sessionTimeoutMs: Int64(old.classic?.sessionTimeoutMs ?? 0),
                rebalanceTimeoutMs: Int64(max(old.rebalanceTimeoutMs, 0)), protocols: old.classic?.protocols ?? [],
                sequence: UInt64(index))
            if let classic = old.classic {
                member.assignment = consumer.encode(
                    consumer.targets[old.id] ?? TopicAssignment(), for: classic, topics: all)
            }
            return member
        }
        self.init(
            id: consumer.id, configuration: consumer.configuration, generationId: consumer.groupEpoch,
            protocolType: ConsumerSubscription.protocolType, protocolName: nil, leaderId: members.first?.id,
            members: members, nowMs: nowMs)
        selectProtocolAnew()
    }

    /// A group that has been before: stable if it has members.
    init(
        id: String, configuration: GroupConfiguration, generationId: Int32, protocolType: String?,
        protocolName: String?, leaderId: String?, members: [GroupMember], nowMs: Int64
    ) {
        self.init(id: id, configuration: configuration)
        self.generationId = generationId
        self.protocolType = protocolType
        self.protocolName = protocolName
        for member in members { restore(member) }
        self.leaderId = leaderId.flatMap { self.members[$0]?.id } ?? membersByAge.first?.id
        begin(members.isEmpty ? .empty : .stable)
        for member in members { expectHeartbeat(of: member.id, nowMs: nowMs) }
        isChanged = true
    }

    /// It was a group of classic members inside a consumer group, which has to find its own assignment now.
    mutating func rebalanceAfterDowngrade(nowMs: Int64) -> [GroupAction] {
        prepareRebalance(because: "the group uses the classic protocol again", nil, nowMs)
        return takeActions()
    }

    /// The group becomes a consumer group: whoever waits joins again, into that.
    mutating func dissolve() -> [GroupAction] {
        for member in membersByAge {
            answerJoin(of: member.id, GroupJoinResponse(error: .rebalanceInProgress, memberId: member.id))
            _ = answerSync(of: member.id, GroupSyncResponse(error: .rebalanceInProgress))
        }
        return takeActions()
    }
}
