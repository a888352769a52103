// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: which overrides a broker, a group or a subscription to client metrics may have.

struct ConfigurationRules: Sendable {
    var groups: GroupConfiguration
    var shares: ShareConfiguration
    var topicDefaults: [String: String]

    func check(_ resource: ConfigurationResource, _ overrides: [String: String]) throws(EngineError) {
        switch resource.kind {
        case .broker: try checkBroker(overrides)
        case .group:
            guard !resource.name.isEmpty else {
                throw EngineError(.invalidRequest, "Default group resources are not allowed.")
            }
            try GroupConfigurationKeys.check(overrides, groups, shares)
        case .clientMetrics:
            guard !resource.name.isEmpty else { throw EngineError(.invalidRequest, "Subscription name can't be empty") }
            try ClientMetricsKeys.check(overrides)
        }
    }

    /// A broker's values are what topics get that have none of their own. Kafka answers INVALID_REQUEST to all of these
    /// (KAFKA-13609).
    private func checkBroker(_ overrides: [String: String]) throws(EngineError) {
        let known = TopicConfigurationKey.all.map(\.brokerName)
        for name in overrides.keys.sorted() where !known.contains(name) {
            throw EngineError(
                .invalidRequest,
                "Cannot update these configs dynamically: \(name)" + Suggestion.question(for: name, among: known))
        }
        do throws(EngineError) {
            let defaults = topicDefaults.merging(TopicDefaults.byTopicName(overrides)) { $1 }
            _ = try TopicConfiguration(overrides: [:], defaults: defaults)
        } catch {
            throw EngineError(.invalidRequest, error.message)
        }
    }
}
