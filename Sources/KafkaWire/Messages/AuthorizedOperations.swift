// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWire: the bit field of what the client may do with a resource (KIP-430), as in
// Metadata, DescribeCluster and DescribeGroups responses: bit n is Kafka's ACL operation n.

package enum AuthorizedOperations {
    /// The client did not ask, or the version cannot say.
    package static let omitted = Int32.min
}
