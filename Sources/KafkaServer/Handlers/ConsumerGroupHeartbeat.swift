// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ConsumerGroupHeartbeat (key 68, KIP-848).
//
// Versions: 0 to 1.
// Behaviour: a member joins (epoch 0), stays, or leaves (-1; -2 a static member that will be back); the broker makes the
//   assignments and tells a member what it may have whenever that changed or the member says everything anew. The reply
//   goes when what it tells is durable. A regular expression finds only topics that the member may describe; one that is
//   assigned and may not be described is TOPIC_AUTHORIZATION_FAILED.
// Deviations from Kafka: a regular expression is matched before the reply, Kafka matches it in the background; Unicode
//   classes (\p) in it get INVALID_REGULAR_EXPRESSION.
// Notes: UNSUPPORTED_VERSION while the feature `group.version` is 0. 1 wants a member id that the member made, and knows regular expressions in RE2's syntax.

import Engine
import KafkaWire
import Transport

enum ConsumerGroupHeartbeatHandler: KafkaHandler {
    static func handle(_ request: ConsumerGroupHeartbeatRequest, _ exchange: Exchange) {
        guard exchange.engine.features.level(of: .groups) >= 1 else {
            var refusal = ConsumerGroupHeartbeatResponse()
            refusal.errorCode = .unsupportedVersion
            return exchange.reply(refusal)
        }
        var heartbeat = ConsumerHeartbeat(
            groupId: request.groupId, memberId: request.memberId, memberEpoch: request.memberEpoch,
            instanceId: request.instanceId, rackId: request.rackId,
            rebalanceTimeoutMs: request.rebalanceTimeoutMs == -1 ? nil : request.rebalanceTimeoutMs,
            clientId: exchange.connection.clientId ?? "", clientHost: "/\(exchange.connection.peer.remoteAddress)",
            subscribedTopics: request.subscribedTopicNames, subscribedPattern: request.subscribedTopicRegex,
            assignor: request.serverAssignor,
            owned: request.topicPartitions?.map { TopicIdPartitions(topicId: $0.topicId, partitions: $0.partitions) },
            mayLackId: exchange.version == 0)
        let (access, client) = (exchange.engine.access, exchange.connection.accessClient)
        heartbeat.mayDescribe = {
            access.decide(client, .describe, .topic, $0, graceMs: AccessControl.patternGraceMs).isAllowed
        }
        exchange.engine.groups.heartbeat(heartbeat, on: exchange.loop) { result in
            let response = response(result)
            exchange.shown { authorized(response, exchange) } then: { exchange.reply($0) }
        }
    }

    /// A member that lost a right, or shares a pattern with one that has more, is not told what it may not know.
    private static func authorized(
        _ response: ConsumerGroupHeartbeatResponse, _ exchange: Exchange
    ) -> ConsumerGroupHeartbeatResponse {
        guard exchange.isRestricted, let assignment = response.assignment else { return response }
        let rights = Rights(exchange)
        let names = assignment.topicPartitions.compactMap { exchange.engine.topics.topic(id: $0.topicId)?.name }
        guard names.allSatisfy({ rights.mayUse(topic: $0, .describe) }) else {
            var refusal = ConsumerGroupHeartbeatResponse()
            refusal.errorCode = .topicAuthorizationFailed
            return refusal
        }
        return response
    }

    private static func response(
        _ result: Result<ConsumerHeartbeatAnswer, GroupRefusal>
    ) -> ConsumerGroupHeartbeatResponse {
        var response = ConsumerGroupHeartbeatResponse()
        switch result {
        case .failure(let refusal):
            response.errorCode = KafkaErrorCode(refusal.error)
            response.errorMessage = refusal.message
        case .success(let answer):
            response.memberId = answer.memberId
            response.memberEpoch = answer.memberEpoch
            response.heartbeatIntervalMs = answer.heartbeatIntervalMs
            response.assignment = answer.assignment.map { topics in
                var assignment = ConsumerGroupHeartbeatResponse.Assignment()
                assignment.topicPartitions = topics.map { topic in
                    var partitions = ConsumerGroupHeartbeatResponse.TopicPartitions()
                    partitions.topicId = topic.topicId
                    partitions.partitions = topic.partitions
                    return partitions
                }
                return assignment
            }
        }
        return response
    }
}
