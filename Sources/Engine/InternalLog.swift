// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: keyed records that the broker keeps for itself, on the same log as everybody's.
//
// The last record of a key wins, an absent value deletes it. Owners (topic metadata, committed offsets) keep the
// live state in memory, append every change here before they act on it, and replay it at start.
//
// A log that has grown to several times the live state is rewritten: the owner's whole state is appended again, and
// what lies before it is dropped when that is durable. Replaying old records followed by the whole state gives the
// same result at every moment of a crash. A rewriting only happens while no change is under way (`gate`), because the
// state must not be older than a record before it.

import Bytes
import NIOConcurrencyHelpers
import NIOCore
import Records
import Storage

/// One keyed record; without a value it deletes the key.
package typealias KeyedRecord = (key: [UInt8], value: [UInt8]?)

package final class InternalLog: @unchecked Sendable {
    // Unchecked: `gate` is guarded by `lock`, which is held while a batch is enqueued, so that changes and rewritings
    // do not interleave. Owners never append while they hold a lock that `rewriteIfLarge` takes.
    private static let batchRecords = 1000

    private let partition: Partition
    private let turns: Turns
    private let clock: any Clock
    private let lock = NIOLock()
    private var gate = Gate()

    private struct Gate {
        /// Batches that are enqueued and not answered.
        var underWay = 0
        /// What the log measured after the last rewriting, in bytes.
        var sizeAfterRewriting: Int64 = 0
    }

    init(partition: Partition, turns: Turns, clock: any Clock) {
        self.partition = partition
        self.turns = turns
        self.clock = clock
    }

    var endOffset: Int64 { partition.offsets.highWatermark }

    /// Appends keyed records as one batch (nil value: tombstone). `completion` runs on `loop`, never before this
    /// returns, when they are as durable as the broker promises. On the loop.
    package func append(
        _ records: [KeyedRecord], on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, EngineError>) -> Void
    ) {
        guard !records.isEmpty else { return loop.execute { completion(.success(())) } }
        do throws(EngineError) {
            try lock.withLockTyped { () throws(EngineError) in
                try enqueue(records[...], on: loop, completion: completion)
            }
        } catch {
            loop.execute { completion(.failure(error)) }
        }
    }

    /// Every record, in order. At start, before anything is appended. What is damaged is left out: a loss of power may
    /// have taken a change that was never acknowledged and kept a later one. Returns how many stretches that were.
    @discardableResult
    package func replay(_ body: (_ key: ByteBuffer, _ value: ByteBuffer?) -> Void) throws(EngineError) -> Int {
        let decompressor = Decompressor()
        var offset = partition.offsets.start
        var damaged = 0
        while true {
            let slice: LogSlice?
            do throws(EngineError) {
                slice = try partition.read(from: offset, maxBytes: 1 << 20).slice
            } catch {
                guard error.code == .corruptData, let end = partition.endOfDamage(at: offset) else { throw error }
                damaged += 1
                offset = end
                continue
            }
            guard let slice else { return damaged }
            var bytes = ByteBuffer()
            do { try slice.read(into: &bytes) } catch { throw EngineError(error) }
            let before = offset
            let end = partition.offsets.highWatermark
            // Only the first offset of a slice was looked at when it was found, and no checksum covers it.
            while let header = BatchHeader(bytes), header.baseOffset >= offset || offset == before,
                header.nextOffset <= end, let batch = bytes.readSlice(length: header.sizeInBytes)
            {
                offset = max(offset, header.nextOffset)
                guard BatchBytes.isCRCValid(batch, header: header) else {
                    damaged += 1
                    continue
                }
                do {
                    var reader = try RecordBatchReader(batch, decompressor: decompressor)
                    while let record = try reader.next() {
                        if let key = record.key { body(key, record.value) }
                    }
                } catch {
                    throw EngineError(error, in: partition.name)
                }
            }
            // Bytes that are no batches, or some with offsets that were had already: only damage looks like this.
            guard offset > before else {
                throw EngineError(
                    .corruptData,
                    "\(partition.name) holds no whole batch for offset \(offset); restore its files from a backup")
            }
        }
    }

    /// Rewrites the log if it is larger than `threshold` bytes and four times what the last rewriting left, and no
    /// change is under way. `state` gives all live records; `completion` says whether it was rewritten. On the loop.
    package func rewriteIfLarge(
        than threshold: Int64, on loop: any EventLoop, state: () -> [KeyedRecord],
        completion: @escaping @Sendable (Result<Bool, EngineError>) -> Void
    ) {
        let outcome = lock.withLock { () -> Result<Bool, EngineError>? in
            guard gate.underWay == 0, partition.sizeInBytes > max(threshold, 4 * gate.sizeAfterRewriting) else {
                return .success(false)
            }
            let start = partition.offsets.highWatermark
            let rewriting = Rewriting(partition: partition, start: start, completion: completion)
            let records = state()
            do throws(EngineError) {
                var rest = records[...]
                while !rest.isEmpty {
                    rewriting.batches += 1
                    try enqueue(rest.prefix(Self.batchRecords), on: loop) { rewriting.finish($0) }
                    rest = rest.dropFirst(Self.batchRecords)
                }
            } catch {
                // What was appended of the state is harmless: it only repeats what is before it.
                return .failure(error)
            }
            let size = records.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) + 16 }
            gate.sizeAfterRewriting = Int64(size)
            return records.isEmpty ? .success(false) : nil
        }
        if let outcome { completion(outcome) }
    }

    /// With the lock held.
    private func enqueue(
        _ records: ArraySlice<KeyedRecord>, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Void, EngineError>) -> Void
    ) throws(EngineError) {
        var builder = RecordBatchBuilder()
        let now = clock.nowMs()
        for record in records {
            builder.append(
                key: ByteBuffer(bytes: record.key), value: record.value.map { ByteBuffer(bytes: $0) },
                timestamp: now)
        }
        let acks = sabotaged("answerChangeBeforeSync") ? Acks.leader : .all
        try partition.enqueue(builder.finish(), acks: acks, turn: turns.turn(for: loop)) { result in
            completion(result.map { _ in })
            self.lock.withLock { self.gate.underWay -= 1 }
        }
        gate.underWay += 1
    }
}

/// One rewriting: drops the old records when all batches of the state are durable. Confined to its event loop.
private final class Rewriting: @unchecked Sendable {
    // Unchecked: made and finished on the event loop of the rewriting.
    var batches = 0
    private let partition: Partition
    private let start: Int64
    private let completion: @Sendable (Result<Bool, EngineError>) -> Void
    private var failure: EngineError?

    init(partition: Partition, start: Int64, completion: @escaping @Sendable (Result<Bool, EngineError>) -> Void) {
        self.partition = partition
        self.start = start
        self.completion = completion
    }

    func finish(_ result: Result<Void, EngineError>) {
        if case .failure(let error) = result { failure = error }
        batches -= 1
        guard batches == 0 else { return }
        do throws(EngineError) {
            if let failure { throw failure }
            _ = try partition.deleteRecords(before: start)
            completion(.success(true))
        } catch {
            completion(.failure(error))
        }
    }
}
