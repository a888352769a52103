// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what besides topics has a configuration that can be changed while the broker runs.

package struct ConfigurationResource: Hashable, Sendable {
    /// The numbers are Kafka's and are stored.
    package enum Kind: UInt8, Sendable, CaseIterable {
        /// Named by the node id, or by the empty name for the defaults of all brokers.
        case broker = 4
        case clientMetrics = 16
        case group = 32
    }

    package var kind: Kind
    package var name: String

    package init(_ kind: Kind, _ name: String) {
        self.kind = kind
        self.name = name
    }
}
