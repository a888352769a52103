// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ConsumerGroupDescribe (key 69, KIP-848).
//
// Versions: 0 to 1.
// Behaviour: state, epochs and members of each consumer group, with what each member has and is to have. A group that is
//   not there, or is a classic one, is GROUP_ID_NOT_FOUND.
//   A group in which a topic is assigned that the client may not describe is TOPIC_AUTHORIZATION_FAILED.
// Deviations from Kafka: a group named twice is described once.
// Notes: UNSUPPORTED_VERSION while the feature `group.version` is 0. 1 says whether a member speaks the classic protocol (KIP-1099).

import Engine
import KafkaWire

enum ConsumerGroupDescribeHandler: KafkaHandler {
    static func handle(_ request: ConsumerGroupDescribeRequest, _ exchange: Exchange) {
        var seen: Set<String> = []
        let groupIds = request.groupIds.filter { seen.insert($0).inserted }
        guard exchange.admits(groupIds.count, "groups", limit: 10 * Limits.groupsPerRequest) else { return }
        var response = ConsumerGroupDescribeResponse()
        guard exchange.engine.features.level(of: .groups) >= 1 else {
            response.groups = groupIds.map { refusal($0, .unsupportedVersion) }
            return exchange.reply(response)
        }
        if groupIds.count > Limits.groupsPerRequest {
            response.groups = groupIds.map { refusal($0, .invalidRequest) }
            return exchange.reply(response)
        }
        do throws(GroupError) {
            let found = try exchange.engine.groups.describeConsumerGroups(groupIds)
            response.groups = zip(groupIds, found).map { groupId, group in
                guard !groupId.isEmpty else { return refusal(groupId, .invalidGroupId) }
                guard let group else {
                    return refusal(groupId, .groupIdNotFound, "Group \(groupId) is not a consumer group.")
                }
                var answer = describe(group)
                if request.includeAuthorizedOperations { answer.authorizedOperations = AuthorizedOperations.group }
                return answer
            }
        } catch {
            response.groups = groupIds.map { refusal($0, KafkaErrorCode(error)) }
        }
        exchange.reply(response)
    }

    private static func describe(_ group: ConsumerGroupDescription) -> ConsumerGroupDescribeResponse.Group {
        var answer = ConsumerGroupDescribeResponse.Group()
        answer.groupId = group.groupId
        answer.groupState = group.state
        answer.groupEpoch = group.groupEpoch
        answer.assignmentEpoch = group.assignmentEpoch
        answer.assignorName = group.assignor
        answer.members = group.members.map { member in
            var each = ConsumerGroupDescribeResponse.Member()
            each.memberId = member.memberId
            each.instanceId = member.instanceId
            each.rackId = member.rackId
            each.memberEpoch = member.memberEpoch
            each.clientId = member.clientId
            each.clientHost = member.clientHost
            each.subscribedTopicNames = member.subscribedTopics
            each.subscribedTopicRegex = member.subscribedPattern
            each.assignment = assignment(member.assigned)
            each.targetAssignment = assignment(member.target)
            each.memberType = member.isClassic ? 0 : 1
            return each
        }
        return answer
    }

    private static func assignment(
        _ topics: [ConsumerGroupDescription.Partitions]
    ) -> ConsumerGroupDescribeResponse.Assignment {
        var assignment = ConsumerGroupDescribeResponse.Assignment()
        assignment.topicPartitions = topics.map { topic in
            var each = ConsumerGroupDescribeResponse.TopicPartitions()
            each.topicId = topic.topicId
            each.topicName = topic.topic
            each.partitions = topic.partitions
            return each
        }
        return assignment
    }

    private static func refusal(
        _ groupId: String, _ code: KafkaErrorCode, _ message: String? = nil
    ) -> ConsumerGroupDescribeResponse.Group {
        var refusal = ConsumerGroupDescribeResponse.Group()
        refusal.groupId = groupId
        refusal.errorCode = code
        refusal.errorMessage = message
        refusal.groupState = "Dead"
        return refusal
    }
}
