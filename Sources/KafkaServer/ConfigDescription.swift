// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the keys of a resource as DescribeConfigs tells them, with synonyms in Kafka's order.

import Engine
import KafkaWire
import Logging

struct ConfigDescription {
    typealias Config = DescribeConfigsResponse.Config
    typealias Source = DescribeConfigsResponse.ConfigSource

    private let exchange: Exchange
    private let engine: Engine
    private let defaults: TopicDefaults

    init(_ exchange: Exchange) {
        self.exchange = exchange
        engine = exchange.engine
        defaults = engine.topics.defaults
    }

    func configs(of resource: ConfigResource) -> [Config] {
        switch resource {
        case .topic(let topic): ofTopic(topic.configuration, isInternal: topic.isInternal)
        case .broker: ofBroker()
        case .brokers: ofBrokers()
        case .loggers: ofLoggers()
        case .group(let name): ofGroup(name)
        case .clientMetrics(let name): ofClientMetrics(name)
        }
    }

    private func ofTopic(_ configuration: TopicConfiguration, isInternal: Bool) -> [Config] {
        // The broker's own topics have what it was started with.
        let defaults = isInternal ? TopicDefaults(atStart: engine.configuration.topicDefaults) : defaults
        return TopicConfigurationKey.all.map { key in
            var sources = ConfigSource.broker(key, defaults)
            if let value = configuration.overrides[key.name] {
                sources.insert(ConfigSource(name: key.name, value: value, number: Source.topic), at: 0)
            }
            return config(key.name, configuration.value(of: key), key.kind, key.documentation, sources)
        }
    }

    private func ofBroker() -> [Config] {
        let ofTopics = TopicConfigurationKey.all.map { key in
            let value = defaults.effective[key.name] ?? key.defaultValue
            return config(key.brokerName, value, key.kind, key.documentation, ConfigSource.broker(key, defaults))
        }
        let own = BrokerSetting.all.map { setting in
            let value = setting.value(exchange)
            let isDefault = value == setting.defaultValue
            var sources: [ConfigSource] = []
            if !isDefault, let value {
                sources.append(ConfigSource(name: setting.name, value: value, number: Source.staticBroker))
            }
            if let value = setting.defaultValue {
                sources.append(ConfigSource(name: setting.name, value: value, number: Source.defaultValue))
            }
            var answer = config(setting.name, value, setting.kind, setting.documentation, sources)
            answer.readOnly = true
            return answer
        }
        return (ofTopics + own).sorted { $0.name < $1.name }
    }

    /// What was set at run time for all brokers.
    private func ofBrokers() -> [Config] {
        TopicConfigurationKey.all.compactMap { key in
            defaults.ofCluster[key.name].map { value in
                let source = ConfigSource(name: key.brokerName, value: value, number: Source.dynamicDefaultBroker)
                return config(key.brokerName, value, key.kind, key.documentation, [source])
            }
        }
    }

    private func ofLoggers() -> [Config] {
        BrokerSetting.loggers.map { name in
            let level = BrokerSetting.level(exchange.server.logger.logLevel)
            let source = ConfigSource(name: name, value: level, number: Source.dynamicBrokerLogger)
            var answer = config(name, level, .string, "The least severe messages that are logged.", [source])
            answer.readOnly = true
            answer.synonyms = []
            return answer
        }
    }

    private func ofGroup(_ name: String) -> [Config] {
        let overrides = engine.configurations.overrides(of: ConfigurationResource(.group, name))
        return GroupConfigurationKeys.all.map { key in
            let value = overrides[key.name] ?? key.defaultValue(engine.configuration.groups, engine.configuration.shares)
            let number = overrides[key.name] == nil ? Source.defaultValue : Source.group
            let source = ConfigSource(name: key.name, value: value, number: number)
            return config(key.name, value, key.kind, key.documentation, [source])
        }
    }

    /// As in Kafka, only what was set.
    private func ofClientMetrics(_ name: String) -> [Config] {
        let overrides = engine.configurations.overrides(of: ConfigurationResource(.clientMetrics, name))
        return ClientMetricsKeys.all.compactMap { key in
            overrides[key.name].map { value in
                let source = ConfigSource(name: key.name, value: value, number: Source.clientMetrics)
                var answer = config(key.name, value, key.kind, key.documentation, [source])
                answer.synonyms = []
                return answer
            }
        }
    }

    private func config(
        _ name: String, _ value: String?, _ kind: TopicConfigurationKey.Kind, _ documentation: String,
        _ sources: [ConfigSource]
    ) -> Config {
        var config = Config()
        config.name = name
        config.value = value
        config.configSource = sources.first?.number ?? Source.defaultValue
        config.configType = kind.number
        config.documentation = documentation
        config.synonyms = sources.map { source in
            var synonym = DescribeConfigsResponse.Synonym()
            synonym.name = source.name
            synonym.value = source.value
            synonym.source = source.number
            return synonym
        }
        return config
    }
}
