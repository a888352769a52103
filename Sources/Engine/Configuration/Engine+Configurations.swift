// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what follows from a configuration that was set at run time. The one place where that is decided.

extension Engine {
    /// Puts a resource's overrides in force. Runs at start for each that there is, and after every change.
    static func configurationChanged(
        _ topics: TopicCatalog, _ nodeId: Int32, _ groups: GroupCoordinator
    ) -> @Sendable (ConfigurationResource, [String: String]) -> Void {
        { resource, overrides in
            switch resource.kind {
            case .broker:
                // What was set for another node id is kept for it, and not in force here.
                if resource.name.isEmpty {
                    topics.changeDefaults { $0.ofCluster = TopicDefaults.byTopicName(overrides) }
                } else if resource.name == "\(nodeId)" {
                    topics.changeDefaults { $0.ofBroker = TopicDefaults.byTopicName(overrides) }
                }
            case .group: groups.override(GroupOverrides(overrides), of: resource.name)
            case .clientMetrics: break  // Whoever serves them looks at `ResourceConfigurations.revision`.
            }
        }
    }

    /// Puts other values in force for what the broker was started with for every topic, under topic-level names.
    package func changeStartDefaults(_ overrides: [String: String]) {
        topics.changeDefaults { $0.atStart = overrides }
    }

    /// Names of topics that only the broker itself makes.
    package static func isOwnTopic(_ name: String) -> Bool {
        [offsetsTopic, transactionsTopic, shareStateTopic, metadataTopic, "__cluster_metadata"].contains(name)
    }

    /// The end of the broker's own log of metadata.
    package var metadataEndOffset: Int64 { metadata.endOffset }
}
