// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a log's `compaction` file: how far it was compacted, and what is being replaced.
//
// The file is there once a log was compacted, and stays: offsets may be missing below `holesBelow`, and that is no damage.
// It is written durably before files are replaced, so a start after a crash knows which replacement to finish, and that a
// checkpoint of another generation describes files that are no more. Kafka keeps the first dirty offset of all logs in one
// file (cleaner-offset-checkpoint); here it is part of what one log needs anyway.

import NIOCore

/// What the file says.
struct CompactionMark: Equatable, Sendable {
    static let fileName = "compaction"
    private static let version = 0

    /// Counts the replacements, so that a checkpoint can say which one it has seen; 0: there was none.
    var generation: Int64 = 0
    /// Offsets may be missing below this.
    var holesBelow: Int64 = 0
    /// Below this every key has been looked at: where the next round begins.
    var firstDirtyOffset: Int64 = 0
    /// A replacement that may be under way.
    var swap: Swap?

    /// Segments that one new segment takes the place of.
    struct Swap: Equatable, Sendable {
        /// Their offsets: from the first one's base to the base of the segment that follows.
        var offsets: Range<Int64>
        /// Whether an index of aborted transactions comes with it.
        var hasTransactions: Bool
    }

    var contents: ByteBuffer {
        var text = "version: \(Self.version)\ngeneration: \(generation)\nholes_below: \(holesBelow)\n"
            + "first_dirty_offset: \(firstDirtyOffset)\n"
        if let swap {
            text += "swap: \(swap.offsets.lowerBound) \(swap.offsets.upperBound) \(swap.hasTransactions ? 1 : 0)\n"
        }
        return ByteBuffer(string: text)
    }

    /// Reads the file of a log's directory; nil if there is none.
    static func read(in directory: String, _ fileSystem: any FileSystem) throws(StorageError) -> CompactionMark? {
        let path = "\(directory)/\(fileName)"
        guard try fileSystem.exists(path) else { return nil }
        let text = String(decoding: try fileSystem.open(path, create: false).readAll(limit: 4096), as: UTF8.self)
        guard let mark = CompactionMark(text) else {
            throw StorageError(
                .corrupt, "\(path) cannot be read; restore it from a backup. Without it, offsets that compaction took out"
                    + " of the log would count as damage")
        }
        return mark
    }

    init() {}

    init?(_ text: String) {
        var values: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = parts[1].drop { $0 == " " } }
        }
        func number(_ name: Substring) -> Int64? {
            values[name].flatMap { Int64($0) }.flatMap { (0...StorageLimits.offset).contains($0) ? $0 : nil }
        }
        guard number("version") == Int64(Self.version), let generation = number("generation"),
            let holesBelow = number("holes_below"), let firstDirtyOffset = number("first_dirty_offset")
        else { return nil }
        self.generation = generation
        self.holesBelow = holesBelow
        self.firstDirtyOffset = firstDirtyOffset
        guard let line = values["swap"] else { return }
        let fields = line.split(separator: " ").compactMap { Int64($0) }
        guard fields.count == 3, 0 <= fields[0], fields[0] < fields[1], fields[1] <= StorageLimits.offset else { return nil }
        swap = Swap(offsets: fields[0]..<fields[1], hasTransactions: fields[2] == 1)
    }
}
