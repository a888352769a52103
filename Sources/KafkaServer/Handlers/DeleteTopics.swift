// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteTopics (key 20).
//
// Versions: 1 to 6.
// Behaviour: each topic goes on its own, by name or (version 6) by id; the reply goes when all deletions are durable.
//   Deleted topics are out of metadata at once and their files are removed.
// Deviations from Kafka: none known.
// Notes: 5 adds error messages, 6 topic ids.

import Bytes
import Engine
import KafkaWire
import NIOCore

enum DeleteTopicsHandler: KafkaHandler {
    static func handle(_ request: DeleteTopicsRequest, _ exchange: Exchange) {
        let wanted =
            exchange.version >= 6
            ? request.topics
            : request.topicNames.map { name in
                var topic = DeleteTopicsRequest.Topic()
                topic.name = name
                return topic
            }
        guard wanted.count <= Limits.topicsPerRequest else {
            return exchange.close("DeleteTopics of \(wanted.count) topics; the limit is \(Limits.topicsPerRequest)")
        }
        let deletions = wanted.map { delete($0, exchange) }
        EventLoopFuture.whenAllSucceed(deletions, on: exchange.loop).whenSuccess { topics in
            var response = DeleteTopicsResponse()
            response.topics = topics
            exchange.reply(response)
        }
    }

    private static func delete(
        _ wanted: DeleteTopicsRequest.Topic, _ exchange: Exchange
    ) -> EventLoopFuture<DeleteTopicsResponse.Topic> {
        let topics = exchange.engine.topics
        var answer = DeleteTopicsResponse.Topic()
        answer.name = wanted.name
        answer.topicId = wanted.topicId
        func refuse(_ code: KafkaErrorCode, _ message: String) -> EventLoopFuture<DeleteTopicsResponse.Topic> {
            answer.errorCode = code
            answer.errorMessage = message
            return exchange.loop.makeSucceededFuture(answer)
        }
        if wanted.name != nil, wanted.topicId != .zero {
            return refuse(.invalidRequest, "give a topic's name or its id, not both")
        }
        guard let topic = wanted.name.map({ topics.topic(named: $0) }) ?? topics.topic(id: wanted.topicId) else {
            return wanted.name == nil
                ? refuse(.unknownTopicId, "no topic has the id \(wanted.topicId)")
                : refuse(.unknownTopicOrPartition, "this broker has no such topic")
        }
        guard !topic.isInternal else {
            return refuse(.invalidTopicException, "topic \(topic.name) belongs to the broker")
        }
        answer.name = topic.name
        answer.topicId = topic.id
        let ready = answer
        return topics.delete(topic.name, on: exchange.loop).map { ready }.flatMapErrorThrowing { error in
            var failed = ready
            failed.errorCode = KafkaErrorCode(error)
            failed.errorMessage = "\(error)"
            return failed
        }
    }
}
