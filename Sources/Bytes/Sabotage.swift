// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: deliberate breakages, with which the simulation is tested: each must be caught by it.
//
// Only debug builds can break. In a release `sabotaged` is a constant that the compiler removes, and neither the names nor
// a branch are left in the binary (docs/decisions/0013-simulation.md).

#if DEBUG
    /// One way to break a promise. The name is what the place that breaks asks for.
    package enum Sabotage: String, CaseIterable, Sendable {
        /// A sync round skips the log files (not the directories) and says that they are durable.
        case skipFileSync
        /// acks=all is answered when the batch is written.
        case answerBeforeSync
        /// acks=all is answered by whatever sync round ends next, whether or not this log was part of it.
        case answerOnAnySync
        /// A sync round does not sync directories, so that new segments and logs have no durable name.
        case skipDirectorySync
        /// A file that is replaced as a whole is renamed before it is synced.
        case skipReplaceSync
        /// Recovery believes checksums without looking.
        case skipRecoveryChecksum
        /// A torn end is left in the file, and writing goes on behind it.
        case keepTornTail
        /// After a restart a log goes on at an offset it has used.
        case reuseOffset
        /// The clean-shutdown mark stays where it is while the directory is written to.
        case keepCleanMark
        /// Producers are not read back at start, so that a retried batch is new.
        case forgetProducers
        /// Commits of offsets are answered when they are written.
        case answerCommitBeforeSync
        /// A sync that failed counts as one that worked.
        case ignoreFailedSync
        /// Ranges that are known to be damaged are served.
        case serveDamage
        /// The checkpoint does not say where a log starts.
        case forgetStartOffset
        /// A topic that is created again gets its old id.
        case reuseTopicId
        /// The high watermark counts batches that were not written.
        case earlyHighWatermark
        /// What a full disk took of a batch stays in the log's file.
        case keepPartialWrite
        /// Index entries are used without a look at the log.
        case trustIndex
        /// A deleted topic comes back, because its record is not awaited.
        case answerDeletionEarly
        /// A producer's sequence numbers are not looked at.
        case ignoreSequence

        /// What is broken in this task; nil almost always.
        @TaskLocal package static var active: Sabotage?
    }

    /// Whether this breakage was asked for.
    package func sabotaged(_ name: StaticString) -> Bool {
        guard let active = Sabotage.active else { return false }
        return active.rawValue == name.description
    }
#else
    /// Never, in a release.
    @inlinable @inline(__always)
    package func sabotaged(_ name: StaticString) -> Bool { false }
#endif
