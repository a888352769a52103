// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a partition's producers on disk: Kafka's `<offset>.snapshot` files (ProducerStateManager,
// version 1).
//
// A snapshot holds the producers as of its offset; what came later is read back from the log: batch heads, and
// the records of markers. The newest snapshot that is intact and lies inside the log is used; without one the
// whole log is walked. A snapshot does not mention transactions that are over, so the aborted ones are durable in
// their index (`TransactionIndex`) before it is written.
// Called by the partition under its lock. Keeps two snapshots, the newest and the one before.

import Bytes
import NIOCore
import Records
import Storage

struct ProducerSnapshots {
    /// Walking more than this much log for producers is avoided by writing a snapshot, in bytes.
    static let snapshotEveryBytes: Int64 = 64 << 20
    private static let version: Int16 = 1
    private static let entryBytes = 46

    private let fileSystem: any FileSystem
    private let directory: String
    private let index: TransactionIndex

    init(fileSystem: any FileSystem, directory: String) {
        self.fileSystem = fileSystem
        self.directory = directory
        index = TransactionIndex(fileSystem: fileSystem, directory: directory)
    }

    /// The producers as of the log's written end. Called before the first append: snapshots of a future that a
    /// crash took back are removed.
    func load(log: Log) throws(EngineError) -> ProducerStates {
        var states = ProducerStates()
        do {
            try removeSnapshots(after: log.writtenEndOffset)
            let snapshot = try newest()
            // What ended later the walk finds again, and what the index says of it may be what a crash made of it.
            states.restore(try index.load(below: snapshot?.offset ?? 0))
            for (producerId, entry) in snapshot?.entries ?? [] { states.restore(producerId, entry) }
            try walk(log, from: max(log.startOffset, snapshot?.offset ?? 0), into: &states)
            // A snapshot may know of batches that a power cut took: sent again, they are no duplicates.
            states.forgetBatches { batch in
                log.quarantined.contains { $0.offsets.overlaps(batch.baseOffset..<batch.lastOffset + 1) }
            }
        } catch {
            throw EngineError(error)
        }
        return states
    }

    /// Writes the producers as of the log's written end, unless that snapshot is there.
    func save(_ states: ProducerStates, log: Log) throws(EngineError) {
        do {
            let existing = try offsets()
            let end = log.writtenEndOffset
            guard end > log.startOffset, existing.last != end else { return }
            try index.save(states.aborted) { log.segmentBase(of: $0) }
            let file = try fileSystem.open(path(end), create: true)
            try file.write(encode(states), at: 0)
            for old in existing.dropLast() { try fileSystem.remove(path(old)) }
        } catch {
            throw EngineError(error)
        }
    }

    /// For good: one that came back with the next crash would tell of a log that has grown differently since.
    private func removeSnapshots(after end: Int64) throws(StorageError) {
        let future = try offsets().filter { $0 > end }
        guard !future.isEmpty else { return }
        for offset in future { try fileSystem.remove(path(offset)) }
        try fileSystem.syncDirectory(directory)
    }

    private func newest() throws(StorageError) -> (offset: Int64, entries: [(Int64, ProducerStates.Entry)])? {
        for offset in try offsets().reversed() {
            if let entries = try read(offset) { return (offset, entries) }
        }
        return nil
    }

    private func offsets() throws(StorageError) -> [Int64] {
        guard try fileSystem.exists(directory) else { return [] }
        return try fileSystem.list(directory).compactMap { name in
            let digits = name.dropLast(".snapshot".count)
            // Other spellings of a number are somebody else's files.
            guard name.hasSuffix(".snapshot"), digits.utf8.count == 20, let offset = Int64(digits), offset >= 0
            else { return nil }
            return offset
        }.sorted()
    }

    private func path(_ offset: Int64) -> String {
        let digits = String(offset)
        return "\(directory)/\(String(repeating: "0", count: max(0, 20 - digits.count)))\(digits).snapshot"
    }

    private func walk(_ log: Log, from start: Int64, into states: inout ProducerStates) throws(StorageError) {
        var offset = start
        while offset < log.writtenEndOffset {
            let slice: LogSlice?
            do throws(StorageError) {
                slice = try log.read(from: offset, maxBytes: 1 << 20)
            } catch {
                // What is damaged says nothing about its producer any more; the log takes records all the same.
                guard error.code == .corrupt, let range = log.quarantined.first(where: { $0.offsets.contains(offset) })
                else { throw error }
                offset = range.offsets.upperBound
                continue
            }
            guard let slice else { return }
            var bytes = ByteBuffer()
            try slice.read(into: &bytes)
            let before = offset
            while let header = BatchHeader(bytes), bytes.readableBytes >= header.sizeInBytes {
                // Only the first head of a slice was looked at when it was found: one that is odd is found once more.
                guard header.sizeInBytes >= BatchHeader.size, header.lastOffsetDelta >= 0,
                    header.baseOffset >= offset || offset == before, header.baseOffset < log.writtenEndOffset,
                    header.nextOffset <= log.writtenEndOffset,
                    let batch = bytes.readSlice(length: header.sizeInBytes)
                else { break }
                if header.baseOffset >= start { Self.apply(batch, header, to: &states) }
                offset = max(offset, header.nextOffset)
            }
            guard offset > before else { return }
        }
    }

