// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: DescribeConfigs (key 32).
//
// Versions: 1 to 4.
// Behaviour: topics answer every key of the topic table with value, source, type, and on request synonyms and
//   documentation; the broker answers the broker-level names of the same keys, read-only, and its own few.
// Deviations from Kafka: the broker lists the keys that have an effect here, not Kafka's several hundred.
// Notes: 1 adds sources and synonyms, 3 types and documentation.

import Engine
import KafkaWire

enum DescribeConfigsHandler: KafkaHandler {
    typealias Result = DescribeConfigsResponse.Result
    typealias Config = DescribeConfigsResponse.Config

    static func handle(_ request: DescribeConfigsRequest, _ exchange: Exchange) {
        guard exchange.admits(request.resources.count, "resources", limit: Limits.resourcesPerRequest) else {
            return
        }
        var response = DescribeConfigsResponse()
        response.results = request.resources.map { describe($0, request, exchange.engine) }
        exchange.reply(response)
    }

    private static func describe(
        _ resource: DescribeConfigsRequest.Resource, _ request: DescribeConfigsRequest, _ engine: Engine
    ) -> Result {
        var result = Result()
        result.resourceType = resource.resourceType
        result.resourceName = resource.resourceName
        do throws(ConfigResource.Refusal) {
            let found = try ConfigResource.find(
                type: resource.resourceType, name: resource.resourceName, in: engine)
            var configs: [Config]
            switch found {
            case .topic(let topic):
                configs = TopicConfigurationKey.all.map { describe($0, topic.configuration) }
            case .broker:
                configs = TopicConfigurationKey.all.map { describe(brokerLevel: $0, engine) } + own(engine)
            }
            if let wanted = resource.configurationKeys { configs.removeAll { !wanted.contains($0.name) } }
            for at in configs.indices {
                if !request.includeSynonyms { configs[at].synonyms = [] }
                if !request.includeDocumentation { configs[at].documentation = nil }
            }
            result.configs = configs
        } catch {
            result.errorCode = error.code
            result.errorMessage = error.message
        }
        return result
    }

    private static func describe(_ key: TopicConfigurationKey, _ configuration: TopicConfiguration) -> Config {
        var config = Config()
        config.name = key.name
        config.value = configuration.value(of: key)
        config.configSource = ConfigSource.of(key, configuration).rawValue
        config.configType = key.kind.number
        config.documentation = key.documentation
        if let value = configuration.overrides[key.name] {
            config.synonyms.append(synonym(key.name, value, .topic))
        }
        if let value = configuration.defaults[key.name] {
            config.synonyms.append(synonym(key.brokerName, value, .staticBroker))
        }
        config.synonyms.append(synonym(key.brokerName, key.defaultValue, .builtIn))
        return config
    }

    private static func describe(brokerLevel key: TopicConfigurationKey, _ engine: Engine) -> Config {
        let isSet = engine.configuration.topicDefaults[key.name] != nil
        return readOnly(
            key.brokerName, engine.configuration.topicDefaults[key.name] ?? key.defaultValue, key.kind,
            isSet ? .staticBroker : .builtIn, key.documentation)
    }

    /// What the broker has of its own.
    private static func own(_ engine: Engine) -> [Config] {
        let configuration = engine.configuration
        return [
            readOnly(
                "auto.create.topics.enable", "\(configuration.autoCreateTopics)", .boolean, .staticBroker,
                "Whether asking for a missing topic creates it."),
            readOnly(
                "broker.id", "\(configuration.nodeId)", .int, .staticBroker, "The number of this broker."),
            readOnly(
                "default.replication.factor", "1", .int, .builtIn, "Replicas of a partition: there is one broker."),
            readOnly(
                "num.partitions", "\(configuration.defaultPartitions)", .int, .staticBroker,
                "Partitions of a topic that is created without saying how many."),
        ]
    }

    private static func readOnly(
        _ name: String, _ value: String, _ kind: TopicConfigurationKey.Kind, _ source: ConfigSource,
        _ documentation: String
    ) -> Config {
        var config = Config()
        config.name = name
        config.value = value
        config.readOnly = true
        config.configSource = source.rawValue
        config.configType = kind.number
        config.documentation = documentation
        config.synonyms = [synonym(name, value, source)]
        return config
    }

    private static func synonym(
        _ name: String, _ value: String, _ source: ConfigSource
    ) -> DescribeConfigsResponse.Synonym {
        var synonym = DescribeConfigsResponse.Synonym()
        synonym.name = name
        synonym.value = value
        synonym.source = source.rawValue
        return synonym
    }
}

extension TopicConfigurationKey.Kind {
    /// Kafka's number of the type (ConfigDef.Type as DescribeConfigs sends it).
    var number: Int8 {
        switch self {
        case .boolean: 1
        case .string: 2
        case .int: 3
        case .long: 5
        case .double: 6
        case .list: 7
        }
    }
}
