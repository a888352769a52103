// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what the broker sets for every topic, by where it was set.
//
// Keys are those of topics (`retention.ms`). This broker's run-time value wins over the one for all brokers, that over
// what the broker was started with, and that over what is built in.

package struct TopicDefaults: Equatable, Sendable {
    /// From flags, environment and file.
    package var atStart: [String: String]
    /// Set at run time for all brokers (Kafka's dynamic default broker configuration).
    package var ofCluster: [String: String] = [:]
    /// Set at run time for this broker (Kafka's dynamic broker configuration).
    package var ofBroker: [String: String] = [:]

    package init(atStart: [String: String]) {
        self.atStart = atStart
    }

    /// What is in force.
    package var effective: [String: String] {
        atStart.merging(ofCluster) { $1 }.merging(ofBroker) { $1 }
    }

    /// Broker-level names (`log.retention.ms`) as topic-level ones; names that are none of the table's are left out.
    static func byTopicName(_ overrides: [String: String]) -> [String: String] {
        var result: [String: String] = [:]
        for key in TopicConfigurationKey.all { result[key.name] = overrides[key.brokerName] }
        return result
    }
}
