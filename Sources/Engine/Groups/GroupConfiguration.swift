// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: what of the group coordinator can be configured, and every bound on what it keeps.
//
// The first half are Kafka's settings with Kafka's defaults. The second half are bounds that Kafka leaves
// open; each has a defined answer when it is reached, named beside it.

package struct GroupConfiguration: Equatable, Sendable {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members to join.
    package var initialRebalanceDelayMs: Int64 = 3_000
    /// `group.min.session.timeout.ms`; below it a join gets INVALID_SESSION_TIMEOUT.
    package var minSessionTimeoutMs: Int32 = 6_000
    /// `group.max.session.timeout.ms`; above it a join gets INVALID_SESSION_TIMEOUT.
    package var maxSessionTimeoutMs: Int32 = 1_800_000
    /// How long a parked join of a new member is kept: it cannot heartbeat yet (Kafka: 5 minutes, fixed).
    package var newMemberJoinTimeoutMs: Int64 = 300_000
    /// `group.max.size`, members a group; GROUP_MAX_SIZE_REACHED. Kafka's default is no bound.
    package var membersMax = 1_000
    /// `offset.metadata.max.bytes`, counted in UTF-16 units as Kafka counts; OFFSET_METADATA_TOO_LARGE.
    package var offsetMetadataMax = 4_096
    /// `offsets.retention.minutes`, in milliseconds.
    package var offsetsRetentionMs: Int64 = 7 * 24 * 3_600 * 1_000
    /// `offsets.retention.check.interval.ms`.
    package var offsetsRetentionCheckIntervalMs: Int64 = 600_000

    /// `group.consumer.session.timeout.ms`: how long a member of a consumer group may be silent.
    package var consumerSessionTimeoutMs: Int32 = 45_000
    /// `group.consumer.min.session.timeout.ms` and `max`: what a group's own timeout may be.
    package var consumerSessionTimeouts: ClosedRange<Int32> = 45_000...60_000
    /// `group.consumer.heartbeat.interval.ms`: how often a member of a consumer group is to say that it is there.
    package var consumerHeartbeatIntervalMs: Int32 = 5_000
    /// `group.consumer.min.heartbeat.interval.ms` and `max`: what a group's own interval may be.
    package var consumerHeartbeatIntervals: ClosedRange<Int32> = 5_000...15_000
    /// `group.consumer.max.size`, members a group; GROUP_MAX_SIZE_REACHED. Kafka's default is no bound.
    package var consumerMembersMax = 1_000
    /// `group.consumer.assignors`; the first is the default.
    /// How old a pattern's look at its member's rights may be (Kafka's `group.consumer.regex.refresh.interval.ms`).
    package var patternRefreshMs: Int64 = 600_000
    package var consumerAssignors: [Assignor] = [.uniform, .range]
    /// `group.consumer.migration.policy`.
    package var consumerMigration = ConsumerMigration.bidirectional

    /// Bytes of a group id, and of a group instance id; INVALID_GROUP_ID.
    package var groupIdBytesMax = 1_024
    /// Groups that exist at a time; GROUP_MAX_SIZE_REACHED to a join, INVALID_COMMIT_OFFSET_SIZE to a commit.
    package var groupsMax = 100_000
    /// Bytes of names and metadata that one member may bring; GROUP_MAX_SIZE_REACHED.
    package var memberBytesMax = 1 << 20
    /// Bytes of assignments in one sync; UNKNOWN_SERVER_ERROR, as Kafka answers a record too large.
    package var assignmentBytesMax = 8 << 20
    /// Bytes of members and assignments in all groups; GROUP_MAX_SIZE_REACHED, UNKNOWN_SERVER_ERROR.
    package var membershipBytesMax = 128 << 20
    /// Committed offsets of all groups; INVALID_COMMIT_OFFSET_SIZE.
    package var offsetsMax = 1_000_000
    /// Bytes of offset metadata strings of all groups; INVALID_COMMIT_OFFSET_SIZE.
    package var offsetMetadataBytesMax = 64 << 20
    /// Partitions in one commit; INVALID_COMMIT_OFFSET_SIZE.
    package var partitionsPerCommitMax = 100_000
    /// Changes to offsets that wait to be written or to become durable; COORDINATOR_LOAD_IN_PROGRESS.
    package var changesInFlightMax = 200_000
    /// Changes to offsets that are written as one batch (a larger commit is one batch by itself).
    package var changesPerBatchMax = 4_096
    /// Bytes of groups' own records that are written as one batch (those of one group may be more).
    package var groupBytesPerBatchMax = 256 << 10
    /// Bytes of a member id that a member made; INVALID_REQUEST.
    package var memberIdBytesMax = 4_096

    /// The production defaults.
    package init() {}

    /// Development: no rebalance delay, and session timeouts as short as tests like them.
    package static var development: GroupConfiguration {
        var configuration = GroupConfiguration()
        configuration.initialRebalanceDelayMs = 0
        configuration.minSessionTimeoutMs = 100
        configuration.consumerSessionTimeouts = 100...1_800_000
        configuration.consumerHeartbeatIntervals = 10...60_000
        return configuration
    }
}

/// Whether groups change their protocol while members are in them (`group.consumer.migration.policy`).
package enum ConsumerMigration: String, CaseIterable, Sendable {
    case disabled
    case upgrade
    case downgrade
    case bidirectional

    var allowsUpgrade: Bool { self == .upgrade || self == .bidirectional }
    var allowsDowngrade: Bool { self == .downgrade || self == .bidirectional }
}
