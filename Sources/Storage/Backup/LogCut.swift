// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: one log as it is at one moment, for a backup.
//
// A plain value, taken under the lock of the log's owner and used without it: the files that it names are not removed and
// not replaced before the backup has them (the engine sees to that), and what is appended meanwhile lies beyond the sizes here.

package struct LogCut: Sendable {
    struct Segment: Sendable {
        var baseOffset: Int64
        /// Bytes that are written.
        var size: Int64
        /// Not written to any more.
        var isSealed: Bool
    }

    package let name: String
    let checkpoint: LogCheckpoint
    let segments: [Segment]
    /// What is written ends here.
    let endOffset: Int64
    /// A replacement of segments is under way, whose files have names of their own: all files belong to the log.
    let isBeingReplaced: Bool

    var bytes: Int64 { segments.reduce(0) { $0 + $1.size } }
}

extension Log {
    /// What a process that were killed now would leave of this log.
    package func cut() -> LogCut {
        let all = sealed + (active.map { [$0] } ?? [])
        return LogCut(
            name: name, checkpoint: checkpoint(),
            segments: all.map {
                LogCut.Segment(baseOffset: $0.baseOffset, size: $0.written.size, isSealed: $0 !== active)
            }, endOffset: writtenEndOffset, isBeingReplaced: isCompactionSuspended || all.contains { $0.isSwapping })
    }
}
