// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how positions are committed and read back, by members, administrators and gRPC clients alike.

package struct OffsetCommit: Sendable {
    package struct Position: Sendable {
        package var topic: String
        package var partition: Int32
        package var offset: Int64
        /// -1: not known.
        package var leaderEpoch: Int32
        package var metadata: String

        package init(topic: String, partition: Int32, offset: Int64, leaderEpoch: Int32 = -1, metadata: String = "") {
            self.topic = topic
            self.partition = partition
            self.offset = offset
            self.leaderEpoch = leaderEpoch
            self.metadata = metadata
        }
    }

    package var groupId: String
    package var member: GroupMemberIdentity
    /// -1 from whoever is no member.
    package var generationId: Int32
    /// A retention of the commit's own (before v5); nil: the broker's.
    package var retentionMs: Int64?
    package var positions: [Position]
    /// Whether the request's version knows member epochs (KIP-848); members of consumer groups need that.
    package var knowsMemberEpochs = true
    /// It belongs to a transaction.
    package var isTransactional = false

    package init(
        groupId: String, member: GroupMemberIdentity = .none, generationId: Int32 = -1, retentionMs: Int64? = nil,
        positions: [Position]
    ) {
        self.groupId = groupId
        self.member = member
        self.generationId = generationId
        self.retentionMs = retentionMs
        self.positions = positions
    }
}

/// Some partitions of one topic.
package struct TopicPartitions: Equatable, Sendable {
    package var topic: String
    package var partitions: [Int32]

    package init(topic: String, partitions: [Int32]) {
        self.topic = topic
        self.partitions = partitions
    }
}

/// A group's positions in one topic, in the order in which they were asked for.
package struct TopicPositions: Equatable, Sendable {
    package struct Position: Equatable, Sendable {
        package var partition: Int32
        /// nil: nothing committed.
        package var offset: CommittedOffset?
        /// Whether an open transaction is to commit another one (KIP-447).
        package var isUnstable = false
    }

    package var topic: String
    package var positions: [Position]
}
