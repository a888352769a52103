// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ShareGroupDescribe (key 77).
//
// Versions: 1.
// Behaviour: state, epochs and members with their assignment. A group that is not there, or is of another type, is Dead, with
//   GROUP_ID_NOT_FOUND.
// Deviations from Kafka: gRPC workers are among the members, with client id `martlet.v1.Work`.

import Engine
import KafkaWire

enum ShareGroupDescribeHandler: KafkaHandler {
    static func handle(_ request: ShareGroupDescribeRequest, _ exchange: Exchange) {
        guard exchange.admits(request.groupIds.count, "groups", limit: Limits.groupsPerRequest) else { return }
        var response = ShareGroupDescribeResponse()
        response.groups = request.groupIds.map { groupId in
            var group = ShareGroupDescribeResponse.Group()
            group.groupId = groupId
            guard let found = exchange.engine.shares.describe(groupId) else {
                group.errorCode = .groupIdNotFound
                group.errorMessage = "Group \(groupId) is not a share group."
                group.groupState = ShareGroup.State.dead.rawValue
                return group
            }
            group.groupState = found.state.rawValue
            group.groupEpoch = found.epoch
            group.assignmentEpoch = found.epoch
            group.assignorName = "simple"
            group.members = found.members.map { self.member($0, exchange) }
            if request.includeAuthorizedOperations { group.authorizedOperations = AuthorizedOperations.group }
            return group
        }
        exchange.reply(response)
    }

    private static func member(
        _ member: ShareGroup.Member, _ exchange: Exchange
    ) -> ShareGroupDescribeResponse.Member {
        var answer = ShareGroupDescribeResponse.Member()
        answer.memberId = member.id.text
        answer.rackId = member.rackId
        answer.memberEpoch = member.epoch
        answer.clientId = member.clientId
        answer.clientHost = member.clientHost
        answer.subscribedTopicNames = member.topics
        answer.assignment.topicPartitions = member.assignment.sorted { $0.key < $1.key }.compactMap { name, partitions in
            guard let topic = exchange.engine.topics.topic(named: name) else { return nil }
            var entry = ShareGroupDescribeResponse.TopicPartitions()
            entry.topicId = topic.id
            entry.topicName = name
            entry.partitions = partitions
            return entry
        }
        return answer
    }
}
