// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteShareGroupOffsets (key 92).
//
// Versions: 0.
// Behaviour: a group without members forgets where it is in the topics that are named. Answered when durable.
// Deviations from Kafka: none known.

import Bytes
import Engine
import KafkaWire
import NIOCore

enum DeleteShareGroupOffsetsHandler: KafkaHandler {
    static func handle(_ request: DeleteShareGroupOffsetsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.topics.count, "topics", limit: Limits.topicsPerRequest) else { return }
        let shares = exchange.engine.shares
        var response = DeleteShareGroupOffsetsResponse()
        do throws(ShareError) {
            try shares.checkEmpty(request.groupId, creating: false)
        } catch {
            response.errorCode = KafkaErrorCode(error)
            response.errorMessage = error.description
            return exchange.reply(response)
        }
        response.responses = request.topics.map { wanted in
            var topic = DeleteShareGroupOffsetsResponse.Topic()
            topic.topicName = wanted.topicName
            topic.topicId = exchange.engine.topics.topic(named: wanted.topicName)?.id ?? .zero
            return topic
        }
        guard !request.topics.isEmpty else { return exchange.reply(response) }
        let pending = NIOLoopBoundBox((response: response, missing: request.topics.count), eventLoop: exchange.loop)
        for index in request.topics.indices {
            let finish: @Sendable (ShareError?) -> Void = { error in
                pending.value.response.responses[index].errorCode = KafkaErrorCode(error)
                pending.value.response.responses[index].errorMessage = error?.description
                pending.value.missing -= 1
                if pending.value.missing == 0 { exchange.reply(pending.value.response) }
            }
            let id = response.responses[index].topicId
            if id == .zero { finish(.unknownTopicOrPartition) } else {
                shares.forget(request.groupId, topicId: id, on: exchange.loop, completion: finish)
            }
        }
    }
}
