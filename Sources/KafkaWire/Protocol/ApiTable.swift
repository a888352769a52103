// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the one place that says which APIs are served, in which versions.
//
// ApiVersions, the router, the header coding, the tests and docs/kafka-support.md all follow from
// this table. An API with `isServed == false` has its messages defined, for the client side and the
// tests, but is neither advertised nor routed. Clients take an API family as a whole or not at all
// (librdkafka's feature map), so a partial family must not be marked as served.

package enum ApiTable {
    package struct Entry: Sendable {
        package let key: ApiKey
        /// The versions whose messages are defined here.
        package let versions: ClosedRange<Int16>
        /// Those of them that are answered.
        package let served: ClosedRange<Int16>
        /// The versions that ApiVersions shows.
        package let advertised: ClosedRange<Int16>
        /// The first version with compact lengths and tagged fields (KIP-482); nil: none has.
        package let firstFlexible: Int16?
        package let isServed: Bool

        package var name: String { key.name }

        package func isFlexible(_ version: Int16) -> Bool {
            guard let firstFlexible else { return false }
            return version >= firstFlexible
        }

        /// The version of the request's header: 2 has tagged fields.
        package func requestHeaderVersion(_ version: Int16) -> Int16 {
            isFlexible(version) ? 2 : 1
        }

        /// The version of the response's header: 1 has tagged fields. An ApiVersions response is
        /// read before the client knows what the broker speaks: its header is always 0 (KIP-511).
        package func responseHeaderVersion(_ version: Int16) -> Int16 {
            isFlexible(version) && key != .apiVersions ? 1 : 0
        }
    }

    /// All APIs with messages defined here, by key.
    package static let entries: [Entry] = [
        // librdkafka compresses only if it sees Produce from 0 on (KAFKA-18659); 0-2 are refused.
        entry(.produce, 3...12, advertised: 0...12, flexible: 9),
        entry(.fetch, 4...17, flexible: 12),
        entry(.listOffsets, 1...10, flexible: 6),
        entry(.metadata, 0...13, flexible: 9),
        entry(.offsetCommit, 2...9, flexible: 8),
        entry(.offsetFetch, 1...9, flexible: 6),
        entry(.findCoordinator, 0...6, flexible: 3),
        // librdkafka before 2.11 with Kerberos sends JoinGroup 0 or 1 (KAFKA-19444).
        entry(.joinGroup, 0...9, flexible: 6),
        entry(.heartbeat, 0...4, flexible: 4),
        entry(.leaveGroup, 0...5, flexible: 4),
        entry(.syncGroup, 0...5, flexible: 4),
        entry(.describeGroups, 0...6, flexible: 5),
        entry(.listGroups, 0...5, flexible: 3),
        entry(.saslHandshake, 0...1, flexible: nil),
        entry(.apiVersions, 0...4, flexible: 3),
        entry(.createTopics, 2...7, flexible: 5),
        entry(.deleteTopics, 1...6, flexible: 4),
        entry(.deleteRecords, 0...2, flexible: 2),
        entry(.initProducerId, 0...5, flexible: 2),
        entry(.offsetForLeaderEpoch, 2...4, flexible: 4),
        entry(.addPartitionsToTxn, 0...5, flexible: 3),
        entry(.addOffsetsToTxn, 0...4, flexible: 3),
        entry(.endTxn, 0...5, flexible: 3),
        entry(.writeTxnMarkers, 1...1, flexible: 1),
        entry(.txnOffsetCommit, 0...5, flexible: 3),
        entry(.describeAcls, 1...3, flexible: 2),
        entry(.createAcls, 1...3, flexible: 2),
        entry(.deleteAcls, 1...3, flexible: 2),
        entry(.describeConfigs, 1...4, flexible: 4),
        entry(.alterConfigs, 0...2, flexible: 2),
        entry(.alterReplicaLogDirs, 1...2, flexible: 2),
        entry(.describeLogDirs, 1...4, flexible: 2),
        entry(.saslAuthenticate, 0...2, flexible: 2),
        entry(.createPartitions, 0...3, flexible: 2),
        entry(.deleteGroups, 0...2, flexible: 2),
        entry(.electLeaders, 0...2, flexible: 2),
        entry(.incrementalAlterConfigs, 0...1, flexible: 1),
        entry(.alterPartitionReassignments, 0...0, flexible: 0),
        entry(.listPartitionReassignments, 0...0, flexible: 0),
        entry(.offsetDelete, 0...0, flexible: nil),
        entry(.describeClientQuotas, 0...1, flexible: 1),
        entry(.alterClientQuotas, 0...1, flexible: 1),
        entry(.describeUserScramCredentials, 0...0, flexible: 0),
        entry(.alterUserScramCredentials, 0...0, flexible: 0),
        entry(.describeQuorum, 0...2, flexible: 0),
        entry(.updateFeatures, 0...2, flexible: 0),
        entry(.describeCluster, 0...2, flexible: 0),
        entry(.describeProducers, 0...0, flexible: 0),
        entry(.describeTransactions, 0...0, flexible: 0),
        entry(.listTransactions, 0...1, flexible: 0),
        entry(.consumerGroupHeartbeat, 0...1, flexible: 0),
        entry(.consumerGroupDescribe, 0...1, flexible: 0),
        entry(.getTelemetrySubscriptions, 0...0, flexible: 0),
        entry(.pushTelemetry, 0...0, flexible: 0),
        entry(.listConfigResources, 0...1, flexible: 0),
        entry(.describeTopicPartitions, 0...0, flexible: 0),
        entry(.shareGroupHeartbeat, 1...1, flexible: 0),
        entry(.shareGroupDescribe, 1...1, flexible: 0),
        entry(.shareFetch, 1...2, flexible: 0),
        entry(.shareAcknowledge, 1...2, flexible: 0),
        entry(.describeShareGroupOffsets, 0...1, flexible: 0),
        entry(.alterShareGroupOffsets, 0...0, flexible: 0),
        entry(.deleteShareGroupOffsets, 0...0, flexible: 0),
    ]

    /// The APIs that ApiVersions advertises and the router routes.
    package static let served: [Entry] = entries.filter(\.isServed)

    /// The entry for a key as a client sent it; nil if its messages are not defined here.
    package static func entry(key: Int16) -> Entry? {
        guard key >= 0, key < byKey.count else { return nil }
        return byKey[Int(key)]
    }

    /// The entry of a message defined here.
    static func entry(_ key: ApiKey) -> Entry {
        guard let entry = entry(key: key.rawValue) else {
            preconditionFailure("\(key) has a message but no entry in ApiTable")
        }
        return entry
    }

    private static let byKey: [Entry?] = {
        let last = entries.map(\.key.rawValue).max() ?? -1
        var table = [Entry?](repeating: nil, count: Int(last) + 1)
        for entry in entries { table[Int(entry.key.rawValue)] = entry }
        return table
    }()

    private static func entry(
        _ key: ApiKey, _ versions: ClosedRange<Int16>, served: ClosedRange<Int16>? = nil,
        advertised: ClosedRange<Int16>? = nil, flexible: Int16?, isServed: Bool = true
    ) -> Entry {
        Entry(
            key: key, versions: versions, served: served ?? versions,
            advertised: advertised ?? served ?? versions, firstFlexible: flexible, isServed: isServed)
    }
}
