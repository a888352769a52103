// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: CreateTopics (key 19).
//
// Versions: 2 to 7.
// Behaviour: each topic is created on its own; the reply goes when all are durable. -1 partitions or replicas mean the
//   broker's default. Manual assignments are accepted when they name this broker only. validateOnly changes nothing.
// Deviations from Kafka: the only replication factor is 1; the timeout is not used, because creation does not wait for
//   other brokers.
// Notes: 5 returns partitions and configuration, 7 the topic id.

import Engine
import KafkaWire
import NIOCore

enum CreateTopicsHandler: KafkaHandler {
    static func handle(_ request: CreateTopicsRequest, _ exchange: Exchange) {
        guard request.topics.count <= Limits.topicsPerRequest else {
            return exchange.close("CreateTopics of \(request.topics.count) topics; the limit is \(Limits.topicsPerRequest)")
        }
        let names = Dictionary(grouping: request.topics, by: \.name)
        let creations = request.topics.map { topic -> EventLoopFuture<CreateTopicsResponse.Topic> in
            if names[topic.name, default: []].count > 1 {
                let error = Refusal(.invalidRequest, "topic \(topic.name) is named more than once")
                return exchange.loop.makeSucceededFuture(refused(topic, error))
            }
            return create(topic, request.validateOnly, exchange)
        }
        EventLoopFuture.whenAllSucceed(creations, on: exchange.loop).whenSuccess { topics in
            var response = CreateTopicsResponse()
            response.topics = topics
            exchange.reply(response)
        }
    }

    /// Why a topic is not created, where the engine was not asked.
    private struct Refusal: Error {
        var code: KafkaErrorCode
        var message: String

        init(_ code: KafkaErrorCode, _ message: String) {
            self.code = code
            self.message = message
        }

        init(_ error: any Error) {
            code = (error as? Refusal)?.code ?? KafkaErrorCode(error)
            message = (error as? Refusal)?.message ?? "\(error)"
        }
    }

    private static func create(
        _ topic: CreateTopicsRequest.Topic, _ validateOnly: Bool, _ exchange: Exchange
    ) -> EventLoopFuture<CreateTopicsResponse.Topic> {
        let topics = exchange.engine.topics
        do {
            let specification = try specification(topic, exchange)
            if validateOnly {
                let count = try topics.validate(specification)
                return exchange.loop.makeSucceededFuture(
                    success(topic.name, partitions: count, try TopicConfiguration(overrides: specification.overrides)))
            }
            return topics.create(specification, on: exchange.loop).map { created in
                var answer = success(
                    topic.name, partitions: Int32(created.partitionCount), created.configuration)
                answer.topicId = created.id
                return answer
            }.flatMapErrorThrowing { refused(topic, Refusal($0)) }
        } catch {
            return exchange.loop.makeSucceededFuture(refused(topic, Refusal(error)))
        }
    }

    private static func specification(
        _ topic: CreateTopicsRequest.Topic, _ exchange: Exchange
    ) throws -> TopicSpecification {
        var count: Int32? = topic.numPartitions == -1 ? nil : topic.numPartitions
        if !topic.assignments.isEmpty {
            guard topic.numPartitions == -1, topic.replicationFactor == -1 else {
                throw Refusal(.invalidRequest, "both a manual assignment and partition counts are given")
            }
            let node = exchange.engine.configuration.nodeId
            let indexes = topic.assignments.map(\.partitionIndex).sorted()
            guard indexes == Array(0..<Int32(indexes.count)),
                topic.assignments.allSatisfy({ $0.brokerIds == [node] })
            else {
                throw Refusal(
                    .invalidReplicaAssignment, "partitions must count from 0, each on broker \(node) alone")
            }
            count = Int32(indexes.count)
        } else if topic.replicationFactor != -1, topic.replicationFactor != 1 {
            throw Refusal(
                .invalidReplicationFactor,
                "replication factor \(topic.replicationFactor) needs more brokers than the one there is; use 1")
        }
        var overrides: [String: String] = [:]
        for config in topic.configs {
            guard let value = config.value else {
                throw Refusal(.invalidConfig, "configuration key \(config.name) has no value")
            }
            overrides[config.name] = value
        }
        return TopicSpecification(name: topic.name, partitions: count, overrides: overrides)
    }

    private static func success(
        _ name: String, partitions: Int32, _ configuration: TopicConfiguration
    ) -> CreateTopicsResponse.Topic {
        var answer = CreateTopicsResponse.Topic()
        answer.name = name
        answer.numPartitions = partitions
        answer.replicationFactor = 1
        answer.configs = TopicConfigurationKey.all.map { key in
            var config = CreateTopicsResponse.Config()
            config.name = key.name
            config.value = configuration.value(of: key)
            config.configSource = ConfigSource.of(key, configuration).rawValue
            return config
        }
        return answer
    }

    private static func refused(
        _ topic: CreateTopicsRequest.Topic, _ refusal: Refusal
    ) -> CreateTopicsResponse.Topic {
        var answer = CreateTopicsResponse.Topic()
        answer.name = topic.name
        answer.errorCode = refusal.code
        answer.errorMessage = refusal.message
        answer.configs = nil
        return answer
    }
}
