// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: ShareGroupHeartbeat (key 76).
//
// Versions: 1.
// Behaviour: epoch 0 joins, -1 leaves, any other keeps the session. A change of the group's members, subscriptions or topics raises its
//   epoch; the member's next heartbeat brings it, and the assignment. A group begins a partition, by share.auto.offset.reset, when it is first
//   assigned; that is durable before the answer goes.
// Deviations from Kafka: a topic's partitions are dealt out in turn, without regard to who had them (nothing moves with them).
//   Members are not durable: after a restart they are told UNKNOWN_MEMBER_ID or GROUP_ID_NOT_FOUND and join again.

import Engine
import KafkaWire
import Transport

enum ShareGroupHeartbeatHandler: KafkaHandler {
    static func handle(_ request: ShareGroupHeartbeatRequest, _ exchange: Exchange) {
        guard exchange.engine.features.level(of: .shares) >= 1 else {
            var refusal = ShareGroupHeartbeatResponse()
            refusal.errorCode = .unsupportedVersion
            return exchange.reply(refusal)
        }
        let shares = exchange.engine.shares
        do throws(ShareError) {
            try check(request)
            let answer = try shares.heartbeat(
                request.groupId,
                ShareGroup.Heartbeat(
                    member: ShareMemberId(request.memberId), epoch: request.memberEpoch, rackId: request.rackId,
                    topics: request.subscribedTopicNames, clientId: exchange.connection.clientId ?? "",
                    clientHost: "/\(exchange.connection.peer.remoteAddress)"),
                on: exchange.loop)
            var response = ShareGroupHeartbeatResponse()
            response.memberId = request.memberId
            response.memberEpoch = answer.memberEpoch
            response.heartbeatIntervalMs = shares.configuration.heartbeatIntervalMs
            guard let assignment = answer.assignment else { return exchange.reply(response) }
            let topics = self.topics(assignment, exchange)
            response.assignment = ShareGroupHeartbeatResponse.Assignment()
            response.assignment?.topicPartitions = topics
            let places = topics.flatMap { topic in
                topic.partitions.map { SharePlace(topicId: topic.topicId, partition: $0) }
            }
            let reply = response
            shares.openQueues(request.groupId, places, on: exchange.loop) { _ in exchange.reply(reply) }
        } catch {
            var response = ShareGroupHeartbeatResponse()
            response.errorCode = KafkaErrorCode(error)
            response.errorMessage = error.description
            exchange.reply(response)
        }
    }

    private static func check(_ request: ShareGroupHeartbeatRequest) throws(ShareError) {
        let isBlank = { (text: String) in text.allSatisfy(\.isWhitespace) }
        guard !isBlank(request.groupId), !request.memberId.isEmpty,
            request.memberId.utf8.count <= ShareSessionKey.memberIdBytesMax, request.memberEpoch >= -1,
            !(request.rackId.map(isBlank) ?? false)
        else { throw .invalidRequest }
        guard request.memberEpoch != 0 || request.subscribedTopicNames?.isEmpty == false else { throw .invalidRequest }
        guard (request.subscribedTopicNames?.count ?? 0) <= Limits.topicsPerRequest else { throw .invalidRequest }
    }

    private static func topics(
        _ assignment: [String: [Int32]], _ exchange: Exchange
    ) -> [ShareGroupHeartbeatResponse.TopicPartitions] {
        assignment.sorted { $0.key < $1.key }.compactMap { name, partitions in
            guard let topic = exchange.engine.topics.topic(named: name) else { return nil }
            var answer = ShareGroupHeartbeatResponse.TopicPartitions()
            answer.topicId = topic.id
            answer.partitions = partitions
            return answer
        }
    }
}
