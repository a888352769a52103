// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what of a log's behaviour can be configured.

/// What of a log's behaviour can be configured; changed at run time by assigning `Log.configuration`.
package struct LogConfiguration: Equatable, Sendable {
    package var segmentBytes: Int64 = 1 << 30
    package var segmentMs: Int64 = 7 * 24 * 3600 * 1000
    package var indexIntervalBytes: Int = 4096
    /// -1: keep for ever.
    package var retentionMs: Int64 = 7 * 24 * 3600 * 1000
    /// -1: no limit.
    package var retentionBytes: Int64 = -1
    /// Kafka's segment.index.bytes: a segment whose offset or time index would outgrow it is rolled.
    package var segmentIndexBytes = StorageLimits.indexBytes
    /// How much sooner than after `segmentMs` a segment may be rolled, so that not all are at once.
    package var segmentJitterMs: Int64 = 0
    /// `cleanup.policy`: whether age and size delete segments, and whether old records of a key are.
    package var deletes = true
    package var compacts = false
    /// How long a tombstone can be read after the cleaning that met it.
    package var deleteRetentionMs: Int64 = 24 * 3600 * 1000
    package var minCompactionLagMs: Int64 = 0
    package var maxCompactionLagMs = Int64.max
    package var minCleanableDirtyRatio = 0.5
    /// How long files of dropped segments stay.
    package var fileDeleteDelayMs: Int64 = 0

    package init() {}

    /// After how long the active segment is closed: compaction may not have to wait for it.
    var rollMs: Int64 { compacts ? min(segmentMs, maxCompactionLagMs) : segmentMs }
}
