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

    package init() {}
}
