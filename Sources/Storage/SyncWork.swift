// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what one sync round has to do for one log.

/// What a sync round has to make durable for one log.
package struct SyncWork: Sendable {
    package var files: [any File]
    /// Directories to sync, relative to the file system's root.
    package var directories: [String]
    /// Once done, all records below this offset are durable.
    package var endOffset: Int64
    /// The same, as a place in a file: where recovery may start once this work is done.
    var point: RecoveryPoint?
    /// Which replacement of segments the place belongs to.
    var generation: Int64 = 0

    package init(files: [any File], directories: [String], endOffset: Int64) {
        self.files = files
        self.directories = directories
        self.endOffset = endOffset
    }
}

/// Up to where a log is known to be durable: nothing below needs to be looked at after a crash.
struct RecoveryPoint: Equatable, Sendable {
    /// Base offset of the segment that holds it.
    var segment: Int64
    /// What that segment holds up to there.
    var extent: SegmentExtent
}
