// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: a partition's aborted transactions on disk: Kafka's `<base offset>.txnindex` files.
//
// One file per segment that holds a marker of an abort; 34 bytes an entry: int16 version 0, int64 producer id, first
// offset, last offset, last stable offset. Files grow in the order of the markers, and go with their segment.
// Called by the partition under its lock, at the first use and with every snapshot. Remembers only what this process has
// made durable: a file whose sync failed, or that another process left in the page cache, is written again.

import NIOConcurrencyHelpers
import NIOCore
import Storage

struct TransactionIndex {
    private static let entryBytes = AbortedTransaction.size

    private let fileSystem: any FileSystem
    private let directory: String
    /// Durable entries, by the base of their segment.
    private let durable = NIOLockedValueBox<[Int64: Int]>([:])

    init(fileSystem: any FileSystem, directory: String) {
        self.fileSystem = fileSystem
        self.directory = directory
    }

    /// The entries of transactions that ended before `end`, in order: those that were durable when the snapshot of that
    /// offset was written. What comes after them may be anything a crash has left, or belong to a future that it took back:
    /// it is cut off, so that it cannot be taken for the truth once the log has grown past it.
    func load(below end: Int64) throws(StorageError) -> [AbortedTransaction] {
        var all: [AbortedTransaction] = []
        for name in try names() {
            let file = try fileSystem.open("\(directory)/\(name)", create: false)
            let size = try file.size()
            let found = try read(file, size: size)
            // A crash can leave any bytes after the last sync; entries ascend, so the first odd one ends the file.
            var last = all.last?.lastOffset ?? -1
            let sound = found.prefix { entry in
                defer { last = entry.lastOffset }
                return entry.lastOffset > last && entry.lastOffset < end
                    && entry.firstOffset >= 0 && entry.firstOffset <= entry.lastOffset
            }
            all += sound
            let soundBytes = Int64(sound.count * Self.entryBytes)
            if soundBytes < size {
                try file.truncate(to: soundBytes)
                try file.sync()
            }
        }
        return all
    }

    /// Makes all entries durable, each in the file of the segment that holds its marker.
    func save(
        _ entries: [AbortedTransaction], segmentBase: (Int64) -> Int64
    ) throws(StorageError) {
        guard !entries.isEmpty else { return }
        var bySegment: [Int64: [AbortedTransaction]] = [:]
        for entry in entries { bySegment[segmentBase(entry.lastOffset), default: []].append(entry) }
        for (base, entries) in bySegment.sorted(by: { $0.key < $1.key }) {
            let known = durable.withLockedValue { $0[base] } ?? 0
            guard known < entries.count else { continue }
            try write(entries, known: known, to: "\(directory)/\(Self.name(base))")
            durable.withLockedValue { $0[base] = entries.count }
        }
        durable.withLockedValue { durable in durable = durable.filter { bySegment[$0.key] != nil } }
    }

    /// A file that this process has not written yet is replaced as a whole, so that a crash cannot take what is in it.
    private func write(_ entries: [AbortedTransaction], known: Int, to path: String) throws(StorageError) {
        let bytes = AbortedTransaction.encode(entries[known...])
        guard known > 0 else { return try AtomicFile.replace(path, with: bytes, in: fileSystem) }
        let file = try fileSystem.open(path, create: false)
        try file.write(bytes, at: Int64(known * Self.entryBytes))
        try file.sync()
    }

    private func names() throws(StorageError) -> [String] {
        guard try fileSystem.exists(directory) else { return [] }
        return try fileSystem.list(directory).filter { $0.hasSuffix(".txnindex") }.sorted()
    }

    private static func name(_ base: Int64) -> String {
        let digits = String(base)
        return String(repeating: "0", count: max(0, 20 - digits.count)) + digits + ".txnindex"
    }

    private func read(_ file: any File, size: Int64) throws(StorageError) -> [AbortedTransaction] {
        let length = Int(size) / Self.entryBytes * Self.entryBytes
        guard length > 0 else { return [] }
        var bytes = ByteBuffer()
        try LogSlice(file: file, position: 0, length: length).read(into: &bytes)
        var entries: [AbortedTransaction] = []
        while let version = bytes.readInteger(as: Int16.self), version == 0,
            let producerId = bytes.readInteger(as: Int64.self),
            let first = bytes.readInteger(as: Int64.self), let last = bytes.readInteger(as: Int64.self),
            let stable = bytes.readInteger(as: Int64.self)
        {
            entries.append(
                AbortedTransaction(
                    producerId: producerId, firstOffset: first, lastOffset: last, lastStableOffset: stable))
        }
        return entries
    }
}
