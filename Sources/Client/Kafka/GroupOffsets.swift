// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the committed offsets of a consumer group, without being its member.
//
// Owned by one thread that may wait. A commit from outside is taken only while the group has no
// members (Kafka's rule): this is for reading on where one left off, not for sharing partitions
// between readers.

import KafkaWire
import NIOCore

/// Reads and writes a group's offsets in one topic.
package final class GroupOffsets {
    private let client: KafkaClient
    private let group: String
    private let coordinator: Endpoint
    /// Up to here a request is about one group, or about one key.
    private static let fetchVersionLimit: Int16 = 7
    private static let coordinatorVersionLimit: Int16 = 3

    /// Finds the group's coordinator.
    package init(client: KafkaClient, group: String) throws(ClientError) {
        self.client = client
        self.group = group
        var request = FindCoordinatorRequest()
        request.key = group
        let connection = try client.connection(to: client.options.endpoint)
        let answer = try client.wait(
            connection.send(request, versionLimit: Self.coordinatorVersionLimit))
        guard answer.errorCode == .none else { throw Self.refusal(answer.errorCode, group) }
        coordinator = Endpoint(host: answer.host, port: Int(answer.port))
    }

    /// The next offset to read of each partition that has a commit.
    package func committed(
        topic: String, partitions: [Int32]
    ) throws(ClientError) -> [Int32: Int64] {
        var wanted = OffsetFetchRequest.Topic()
        wanted.name = topic
        wanted.partitionIndexes = partitions
        var request = OffsetFetchRequest()
        request.groupId = group
        request.topics = [wanted]
        let connection = try client.connection(to: coordinator)
        let answer = try client.wait(connection.send(request, versionLimit: Self.fetchVersionLimit))
        guard answer.errorCode == .none else { throw Self.refusal(answer.errorCode, group) }
        var committed: [Int32: Int64] = [:]
        for partition in answer.topics.flatMap(\.partitions) {
            guard partition.errorCode == .none else {
                throw Self.refusal(partition.errorCode, group)
            }
            if partition.committedOffset >= 0 {
                committed[partition.partitionIndex] = partition.committedOffset
            }
        }
        return committed
    }

    /// Stores the next offsets to read.
    package func commit(topic: String, _ offsets: [Int32: Int64]) throws(ClientError) {
        guard !offsets.isEmpty else { return }
        var stored = OffsetCommitRequest.Topic()
        stored.name = topic
        for (partition, offset) in offsets.sorted(by: { $0.key < $1.key }) {
            var entry = OffsetCommitRequest.Partition()
            entry.partitionIndex = partition
            entry.committedOffset = offset
            stored.partitions.append(entry)
        }
        var request = OffsetCommitRequest()
        request.groupId = group
        request.topics = [stored]
        let answer = try client.wait(client.connection(to: coordinator).send(request))
        for partition in answer.topics.flatMap(\.partitions) where partition.errorCode != .none {
            throw Self.refusal(partition.errorCode, group)
        }
    }

    private static func refusal(_ code: KafkaErrorCode, _ group: String) -> ClientError {
        let reason =
            switch code {
            case .unknownMemberId, .illegalGeneration, .rebalanceInProgress:
                "the group has members, who alone may commit; stop them, or use another group"
            case .groupAuthorizationFailed: "this identity has no permission for it"
            case .invalidGroupId: "the name is not allowed"
            default: "the broker says no"
            }
        return ClientError(.refused, "group '\(group)': \(reason) [\(code.name)]")
    }
}
