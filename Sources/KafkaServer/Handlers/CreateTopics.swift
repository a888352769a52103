// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: CreateTopics (key 19).
//
// Versions: 2 to 7.
// Behaviour: each topic is created on its own; the reply goes when all are durable. -1 partitions or replicas mean the
//   broker's default. Manual assignments are accepted when they name this broker only. validateOnly changes nothing.
//   A name that is given twice is answered once, with INVALID_REQUEST. Names that differ only in '.' and '_' collide.
// Deviations from Kafka: the only replication factor is 1; the timeout is not used, because creation does not wait for
//   other brokers; the broker's own topics cannot be created (INVALID_TOPIC_EXCEPTION).
// Notes: 5 returns partitions and configuration, 7 the topic id.

import Engine
import KafkaWire
import NIOCore

enum CreateTopicsHandler: KafkaHandler {
    typealias Wanted = CreateTopicsRequest.Topic
    typealias Answer = CreateTopicsResponse.Topic

    static func handle(_ request: CreateTopicsRequest, _ exchange: Exchange) {
        guard request.topics.count <= Limits.topicsPerRequest else {
            return exchange.close("CreateTopics of \(request.topics.count) topics; the limit is \(Limits.topicsPerRequest)")
        }
        var counts: [String: Int] = [:]
        for topic in request.topics { counts[topic.name, default: 0] += 1 }
        var answered: Set<String> = []
        let quota = MutationQuota(exchange, isStrict: exchange.version >= 6)
        let creations = request.topics.filter { answered.insert($0.name).inserted }.map { topic in
            guard counts[topic.name] == 1 else {
                let error = EngineError(.invalidRequest, "Duplicate topic name.")
                return exchange.loop.makeSucceededFuture(refused(topic, .invalidRequest, error))
            }
            return create(topic, request.validateOnly, quota, exchange)
        }
        EventLoopFuture.whenAllSucceed(creations, on: exchange.loop).whenSuccess { topics in
            var response = CreateTopicsResponse()
            response.topics = topics
            quota.exchange.reply(response)
        }
    }

    private static func create(
        _ topic: Wanted, _ validateOnly: Bool, _ quota: MutationQuota, _ exchange: Exchange
    ) -> EventLoopFuture<Answer> {
        let topics = exchange.engine.topics
        do {
            let specification = try specification(topic, exchange)
            if validateOnly {
                let count = try topics.validate(specification)
                let configuration = try TopicConfiguration(
                    overrides: specification.overrides, defaults: topics.defaults.effective)
                return exchange.loop.makeSucceededFuture(
                    success(topic.name, partitions: count, configuration, topics.defaults))
            }
            // What cannot be made is not charged.
            let count = try topics.validate(specification)
            guard quota.admits(Int(clamping: count)) else {
                let error = EngineError(.limitReached, MutationQuota.refusal)
                return exchange.loop.makeSucceededFuture(refused(topic, .throttlingQuotaExceeded, error))
            }
            return topics.create(specification, on: exchange.loop).map { created in
                var answer = success(
                    topic.name, partitions: Int32(created.partitionCount), created.configuration, topics.defaults)
                answer.topicId = created.id
                return answer
            }.flatMapErrorThrowing { refused(topic, KafkaErrorCode($0), $0) }
        } catch let refusal as AssignmentRefusal {
            return exchange.loop.makeSucceededFuture(refused(topic, .invalidReplicaAssignment, refusal))
        } catch {
            return exchange.loop.makeSucceededFuture(refused(topic, KafkaErrorCode(error), error))
        }
    }

    /// A manual assignment that cannot be.
    private struct AssignmentRefusal: Error, CustomStringConvertible {
        var description: String
    }

    private static func specification(_ topic: Wanted, _ exchange: Exchange) throws -> TopicSpecification {
        if Engine.isOwnTopic(topic.name) {
            throw EngineError(.invalidTopicName, "Creation of internal topic \(topic.name) is prohibited.")
        }
        var count: Int32? = topic.numPartitions == -1 ? nil : topic.numPartitions
        if topic.assignments.isEmpty {
            try checkReplicationFactor(topic.replicationFactor)
        } else {
            count = try assignedPartitions(topic, node: exchange.engine.configuration.nodeId)
        }
        var overrides: [String: String] = [:]
        let missing = topic.configs.filter { $0.value == nil }.map(\.name)
        guard missing.isEmpty else {
            throw EngineError(
                .invalidConfiguration, "Null value not supported for topic configs: \(missing.joined(separator: ","))")
        }
        for config in topic.configs { overrides[config.name] = config.value }
        return TopicSpecification(name: topic.name, partitions: count, overrides: overrides)
    }

    private static func checkReplicationFactor(_ factor: Int16) throws(EngineError) {
        guard factor >= 1 || factor == -1 else {
            throw EngineError(
                .invalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
        }
        guard factor <= 1 else {
            throw EngineError(
                .invalidReplicationFactor,
                "Unable to replicate the partition \(factor) time(s): The target replication factor of \(factor) cannot be "
                    + "reached because only 1 broker(s) are registered.")
        }
    }

    /// How many partitions a manual assignment makes.
    private static func assignedPartitions(_ topic: Wanted, node: Int32) throws -> Int32 {
        guard topic.replicationFactor == -1 else {
            throw EngineError(
                .invalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.")
        }
        guard topic.numPartitions == -1 else {
            throw EngineError(
                .invalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
        }
        let indexes = topic.assignments.map(\.partitionIndex).sorted()
        guard indexes == Array(0..<Int32(indexes.count)) else {
            throw AssignmentRefusal(description: "partitions should be a consecutive 0-based integer sequence")
        }
        guard topic.assignments.allSatisfy({ $0.brokerIds == [node] }) else {
            throw AssignmentRefusal(
                description: "each partition needs broker \(node) alone, because no other broker is registered")
        }
        return Int32(indexes.count)
    }

    private static func success(
        _ name: String, partitions: Int32, _ configuration: TopicConfiguration, _ defaults: TopicDefaults
    ) -> Answer {
        var answer = Answer()
        answer.name = name
        answer.numPartitions = partitions
        answer.replicationFactor = 1
        answer.configs = TopicConfigurationKey.all.map { key in
            var config = CreateTopicsResponse.Config()
            config.name = key.name
            config.value = configuration.value(of: key)
            config.configSource = ConfigSource.number(of: key, configuration, defaults)
            return config
        }
        return answer
    }

    private static func refused(_ topic: Wanted, _ code: KafkaErrorCode, _ error: any Error) -> Answer {
        var answer = Answer()
        answer.name = topic.name
        answer.errorCode = code
        answer.errorMessage = "\(error)"
        return answer
    }
}
