// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the append-only log of one partition.
//
// A log is a row of sealed segments and at most one active one, in Kafka's file format. A log without data has neither
// directory nor files: they are made by the first write. Batches are taken by `append`, wait in memory if
// they are small, and reach the file by `write`; what is durable is moved on by sync rounds (`Log+Sync.swift`).
//
// Not thread-safe: its owner (the engine's partition) calls it under one lock; only `SyncWork` and `LogSlice` leave
// that lock. Always: startOffset <= syncedEndOffset <= writtenEndOffset <= endOffset, offsets in `pending` are
// writtenEndOffset ..< endOffset, and files of the log are written by nobody else. It starts no thread and reads no clock.

import Bytes
import NIOCore
import Records

/// The log of one partition: segments in Kafka's file format.
package final class Log {
    package let name: String
    package var configuration: LogConfiguration
    /// First offset that can be read.
    package internal(set) var startOffset: Int64 = 0
    /// Next offset to be assigned; batches that are not yet written are counted.
    package internal(set) var endOffset: Int64 = 0
    /// Everything below is in the operating system's hands and can be read (survives kill -9).
    package internal(set) var writtenEndOffset: Int64 = 0
    /// Everything below is on stable storage.
    package internal(set) var syncedEndOffset: Int64 = 0
    /// Why the log is read-only, if it is.
    package internal(set) var failure: StorageError?
    /// Bytes written since the last sync began: what a crash of the machine could cost.
    package internal(set) var unsyncedBytes = 0

    let environment: LogEnvironment
    /// Kafka's topic id for `partition.metadata`; zero: no such file.
    let topicId: TopicId
    /// How far it was compacted. Offsets may be missing below `holesBelow`; from there on a gap is damage.
    var compaction = CompactionMark()
    /// Whether a replacement of segments could not be brought to its end: the next start does that.
    var isCompactionSuspended = false
    /// Full segments, oldest first; they do not change any more.
    var sealed: [Segment] = []
    /// The segment that is written to; nil until the next append needs one.
    var active: Segment?
    /// Bytes of `sealed`.
    var sealedBytes: Int64 = 0
    /// Sealed segments with unsynced bytes.
    var unsyncedSealed: [Segment] = []
    /// Directories with entries that are not durable yet.
    var unsyncedDirectories: Set<String> = []
    /// Small files of the log that are not durable yet.
    var unsyncedFiles: [any File] = []
    /// Whether the log's directory is known to exist.
    var hasDirectory = false
    /// Whether a sync has failed: then later ones prove nothing.
    var hasFailedSync = false
    /// Sealed segments whose file is open, least recently used first.
    var openSealed: [Segment] = []
    /// What of the log is known to be damaged, by offset.
    package internal(set) var quarantined: [QuarantinedRange] = []
    /// Up to where everything is durable, as a place in a file; nil if nothing is.
    var syncPoint: RecoveryPoint?
    /// Whether the clean-shutdown mark is known to be gone.
    var hasConsumedCleanMark = false
    /// Places where reads are likely to start.
    var hints = ReadHints()
    /// Small batches that wait for `write()`; their offsets start at `writtenEndOffset`.
    private var pending = ByteBuffer()

    /// A log without data. `DataDirectory.openLog` makes those that live in a data directory.
    init(
        name: String, topicId: TopicId, configuration: LogConfiguration, environment: LogEnvironment
    ) {
        self.name = name
        self.topicId = topicId
        self.configuration = configuration
        self.environment = environment
    }

    var fileSystem: any FileSystem { environment.fileSystem }

    /// Bytes in `.log` files.
    package var sizeInBytes: Int64 { sealedBytes + (active?.written.size ?? 0) }

    /// Takes a validated batch (exactly one, its bytes as received), assigns its base offset, and returns that.
    /// Small batches wait in memory for `write()`; a large one is written at once with what waits before it.
    /// Base offset and leader epoch are patched in the bytes that reach the file, never in `bytes`.
    /// When it throws, nothing waits any more: batches that were not yet written are dropped, and `endOffset` is
    /// `writtenEndOffset` again.
    package func append(_ bytes: ByteBuffer, header: BatchHeader, leaderEpoch: Int32) throws(StorageError) -> Int64 {
        if let failure { throw failure }
        let size = bytes.readableBytes
        precondition(size == header.sizeInBytes, "append takes exactly one batch")
        let base = endOffset
        let segment = try segment(toFit: size, header: header)
        segment.note(
            size: size, lastOffset: base + Int64(header.lastOffsetDelta), maxTimestamp: header.maxTimestamp,
            indexIntervalBytes: configuration.indexIntervalBytes)
        endOffset = base + Int64(header.lastOffsetDelta) + 1
        if size > StorageLimits.smallBatchBytes {
            let head = PatchedHead(baseOffset: base, batchLength: header.batchLength, leaderEpoch: leaderEpoch)
            try writeOut(to: segment, head: head, payload: bytes)
        } else {
            let start = pending.writerIndex
            pending.writeImmutableBuffer(bytes)
            pending.setInteger(base, at: start)
            pending.setInteger(leaderEpoch, at: start + 12)
            if pending.readableBytes >= StorageLimits.pendingBytes { try writePending() }
        }
        return base
    }

    /// Writes what waits, with one call per file. On `.full` the batches that waited are dropped, `endOffset`
    /// goes back to `writtenEndOffset` and the log goes on; any other failed write makes the log read-only.
    package func write() throws(StorageError) {
        if let failure { throw failure }
        try writePending()
    }

    /// The segment a batch goes to: the active one, or a new one if that is full.
    private func segment(toFit size: Int, header: BatchHeader) throws(StorageError) -> Segment {
        if let active, !active.isChecked { try check(active) }
        if let active {
            let lastOffset = endOffset + Int64(header.lastOffsetDelta)
            let isFull = active.mustRoll(
                size: size, lastOffset: lastOffset, maxTimestamp: header.maxTimestamp, configuration: configuration,
                rollMs: rollMs(of: active))
            if !isFull { return active }
            try roll()
        }
        let segment = Segment(baseOffset: endOffset)
        active = segment
        return segment
    }

    func writePending() throws(StorageError) {
        guard pending.readableBytes > 0, let active else { return }
        try writeOut(to: active, head: nil, payload: nil)
    }

    /// Writes what waits, and then one large batch if there is one, with a single call.
    private func writeOut(to segment: Segment, head: PatchedHead?, payload: ByteBuffer?) throws(StorageError) {
        var file: (any File)?
        do throws(StorageError) {
            file = try openForWriting(segment)
            if let file { try writeParts(to: file, at: segment.written.size, head: head, payload: payload) }
        } catch {
            throw undoWrite(of: segment, in: file, after: error)
        }
        unsyncedBytes += Int(segment.extent.size - segment.written.size)
        segment.noteWritten()
        writtenEndOffset = endOffset
        clearPending()
    }

    private func writeParts(
        to file: any File, at position: Int64, head: PatchedHead?, payload: ByteBuffer?
    ) throws(StorageError) {
        // SAFETY: all pointers are used within their closures; `File.write` keeps none. A payload is a whole
        // batch, so it is longer than the head that replaces its first bytes.
        unsafe try pending.withUnsafeReadableBytes { (waiting: UnsafeRawBufferPointer) throws(StorageError) in
            guard let head, let payload else { return unsafe try file.write([waiting], at: position) }
            unsafe try withUnsafeBytes(of: head) { (first: UnsafeRawBufferPointer) throws(StorageError) in
                unsafe try payload.withUnsafeReadableBytes { (all: UnsafeRawBufferPointer) throws(StorageError) in
                    let rest = unsafe UnsafeRawBufferPointer(rebasing: all[PatchedHead.size...])
                    unsafe try file.write([waiting, first, rest], at: position)
                }
            }
        }
    }

    /// Takes back what a failed write was to bring; returns the error to throw.
    private func undoWrite(of segment: Segment, in file: (any File)?, after error: StorageError) -> StorageError {
        dropUnwritten()
        // No file yet, or none that could be opened again: nothing was written, so the next append may try again.
        guard let file, error.code != .tooManyOpenFiles else { return error }
        guard error.code == .full else { return fail(error) }
        do throws(StorageError) {
            if try file.size() == segment.written.size { return error }
            try file.truncate(to: segment.written.size)
        } catch {
            return fail(error)
        }
        // The refusal is answered at once, and a crash must not bring back what it was for: whole batches may have fitted.
        do throws(StorageError) {
            try file.sync()
            return error
        } catch {
            failSync(error)
            return failure ?? error
        }
    }

    /// Forgets the batches that wait.
    private func dropUnwritten() {
        active?.dropUnwritten()
        endOffset = writtenEndOffset
        clearPending()
    }

    private func clearPending() {
        if pending.capacity > StorageLimits.keptPendingBytes {
            pending = ByteBuffer()
        } else {
            pending.clear()
        }
    }

    /// Makes the log read-only and drops what waits; returns the error that says so from now on.
    @discardableResult
    package func fail(_ cause: StorageError) -> StorageError {
        let error = failure ?? StorageError(
            .readOnly, "the log \(name) is read-only until the broker restarts: \(cause.message)", errno: cause.errno)
        failure = error
        dropUnwritten()
        return error
    }
}

/// The first 16 bytes of a batch, as they stand in the file: those that the broker assigns.
private struct PatchedHead {
    static let size = 16
    private let baseOffset: Int64
    private let batchLength: Int32
    private let leaderEpoch: Int32

    init(baseOffset: Int64, batchLength: Int32, leaderEpoch: Int32) {
        self.baseOffset = baseOffset.bigEndian
        self.batchLength = batchLength.bigEndian
        self.leaderEpoch = leaderEpoch.bigEndian
    }
}
