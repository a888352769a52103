// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: what configuration calls are about.

import Engine
import KafkaWire

/// A resource of DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.
enum ConfigResource {
    case topic(Topic)
    /// This broker.
    case broker
    /// The defaults of all brokers.
    case brokers
    case loggers
    case group(String)
    case clientMetrics(String)

    /// Throws what Kafka answers for a resource that is not there or has no such name.
    static func find(type: Int8, name: String, in engine: Engine) throws(EngineError) -> ConfigResource {
        switch type {
        case ConfigResourceType.topic:
            if let problem = topicNameProblem(name) {
                throw EngineError(.invalidTopicName, "invalid topic name \"\(name)\": \(problem)")
            }
            guard let topic = engine.topics.topic(named: name) else {
                throw EngineError(.unknownTopic, "topic \(name) does not exist")
            }
            return .topic(topic)
        case ConfigResourceType.broker:
            if name.isEmpty { return .brokers }
            try checkNode(name, engine)
            return .broker
        case ConfigResourceType.brokerLogger:
            guard !name.isEmpty else { throw EngineError(.invalidRequest, "Broker id must not be empty") }
            try checkNode(name, engine)
            return .loggers
        case ConfigResourceType.clientMetrics:
            guard !name.isEmpty else {
                throw EngineError(.invalidRequest, "Client metrics subscription name must not be empty")
            }
            return .clientMetrics(name)
        case ConfigResourceType.group:
            guard !name.isEmpty else { throw EngineError(.invalidRequest, "Group name must not be empty") }
            return .group(name)
        default:
            throw EngineError(.invalidRequest, "Unknown resource type \(type)")
        }
    }

    private static func checkNode(_ name: String, _ engine: Engine) throws(EngineError) {
        let node = engine.configuration.nodeId
        guard let id = Int32(name) else {
            throw EngineError(.invalidRequest, "Node id must be an integer, but it is: \(name)")
        }
        guard id == node else {
            throw EngineError(.invalidRequest, "Unexpected broker id, expected \(node), but received \(name)")
        }
    }

    /// Where the engine keeps it; nil: elsewhere.
    func stored(in engine: Engine) -> ConfigurationResource? {
        switch self {
        case .topic, .loggers: nil
        case .broker: ConfigurationResource(.broker, "\(engine.configuration.nodeId)")
        case .brokers: ConfigurationResource(.broker, "")
        case .group(let name): ConfigurationResource(.group, name)
        case .clientMetrics(let name): ConfigurationResource(.clientMetrics, name)
        }
    }

    /// The value from which a list grows and shrinks if it was not set; nil: the key has no list, or there is no such key.
    func defaultList(_ name: String) -> String? {
        switch self {
        case .topic:
            TopicConfigurationKey.named[name].flatMap { $0.kind == .list ? $0.defaultValue : nil }
        case .broker, .brokers:
            TopicConfigurationKey.all.first { $0.brokerName == name }.flatMap { $0.kind == .list ? $0.defaultValue : nil }
        case .clientMetrics: ClientMetricsKeys.all.contains { $0.name == name && $0.kind == .list } ? "" : nil
        case .group, .loggers: nil
        }
    }
}
