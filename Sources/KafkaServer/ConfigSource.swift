// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: where a topic's configuration values come from, by Kafka's numbers, the nearest first.

import Engine
import KafkaWire

struct ConfigSource {
    typealias Number = DescribeConfigsResponse.ConfigSource

    var name: String
    var value: String
    var number: Int8

    /// What the broker sets for a key of topics. As in Kafka, a default that is there under another name only is left
    /// out unless a nearer one is there.
    static func broker(_ key: TopicConfigurationKey, _ defaults: TopicDefaults) -> [ConfigSource] {
        var sources: [ConfigSource] = []
        func add(_ value: String?, _ number: Int8) {
            if let value { sources.append(ConfigSource(name: key.brokerName, value: value, number: number)) }
        }
        add(defaults.ofBroker[key.name], Number.dynamicBroker)
        add(defaults.ofCluster[key.name], Number.dynamicDefaultBroker)
        add(defaults.atStart[key.name], Number.staticBroker)
        switch key.brokerName {
        case "log.retention.ms", "log.roll.ms":
            let hours = String(key.brokerName.dropLast(2)) + "hours"
            if !sources.isEmpty { sources.append(ConfigSource(name: hours, value: "168", number: Number.defaultValue)) }
        default: add(key.defaultValue, Number.defaultValue)
        }
        return sources
    }

    /// The number of where a topic's value comes from.
    static func number(
        of key: TopicConfigurationKey, _ configuration: TopicConfiguration, _ defaults: TopicDefaults
    ) -> Int8 {
        if configuration.overrides[key.name] != nil { return Number.topic }
        return broker(key, defaults).first?.number ?? Number.defaultValue
    }
}
