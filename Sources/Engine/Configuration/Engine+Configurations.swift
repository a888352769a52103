// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what follows from a configuration that was set at run time. The one place where that is decided.

import NIOConcurrencyHelpers

/// Told a group's overrides, by key, whenever they change; none: it has the broker's values again.
package typealias GroupConfigured = @Sendable (_ groupId: String, _ overrides: [String: String]) -> Void

extension Engine {
    /// Puts a resource's overrides in force. Runs at start for each that there is, and after every change.
    static func configurationChanged(
        _ topics: TopicCatalog, _ nodeId: Int32, _ groupConfigured: NIOLockedValueBox<GroupConfigured?>
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
            case .group: groupConfigured.withLockedValue { $0 }?(resource.name, overrides)
            case .clientMetrics: break  // Whoever serves them looks at `ResourceConfigurations.revision`.
            }
        }
    }

    /// Has `body` called for every group that has a configuration, now and whenever one changes.
    package func onGroupConfiguration(_ body: @escaping GroupConfigured) {
        groupConfigured.withLockedValue { $0 = body }
        for groupId in configurations.names(of: .group) {
            body(groupId, configurations.overrides(of: ConfigurationResource(.group, groupId)))
        }
    }

    /// Names of topics that only the broker itself makes.
    package static func isOwnTopic(_ name: String) -> Bool {
        [offsetsTopic, transactionsTopic, metadataTopic, "__cluster_metadata"].contains(name)
    }

    /// The end of the broker's own log of metadata.
    package var metadataEndOffset: Int64 { metadata.endOffset }
}
