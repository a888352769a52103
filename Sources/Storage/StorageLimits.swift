// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: every bound of this module, in one place.

/// The bounds of this module.
package enum StorageLimits {
    /// A batch of at most this many bytes is copied and waits for `write()`; a larger one is written at once.
    static let smallBatchBytes = 16 << 10
    /// So many bytes waiting in memory are written without being asked.
    static let pendingBytes = 256 << 10
    /// A buffer that grew beyond this is given back after a write.
    static let keptPendingBytes = 64 << 10
    /// Positions in a segment are 32 bits wide in Kafka's index format.
    static let segmentBytes = Int64(Int32.max)
    /// Offsets stay below this, so that no sum of an offset and a length can overflow.
    static let offset = Int64.max >> 1
    /// Kafka's segment.index.bytes: a segment whose offset or time index would outgrow it is rolled.
    package static let indexBytes = 10 << 20
    /// What of an index file is read at most.
    static let indexFileBytes = 64 << 20
    /// A segment's index that leaves more than this at its end without an entry is rebuilt.
    static let unindexedBytes: Int64 = 64 << 10
    /// Sealed segments of one log whose file and indexes stay open after a read.
    static let openSealedSegments = 4
    /// Files that are closed at once when the system has no descriptor left, although the pool is not full.
    static let filesClosedForRoom = 16
    /// Bytes of all logs that wait for a sync; beyond it they are synced at once, although nobody waits for them.
    static let unsyncedBytes = 128 << 20
    /// A round with so many files or directories syncs them on `syncThreads` threads, which live as long as the round.
    static let parallelSyncs = 16
    static let syncThreads = 16
    /// What a walk over batch heads reads at a time.
    static let walkBytes = 8 << 10
    /// What a scan of whole batches reads at a time.
    static let scanBytes = 1 << 20
    /// Keys that one round of compaction tells apart, which takes 24 MiB; what lies behind them is left to the next round.
    package static let compactionKeys = 3 << 18
    /// What compaction reads before others have their turn.
    package static let compactionStepBytes = 16 << 20
}
