// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: how a share queue delivers: where to read, the read, and what of it is acquired.
//
// The log is read without the lock, so somebody else can take the records meanwhile; then it is tried again.

import Bytes
import NIOCore
import Records
import Storage
import Synchronization

/// How much one member takes at once.
package struct ShareFetchLimits: Sendable {
    package var maxRecords: Int
    package var maxBytes: Int
    /// Not one record more than `maxRecords`, even if that cuts a batch.
    package var isStrict: Bool
    /// How long the records are locked; nil: as the group says.
    package var lockDurationMs: Int64?

    package init(maxRecords: Int, maxBytes: Int, isStrict: Bool, lockDurationMs: Int64? = nil) {
        self.maxRecords = maxRecords
        self.maxBytes = maxBytes
        self.isStrict = isStrict
        self.lockDurationMs = lockDurationMs
    }
}

package enum ShareFetchOutcome: Sendable {
    /// Whole batches, and which of their records were acquired.
    case acquired(bytes: ByteBuffer, runs: [SharePartition.Run])
    /// What to wait for: more than `seenEnd` in the partition, or another wake of the queue.
    case nothing(seenEnd: Int64, wake: UInt64)
}

extension ShareQueue {
    /// How often a read whose records somebody else took meanwhile is tried again before the caller waits.
    private static let attempts = 8

    /// Reads and acquires for a member. On `loop`.
    package func fetch(
        _ member: ShareMemberId, _ limits: ShareFetchLimits, on loop: any EventLoop
    ) throws(EngineError) -> ShareFetchOutcome {
        var settings = settings()
        if let lockDurationMs = limits.lockDurationMs { settings.rules.lockDurationMs = lockDurationMs }
        var seenEnd: Int64 = 0
        var wake: UInt64 = 0
        for _ in 0..<Self.attempts {
            seenEnd = partition.offsets.highWatermark
            let logStart = partition.offsets.start
            var recordsMax = limits.maxRecords
            let plan = change(on: loop, settings.rules) { state -> (offset: Int64, end: Int64)? in
                state.machine.logStarts(at: logStart)
                wake = state.wake
                recordsMax = min(recordsMax, state.machine.recordsMax(for: member, nowMs: context.monotonicMs))
                guard state.isReady, !state.isClosed, recordsMax > 0 else { return nil }
                let next = state.machine.nextFetchOffset(wallMs: context.clock.nowMs(), rules: settings.rules)
                return next.map { ($0, state.machine.endOffset) }
            }
            guard let plan, plan.offset < seenEnd else { return .nothing(seenEnd: seenEnd, wake: wake) }
            let (bytes, batches) = try read(plan.offset, newFrom: plan.end, limits, settings, loop)
            guard let bytes else {
                if partition.offsets.start > plan.offset { continue }
                return .nothing(seenEnd: seenEnd, wake: wake)
            }
            let runs = acquire(batches, from: plan.offset, member, limits, recordsMax, settings, on: loop)
            if let first = runs.first, let last = runs.last {
                return .acquired(bytes: Self.cut(bytes, batches, first.first, last.last), runs: runs)
            }
        }
        // There may be more: whoever waits for more than this is woken at once.
        return .nothing(seenEnd: -1, wake: wake)
    }

    private func read(
        _ offset: Int64, newFrom: Int64, _ limits: ShareFetchLimits, _ settings: ShareGroupSettings, _ loop: any EventLoop
    ) throws(EngineError) -> (ByteBuffer?, [ShareBatch]) {
        let slice: LogSlice?
        var aborted: [AbortedTransaction] = []
        do throws(EngineError) {
            if settings.isReadCommitted {
                let read = try partition.readCommitted(from: offset, maxBytes: limits.maxBytes)
                slice = read.slice
                aborted = read.aborted
            } else {
                slice = try partition.read(from: offset, maxBytes: limits.maxBytes).slice
            }
        } catch {
            // The log begins later now; the next attempt sees that.
            if error.code == .offsetOutOfRange { return (nil, []) }
            throw error
        }
        guard let slice else { return (nil, []) }
        var bytes = ByteBuffer()
        do throws(StorageError) { try slice.read(into: &bytes) } catch { throw EngineError(error) }
        let batches = try ShareBatchReader.batches(
            in: bytes, aborted: aborted, newFrom: newFrom, decompressor: context.turns.turn(for: loop).decompressor)
        return (bytes, batches)
    }

    private func acquire(
        _ batches: [ShareBatch], from offset: Int64, _ member: ShareMemberId, _ limits: ShareFetchLimits, _ recordsMax: Int,
        _ settings: ShareGroupSettings, on loop: any EventLoop
    ) -> [SharePartition.Run] {
        change(on: loop, settings.rules) { state in
            guard !state.isClosed else { return [] }
            return state.machine.acquire(
                batches, from: offset, maxRecords: recordsMax, isStrict: limits.isStrict, member: member,
                nowMs: context.monotonicMs, wallMs: context.clock.nowMs(), rules: settings.rules)
        }
    }

    /// The batches with records from `first` to `last`.
    private static func cut(_ bytes: ByteBuffer, _ batches: [ShareBatch], _ first: Int64, _ last: Int64) -> ByteBuffer {
        var rest = bytes
        var start = bytes.readerIndex
        var end = start
        for batch in batches {
            guard let header = BatchHeader(rest), rest.readSlice(length: header.sizeInBytes) != nil else { break }
            if batch.last < first { start = rest.readerIndex }
            if batch.first <= last { end = rest.readerIndex }
        }
        return bytes.getSlice(at: start, length: max(0, end - start)) ?? bytes
    }

    /// Adds a waiter that has seen `wake`; it is completed at once if there was another since.
    package func register(_ waiter: Waiter, seen wake: UInt64) {
        let isLate = state.withLock { state in
            if state.isClosed || state.wake != wake { return true }
            // Those that ended otherwise are forgotten here, so that the list is as long as the number that wait.
            if state.waiters.count >= 64 { state.waiters.removeAll { $0.isFinished } }
            state.waiters.append(waiter)
            return false
        }
        if isLate { waiter.complete() }
    }
}
