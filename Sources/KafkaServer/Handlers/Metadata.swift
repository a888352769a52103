// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: Metadata (key 3).
//
// Versions: 0 to 13.
// Behaviour: one broker, leader of everything, at the address this client used (or the advertised one). No topic
//   list (null, or empty in version 0) means all topics. A missing topic is created when the broker allows it and
//   the request does (always before version 4); the reply waits for that, so the first answer already has it.
// Deviations from Kafka: Kafka answers the first request for a missing topic with LEADER_NOT_AVAILABLE and lets the
//   client ask again. Every operation is authorised until access control is served (KIP-430 bits all set).
// Notes: 10 adds topic ids, 12 looks topics up by id, 13 a top-level error.

import Bytes
import Engine
import KafkaWire
import NIOCore

enum MetadataHandler: KafkaHandler {
    static func handle(_ request: MetadataRequest, _ exchange: Exchange) {
        guard (request.topics?.count ?? 0) <= Limits.topicsPerRequest else {
            var response = MetadataResponse()
            response.errorCode = .invalidRequest
            return exchange.reply(response)
        }
        if exchange.version < 12, let topics = request.topics, topics.contains(where: \.needsIds) {
            return exchange.reply(refusal(of: topics))
        }
        let missing = missingTopics(request, exchange)
        guard !missing.isEmpty else { return answer(request, failures: [:], exchange) }
        let creations = missing.map { name in
            exchange.engine.topics.topicOrCreate(TopicSpecification(name: name), on: exchange.loop)
                .map { _ in KafkaErrorCode.none }
                .flatMapErrorThrowing { KafkaErrorCode($0) }
                .map { (name, $0) }
        }
        EventLoopFuture.whenAllSucceed(creations, on: exchange.loop).whenSuccess { outcomes in
            answer(request, failures: Dictionary(outcomes, uniquingKeysWith: { first, _ in first }), exchange)
        }
    }

    /// Versions 10 and 11 have fields for ids and for no name, and know neither; nor could an answer leave the name out.
    private static func refusal(of topics: [MetadataRequest.Topic]) -> MetadataResponse {
        var response = MetadataResponse()
        response.topics = topics.map { wanted in
            var answer = MetadataResponse.Topic()
            answer.name = wanted.name ?? ""
            answer.topicId = wanted.topicId
            answer.errorCode = .invalidRequest
            return answer
        }
        return response
    }

    /// Topics to create for this request.
    private static func missingTopics(_ request: MetadataRequest, _ exchange: Exchange) -> [String] {
        guard exchange.engine.configuration.autoCreateTopics,
            exchange.version < 4 || request.allowAutoTopicCreation
        else { return [] }
        return (request.topics ?? []).filter { $0.topicId == .zero }.compactMap(\.name).filter {
            topicNameProblem($0) == nil && !Engine.isOwnTopic($0) && exchange.engine.topics.topic(named: $0) == nil
        }
    }

    private static func answer(
        _ request: MetadataRequest, failures: [String: KafkaErrorCode], _ exchange: Exchange
    ) {
        let engine = exchange.engine
        var response = MetadataResponse()
        var broker = MetadataResponse.Broker()
        broker.nodeId = engine.configuration.nodeId
        (broker.host, broker.port) = exchange.advertisedAddress
        response.brokers = [broker]
        response.clusterId = engine.clusterId
        response.controllerId = engine.configuration.nodeId
        if request.includeClusterAuthorizedOperations, (8...10).contains(exchange.version) {
            response.clusterAuthorizedOperations = AuthorizedOperations.cluster
        }
        let wantsAll = request.topics.map { $0.isEmpty && exchange.version == 0 } ?? true
        if wantsAll {
            response.topics = engine.topics.all.map { describe($0, request, engine) }
        } else {
            // As in Kafka, a topic that is named twice is answered once.
            var seen: Set<MetadataRequest.Topic> = []
            response.topics = (request.topics ?? []).filter { seen.insert($0).inserted }.map { wanted in
                find(wanted, failures, request, exchange)
            }
        }
        exchange.reply(response)
    }

    private static func find(
        _ wanted: MetadataRequest.Topic, _ failures: [String: KafkaErrorCode], _ request: MetadataRequest,
        _ exchange: Exchange
    ) -> MetadataResponse.Topic {
        let topics = exchange.engine.topics
        // Java's client sends an empty name beside the id.
        let name = wanted.topicId == .zero ? wanted.name : nil
        if let topic = name.map({ topics.topic(named: $0) }) ?? topics.topic(id: wanted.topicId) {
            return describe(topic, request, exchange.engine)
        }
        var answer = MetadataResponse.Topic()
        answer.name = name
        answer.topicId = wanted.topicId
        if let name {
            let isLegal = topicNameProblem(name) == nil
            answer.errorCode = !isLegal ? .invalidTopicException : failures[name] ?? .unknownTopicOrPartition
            if answer.errorCode == .none { answer.errorCode = .leaderNotAvailable }
        } else {
            answer.errorCode = .unknownTopicId
        }
        return answer
    }

    private static func describe(
        _ topic: Topic, _ request: MetadataRequest, _ engine: Engine
    ) -> MetadataResponse.Topic {
        var answer = MetadataResponse.Topic()
        answer.name = topic.name
        answer.topicId = topic.id
        answer.isInternal = topic.isInternal
        if request.includeTopicAuthorizedOperations {
            answer.topicAuthorizedOperations = AuthorizedOperations.topic
        }
        let node = engine.configuration.nodeId
        answer.partitions = (0..<Int32(topic.partitionCount)).map { index in
            var partition = MetadataResponse.Partition()
            partition.partitionIndex = index
            partition.leaderId = node
            partition.leaderEpoch = 0
            partition.replicaNodes = [node]
            partition.isrNodes = [node]
            return partition
        }
        return answer
    }
}

extension MetadataRequest.Topic {
    /// Only an answer by id, without a name, would do.
    fileprivate var needsIds: Bool { name == nil || topicId != .zero }
}
