// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DeleteTopics (key 20).
//
// Versions: 1 to 6.
// Behaviour: each topic goes on its own, by name or (version 6) by id; the reply goes when all deletions are durable.
//   Deleted topics are out of metadata at once and their files are removed. A topic that is given twice, also once by name
//   and once by id, is not deleted but answered once, with INVALID_REQUEST.
// Deviations from Kafka: the broker's own topics cannot be deleted (INVALID_TOPIC_EXCEPTION).
// Notes: 5 adds error messages, 6 topic ids.

import Bytes
import Engine
import KafkaWire
import NIOCore

enum DeleteTopicsHandler: KafkaHandler {
    typealias Wanted = DeleteTopicsRequest.Topic
    typealias Answer = DeleteTopicsResponse.Topic

    static func handle(_ request: DeleteTopicsRequest, _ exchange: Exchange) {
        let wanted =
            exchange.version >= 6
            ? request.topics
            : request.topicNames.map { name in
                var topic = Wanted()
                topic.name = name
                return topic
            }
        guard wanted.count <= Limits.topicsPerRequest else {
            return exchange.close("DeleteTopics of \(wanted.count) topics; the limit is \(Limits.topicsPerRequest)")
        }
        let quota = MutationQuota(exchange, isStrict: exchange.version >= 5)
        var counts: [Target: Int] = [:]
        let targets = wanted.map { Target($0, exchange.engine.topics) }
        for target in targets { counts[target, default: 0] += 1 }
        var answered: Set<Target> = []
        let deletions = zip(wanted, targets).compactMap { topic, target -> EventLoopFuture<Answer>? in
            if target == .nothing { return delete(topic, quota, exchange) }
            guard answered.insert(target).inserted else { return nil }
            guard counts[target] == 1 else {
                let message = topic.name == nil ? "Duplicate topic id." : "Duplicate topic name."
                return exchange.loop.makeSucceededFuture(refused(answer(topic), .invalidRequest, message))
            }
            return delete(topic, quota, exchange)
        }
        EventLoopFuture.whenAllSucceed(deletions, on: exchange.loop).whenSuccess { topics in
            var response = DeleteTopicsResponse()
            response.topics = topics
            quota.exchange.reply(response)
        }
    }

    /// What an entry is about, however it says so.
    private enum Target: Hashable {
        case topic(TopicId)
        case name(String)
        case id(TopicId)
        case nothing

        init(_ wanted: Wanted, _ topics: TopicCatalog) {
            if let name = wanted.name {
                self = topics.topic(named: name).map { .topic($0.id) } ?? .name(name)
            } else if wanted.topicId != .zero {
                self = topics.topic(id: wanted.topicId).map { .topic($0.id) } ?? .id(wanted.topicId)
            } else {
                self = .nothing
            }
        }
    }

    private static func delete(
        _ wanted: Wanted, _ quota: MutationQuota, _ exchange: Exchange
    ) -> EventLoopFuture<Answer> {
        let topics = exchange.engine.topics
        var answer = answer(wanted)
        func refuse(_ code: KafkaErrorCode, _ message: String) -> EventLoopFuture<Answer> {
            exchange.loop.makeSucceededFuture(refused(answer, code, message))
        }
        if wanted.name != nil, wanted.topicId != .zero {
            return refuse(.invalidRequest, "You may not specify both topic name and topic id.")
        }
        if wanted.name == nil, wanted.topicId == .zero {
            return refuse(.invalidRequest, "Neither topic name nor id were specified.")
        }
        guard let topic = wanted.name.map({ topics.topic(named: $0) }) ?? topics.topic(id: wanted.topicId) else {
            return wanted.name == nil
                ? refuse(.unknownTopicId, "no topic has the id \(wanted.topicId)")
                : refuse(.unknownTopicOrPartition, "this broker has no such topic")
        }
        answer.name = topic.name
        answer.topicId = topic.id
        guard !topic.isInternal else {
            return refuse(.invalidTopicException, "topic \(topic.name) belongs to the broker")
        }
        guard quota.admits(topic.partitionCount) else { return refuse(.throttlingQuotaExceeded, MutationQuota.refusal) }
        let ready = answer
        return topics.delete(topic.name, on: exchange.loop).map { ready }.flatMapErrorThrowing {
            refused(ready, KafkaErrorCode($0), "\($0)")
        }
    }

    private static func answer(_ wanted: Wanted) -> Answer {
        var answer = Answer()
        answer.name = wanted.name
        answer.topicId = wanted.topicId
        return answer
    }

    private static func refused(_ answer: Answer, _ code: KafkaErrorCode, _ message: String) -> Answer {
        var answer = answer
        answer.errorCode = code
        answer.errorMessage = message
        return answer
    }
}