    private static func apply(
        _ batch: ByteBuffer, _ header: BatchHeader, to states: inout ProducerStates
    ) {
        guard header.isControl else { return states.apply(header, baseOffset: header.baseOffset) }
        guard header.producerId >= 0, let (marker, epoch) = TransactionMarker.read(batch) else { return }
        states.apply(marker, header, coordinatorEpoch: epoch, offset: header.baseOffset)
    }

    private func encode(_ states: ProducerStates) -> ByteBuffer {
        var body = ByteBuffer()
        body.writeInteger(Int32(states.entries.count))
        for (producerId, entry) in states.entries.sorted(by: { $0.key < $1.key }) {
            body.writeInteger(producerId)
            body.writeInteger(entry.epoch)
            body.writeInteger(entry.batches.last?.lastSequence ?? -1)
            body.writeInteger(entry.batches.last?.lastOffset ?? -1)
            body.writeInteger(entry.batches.last.map { Int32($0.lastOffset - $0.baseOffset) } ?? 0)
            body.writeInteger(entry.lastTimestamp)
            body.writeInteger(entry.coordinatorEpoch)
            body.writeInteger(entry.transactionStart ?? -1)
        }
        // SAFETY: the pointer is read within the closure only.
        let crc = unsafe body.withUnsafeReadableBytes { unsafe crc32c($0) }
        var file = ByteBuffer()
        file.writeInteger(Self.version)
        file.writeInteger(crc)
        file.writeBuffer(&body)
        return file
    }

    /// nil if the file is damaged.
    private func read(_ offset: Int64) throws(StorageError) -> [(Int64, ProducerStates.Entry)]? {
        let file = try fileSystem.open(path(offset), create: false)
        let size = Int(try file.size())
        guard size >= 10, size <= 10 + Limits.producersPerPartition * Self.entryBytes else { return nil }
        var bytes = ByteBuffer()
        try LogSlice(file: file, position: 0, length: size).read(into: &bytes)
        guard bytes.readInteger(as: Int16.self) == Self.version, let crc = bytes.readInteger(as: UInt32.self),
            // SAFETY: the pointer is read within the closure only.
            unsafe bytes.withUnsafeReadableBytes({ unsafe crc32c($0) }) == crc,
            let count = bytes.readInteger(as: Int32.self), Int(count) * Self.entryBytes == bytes.readableBytes
        else { return nil }
        var entries: [(Int64, ProducerStates.Entry)] = []
        for _ in 0..<count {
            guard let producerId = bytes.readInteger(as: Int64.self), let entry = Self.readEntry(&bytes) else {
                return nil
            }
            entries.append((producerId, entry))
        }
        return entries
    }

    private static func readEntry(_ bytes: inout ByteBuffer) -> ProducerStates.Entry? {
        guard let epoch = bytes.readInteger(as: Int16.self), let lastSequence = bytes.readInteger(as: Int32.self),
            let lastOffset = bytes.readInteger(as: Int64.self), let delta = bytes.readInteger(as: Int32.self),
            let timestamp = bytes.readInteger(as: Int64.self),
            let coordinatorEpoch = bytes.readInteger(as: Int32.self),
            let transactionStart = bytes.readInteger(as: Int64.self)
        else { return nil }
        var entry = ProducerStates.Entry(
            epoch: epoch, lastTimestamp: timestamp, coordinatorEpoch: coordinatorEpoch,
            transactionStart: transactionStart >= 0 ? transactionStart : nil)
        guard lastOffset < Int64.max >> 1, transactionStart < Int64.max >> 1 else { return nil }
        if lastOffset >= 0 {
            let base = Int64(lastSequence) - Int64(delta)
            entry.batches = [
                ProducerStates.Batch(
                    baseSequence: Int32(truncatingIfNeeded: base >= 0 ? base : base + Int64(Int32.max) + 1),
                    lastSequence: lastSequence, baseOffset: lastOffset - Int64(delta), lastOffset: lastOffset,
                    timestamp: timestamp)
            ]
        }
        return entry
    }
}
