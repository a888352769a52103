// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the bounds of requests about many groups, whose replies can be far larger than they are.

extension Limits {
    /// Groups of one DescribeGroups, OffsetFetch, DeleteGroups or FindCoordinator request; more: INVALID_REQUEST.
    /// Beyond ten times as many, and as many members of one LeaveGroup, the connection is closed, the cause logged.
    static let groupsPerRequest = 10_000
    /// Transactions of one AddPartitionsToTxn, DescribeTransactions or WriteTxnMarkers request; more: INVALID_REQUEST.
    static let transactionsPerRequest = 10_000
    /// Features of one UpdateFeatures request; more: INVALID_REQUEST.
    static let featuresPerRequest = 1_000
    /// Positions in one OffsetFetch reply; the groups that do not fit get INVALID_REQUEST.
    static let positionsPerReply = 1_000_000
}
