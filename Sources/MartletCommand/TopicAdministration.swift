// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what `martlet topic` asks of a broker, over Kafka's protocol.
//
// Works with any broker that speaks the protocol. Owned by the command's thread, like the client it uses. Every
// refusal becomes one line that names the topic and what to do.

import Bytes
import Client
import KafkaWire

struct TopicAdministration {
    /// A topic, as `describe` shows it.
    struct Description {
        struct Partition {
            var index: Int32
            var earliest: Int64
            var latest: Int64
        }

        var name: String
        var id: String
        var partitions: [Partition]
        /// Only what was set for this topic.
        var configuration: [(name: String, value: String)]
    }

    private let client: KafkaClient

    /// The numbers of DescribeConfigs: a topic among resources, and a value that was set for the topic.
    private static let topicResource: Int8 = 2
    private static let earliest: Int64 = -2
    private static let latest: Int64 = -1

    init(_ options: ConnectionOptions) throws(ClientError) {
        client = try KafkaClient(options)
    }

    /// `partitions` nil leaves the number to the broker.
    func create(
        _ name: String, partitions: Int32?, configuration: [(name: String, value: String)], mayExist: Bool
    ) throws {
        var topic = CreateTopicsRequest.Topic()
        topic.name = name
        topic.numPartitions = partitions ?? -1
        topic.replicationFactor = -1
        topic.configs = configuration.map { pair in
            var config = CreateTopicsRequest.Config()
            config.name = pair.name
            config.value = pair.value
            return config
        }
        var request = CreateTopicsRequest()
        request.topics = [topic]
        let answer = try send(request)
        guard let made = answer.topics.first else { throw noAnswer }
        if made.errorCode == .topicAlreadyExists, mayExist { return }
        try check(made.errorCode, made.errorMessage, topic: name)
    }

    /// Names and numbers of partitions, by name.
    func list(includesInternal: Bool) throws -> [(name: String, partitions: Int)] {
        var request = MetadataRequest()
        request.topics = nil
        request.allowAutoTopicCreation = false
        return try send(request).topics
            .filter { includesInternal || !$0.isInternal }
            .map { ($0.name ?? "", $0.partitions.count) }
            .sorted { $0.0 < $1.0 }
    }

    func describe(_ name: String) throws -> Description {
        var wanted = MetadataRequest.Topic()
        wanted.name = name
        var request = MetadataRequest()
        request.topics = [wanted]
        request.allowAutoTopicCreation = false
        guard let topic = try send(request).topics.first else { throw noAnswer }
        try check(topic.errorCode, nil, topic: name)
        let partitions = try client.leaders(of: name, creates: false).map { leader in
            Description.Partition(
                index: leader.partition,
                earliest: try client.offset(atTimestamp: Self.earliest, topic: name, partition: leader),
                latest: try client.offset(atTimestamp: Self.latest, topic: name, partition: leader))
        }
        return Description(
            name: name, id: topic.topicId.description, partitions: partitions,
            configuration: try configuration(of: name))
    }

    func delete(_ name: String, mayBeMissing: Bool) throws {
        var topic = DeleteTopicsRequest.Topic()
        topic.name = name
        var request = DeleteTopicsRequest()
        request.topics = [topic]
        request.topicNames = [name]
        request.timeoutMs = Int32(clamping: client.options.requestTimeoutMs)
        guard let deleted = try send(request).topics.first else { throw noAnswer }
        if deleted.errorCode == .unknownTopicOrPartition, mayBeMissing { return }
        try check(deleted.errorCode, deleted.errorMessage, topic: name)
    }

    private func configuration(of name: String) throws -> [(name: String, value: String)] {
        var resource = DescribeConfigsRequest.Resource()
        resource.resourceType = Self.topicResource
        resource.resourceName = name
        resource.configurationKeys = nil
        var request = DescribeConfigsRequest()
        request.resources = [resource]
        guard let result = try send(request).results.first else { throw noAnswer }
        try check(result.errorCode, result.errorMessage, topic: name)
        return result.configs
            .filter { $0.configSource == DescribeConfigsResponse.ConfigSource.topic }
            .map { ($0.name, $0.value ?? "") }
            .sorted { $0.0 < $1.0 }
    }

    private func send<Request: KafkaRequest>(_ request: Request) throws(ClientError) -> Request.Response {
        try client.wait(client.connection(to: client.options.endpoint).send(request))
    }

    private var noAnswer: CommandError {
        CommandError("\(client.options.endpoint) answered without the topic; is it a Kafka broker?")
    }

    private func check(_ code: KafkaErrorCode, _ message: String?, topic: String) throws(CommandError) {
        guard code != .none else { return }
        let advice =
            switch code {
            case .topicAlreadyExists: "it exists already; --if-not-exists accepts that"
            case .unknownTopicOrPartition: "there is no such topic; `martlet topic list` shows those there are"
            case .invalidTopicException: "the name is not allowed: letters, digits, `.`, `_` and `-`, at most 249"
            case .topicAuthorizationFailed, .clusterAuthorizationFailed: "this identity may not do that"
            default: "the broker refuses (\(code))"
            }
        throw CommandError("topic `\(topic)`: \(advice)" + (message.map { ": \($0)" } ?? ""))
    }
}
