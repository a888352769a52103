// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the position of a group in one partition.

package struct CommittedOffset: Equatable, Sendable {
    package var offset: Int64
    /// -1: not known.
    package var leaderEpoch: Int32
    package var metadata: String
    /// Wall clock, when the commit was made.
    package var commitTimestampMs: Int64
    /// From commits that brought a retention time of their own (before v5); nil: the broker's retention.
    package var expireTimestampMs: Int64?

    package init(
        offset: Int64, leaderEpoch: Int32 = -1, metadata: String = "", commitTimestampMs: Int64,
        expireTimestampMs: Int64? = nil
    ) {
        self.offset = offset
        self.leaderEpoch = leaderEpoch
        self.metadata = metadata
        self.commitTimestampMs = commitTimestampMs
        self.expireTimestampMs = expireTimestampMs
    }
}

extension Int64 {
    /// The sum, or the nearest number there is: retention times and timestamps may be anybody's.
    func addingWithoutOverflow(_ other: Int64) -> Int64 {
        let (sum, isOver) = addingReportingOverflow(other)
        return isOver ? (other > 0 ? .max : .min) : sum
    }
}
