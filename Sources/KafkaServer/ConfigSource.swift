// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: where a configuration value comes from, by Kafka's numbers (DescribeConfigs).

import Engine

enum ConfigSource: Int8 {
    case topic = 1
    case staticBroker = 4
    case builtIn = 5

    static func of(_ key: TopicConfigurationKey, _ configuration: TopicConfiguration) -> ConfigSource {
        if configuration.overrides[key.name] != nil { return .topic }
        return configuration.defaults[key.name] != nil ? .staticBroker : .builtIn
    }
}
