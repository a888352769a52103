// SPDX-License-Identifier: Apache-2.0
// Martlet, Bytes: deliberate breakages, with which the simulation is tested: each must be caught by it.
//
// Only debug builds can break. In a release `sabotaged` is a constant that the compiler removes, and neither the names nor
// a branch are left in the binary (docs/decisions/0013-simulation.md).

#if DEBUG
    /// One way to break a promise. The name is what the place that breaks asks for.
    package enum Sabotage: String, CaseIterable, Sendable {
        /// A sync round skips the files (not the directories) and says that they are durable.
        case skipFileSync
        /// A sync round syncs one file and answers everybody.
        case syncOneFile
        /// A sync round does not sync directories, so that new segments and logs have no durable name.
        case skipDirectorySync
        /// Batches written while a sync was under way count as synced by it.
        case countLateWrites
        /// A sync that failed counts as one that worked.
        case ignoreFailedSync
        /// After a failed sync the next process believes the page cache.
        case trustPageCache
        /// acks=all is answered when the batch is written.
        case answerBeforeSync
        /// Changes of topics and committed offsets are answered when they are written.
        case answerChangeBeforeSync
        /// A file that is replaced as a whole is renamed before it is synced.
        case skipReplaceSync
        /// The clean-shutdown mark stays where it is while the directory is written to.
        case keepCleanMark
        /// Segments are dropped before they are synced.
        case dropUnsynced
        /// A clean stop calls logs complete that it has not synced.
        case closeWithoutSync
        /// Recovery believes checksums without looking.
        case skipRecoveryChecksum
        /// A torn end is left in the file, and writing goes on behind it.
        case keepTornTail
        /// After a crash a log goes on at an offset it has used.
        case reuseOffset
        /// The checkpoint does not say where a log starts.
        case forgetStartOffset
        /// Producers are not read back at start, so that a retried batch is new.
        case forgetProducers
        /// A producer's sequence numbers are not looked at.
        case ignoreSequence
        /// Producer ids begin at 0 again after a start.
        case repeatProducerIds
        /// Ranges that are known to be damaged are served.
        case serveDamage
        /// Index entries are used without a look at the log.
        case trustIndex
        /// The high watermark counts batches that were not written.
        case earlyHighWatermark
        /// A topic that is created again gets its old id.
        case reuseTopicId
        /// Readers of committed records are not told of aborted transactions.
        case showAborted
        /// A transaction commits its records without its offsets.
        case loseTransactionOffsets
        /// A transaction whose end was decided before a crash is left as it is.
        case forgetPrepared
        /// Requests that share a batch are all told where it begins.
        case forgetPlaceInBatch
        /// The groups are not told of a deleted topic.
        case keepOffsetsOfDeleted
        /// What a worker of a queue says is answered before it is written.
        case answerSaidBeforeWrite
        /// Records that one worker holds are delivered to others.
        case deliverHeld
        /// What a worker that is gone held is done with.
        case loseReleased
        /// Records are delivered however often they were before.
        case deliverForEver

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
