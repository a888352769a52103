// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: what a start after a crash does with the files of a compaction.
//
// `.cleaned` files are discarded. A `.swap` file that the mark names is put in place: what it replaces is removed, durably,
// before it takes the name, so that this can be cut off and done again at any moment. A `.swap` file that the mark does not
// name is one that was taken back. A value without state.

struct CompactionRecovery {
    private let directory: String
    private let fileSystem: any FileSystem

    init(_ directory: String, _ fileSystem: any FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    /// Returns what the log's mark says, without a swap: none is under way any more. nil: it was never compacted.
    func run() throws(StorageError) -> CompactionMark? {
        let names = try fileSystem.list(directory)
        var mark = try CompactionMark.read(in: directory, fileSystem)
        let suffixes = [SegmentFileName.cleaned, SegmentFileName.deleted]
        let leftovers = names.filter { name in suffixes.contains { name.hasSuffix($0) } }
        let swaps = names.filter { $0.hasSuffix(SegmentFileName.swap) }
        guard !leftovers.isEmpty || !swaps.isEmpty else {
            mark?.swap = nil
            return mark
        }
        for name in leftovers { try fileSystem.remove(path(name)) }
        let wanted = mark?.swap.map { SegmentFileName.swaps($0.offsets.lowerBound) } ?? []
        for name in swaps where !wanted.contains(name) { try fileSystem.remove(path(name)) }
        if let swap = mark?.swap { try finish(swap, names) }
        try fileSystem.syncDirectory(directory)
        mark?.swap = nil
        return mark
    }

    private func finish(_ swap: CompactionMark.Swap, _ names: [String]) throws(StorageError) {
        let base = swap.offsets.lowerBound
        let log = SegmentFileName.log(base)
        let index = SegmentFileName.transactionIndex(base)
        let hasIndex = swap.hasTransactions && names.contains(index + SegmentFileName.swap)
        if names.contains(log + SegmentFileName.swap) {
            for name in names {
                guard let old = SegmentFileName.baseOffset(ofLog: name), swap.offsets.contains(old) else { continue }
                for file in SegmentFileName.all(old) {
                    // Without its `.swap` beside it the index is the new one already.
                    if file == index && swap.hasTransactions && !hasIndex { continue }
                    try fileSystem.removeIfPresent(path(file))
                }
            }
            try fileSystem.syncDirectory(directory)
            if hasIndex { try fileSystem.rename(path(index + SegmentFileName.swap), to: path(index)) }
            try fileSystem.rename(path(log + SegmentFileName.swap), to: path(log))
        } else if hasIndex {
            try fileSystem.rename(path(index + SegmentFileName.swap), to: path(index))
        }
    }

    private func path(_ file: String) -> String { "\(directory)/\(file)" }
}
