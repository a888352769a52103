// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: who leads, as Produce and Fetch responses tell a client that asked the wrong
// broker (KIP-951), in tagged fields, and as responses of share groups always do. Both structures
// are only ever in flexible versions.

/// A partition's leader and its epoch.
package struct LeaderIdAndEpoch: FieldStructure, Equatable, Sendable {
    package var leaderId: Int32 = -1
    package var leaderEpoch: Int32 = -1

    package init() {}

    package init(leaderId: Int32, leaderEpoch: Int32) {
        self.leaderId = leaderId
        self.leaderEpoch = leaderEpoch
    }

    /// Not the default, so to be sent.
    var isKnown: Bool { leaderId != -1 || leaderEpoch != -1 }

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&leaderId)
        coder.int32(&leaderEpoch)
        coder.noTags()
    }
}

/// Where a leader listens.
package struct NodeEndpoint: FieldStructure, Equatable, Sendable {
    package var nodeId: Int32 = 0
    package var host = ""
    package var port: Int32 = 0
    package var rack: String?

    package init() {}

    mutating func walk(_ coder: inout some FieldCoder) {
        coder.int32(&nodeId)
        coder.string(&host)
        coder.int32(&port)
        coder.string(&rack)
        coder.noTags()
    }
}
