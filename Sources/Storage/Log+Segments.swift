// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: making, rolling and opening a log's segment files.
//
// Files are made by the first write to a segment and opened by the first read. Few sealed segments stay
// open at a time, so that a long log costs few descriptors. Same owner and lock as `Log`.

import Bytes
import NIOCore

extension Log {
    /// Seals the active segment, if it holds anything; the next append starts a new one.
    func roll() throws(StorageError) {
        try writePending()
        guard let segment = active, segment.extent.firstTimestamp != nil else { return }
        segment.addTimeEntry()
        segment.written = segment.extent
        flushIndexIfPossible(of: segment)
        sealActive()
    }

    /// Makes the active segment, all of whose batches are written, a sealed one.
    func sealActive() {
        guard let segment = active else { return }
        active = nil
        segment.isSealed = true
        sealed.append(segment)
        sealedBytes += segment.written.size
        if segment.isDirty { unsyncedSealed.append(segment) }
        keepOpen(segment)
    }

    /// The segment's file; made with the log's directory if it is missing.
    func openForWriting(_ segment: Segment) throws(StorageError) -> any File {
        try consumeCleanMark()
        if let file = segment.file { return file }
        try makeDirectoryIfNeeded()
        let file = try fileSystem.open(path(SegmentFileName.log(segment.baseOffset)), create: true)
        if segment.written.size == 0 { unsyncedDirectories.insert(name) }
        segment.file = file
        return file
    }

    /// The segment's file, for reading.
    func openForReading(_ segment: Segment) throws(StorageError) -> any File {
        if segment !== active { keepOpen(segment) }
        try check(segment)
        if let file = segment.file { return file }
        do throws(StorageError) {
            let file = try fileSystem.open(logPath(segment), create: false)
            segment.file = file
            return file
        } catch {
            if error.code == .notFound { try refuseQuarantined(segment.baseOffset) }
            throw error
        }
    }

    /// Removes the clean-shutdown mark before this log's first change.
    func consumeCleanMark() throws(StorageError) {
        if hasConsumedCleanMark { return }
        try environment.cleanMark.consume()
        hasConsumedCleanMark = true
    }

    func path(_ file: String) -> String { "\(name)/\(file)" }

    /// The segment's `.log` file, under the name that it has now.
    func logPath(_ segment: Segment) -> String {
        path(SegmentFileName.log(segment.baseOffset)) + (segment.isSwapping ? SegmentFileName.swap : "")
    }

    private func makeDirectoryIfNeeded() throws(StorageError) {
        if hasDirectory { return }
        try fileSystem.makeDirectory(name)
        unsyncedDirectories.insert("")
        unsyncedDirectories.insert(name)
        try writeMetadata()
        hasDirectory = true
    }

    /// Says whose log this is, as durably as its first records will be: without that a later topic of the same name could
    /// take the files for its own.
    func writeMetadata() throws(StorageError) {
        guard topicId != .zero else { return }
        let path = path(PartitionMetadata.fileName)
        let isThere = try PartitionMetadata.topicId(at: path, in: fileSystem) == topicId
        let file = try fileSystem.open(path, create: true)
        if !isThere {
            try file.truncate(to: 0)
            try file.write(PartitionMetadata.contents(topicId), at: 0)
        }
        unsyncedFiles.append(file)
    }

    /// Marks a sealed segment as just used, and puts the file of the least recently used one aside.
    private func keepOpen(_ segment: Segment) {
        segment.wasUsed = true
        if openSealed.last === segment { return }
        openSealed.removeAll { $0 === segment }
        openSealed.append(segment)
        guard openSealed.count > StorageLimits.openSealedSegments else { return }
        putAside(openSealed.removeFirst())
    }

    /// Closes a sealed segment's file and forgets its index; both come back with the next read.
    func putAside(_ segment: Segment) {
        // What waits for a sync must stay open: the round needs this very file.
        if segment.isDirty { return }
        segment.file = nil
        if !segment.index.needsFlush { segment.index = SegmentIndex(isLoaded: false) }
    }
}
