// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the mark of a clean shutdown.
//
// A small file that names the checkpoint it belongs to by that file's checksum. While it is there, the checkpoint
// describes every log completely, and a start believes it without looking at the logs. It is therefore removed,
// durably, before this run changes anything. Any thread may call; `state` guards.

import Bytes
import NIOCore
import Synchronization

/// The clean-shutdown mark of one data directory.
final class CleanMark: Sendable {
    static let path = "martlet.clean"

    private let fileSystem: any FileSystem
    /// Whether the file may still be there.
    private let isSet: Mutex<Bool>

    init(fileSystem: any FileSystem, isSet: Bool) {
        self.fileSystem = fileSystem
        self.isSet = Mutex(isSet)
    }

    /// Whether there is a mark for the checkpoint with this checksum.
    static func isThere(in fileSystem: any FileSystem, forChecksum checksum: UInt32) throws(StorageError) -> Bool {
        do throws(StorageError) {
            let text = try fileSystem.open(path, create: false).readAll(limit: 64)
            return String(decoding: text, as: UTF8.self) == contents(checksum)
        } catch {
            if error.code == .notFound { return false }
            throw error
        }
    }

    /// Whether nothing of the data directory has been changed since a clean shutdown.
    var isThere: Bool { isSet.withLock { $0 } }

    /// Sets the mark durably. Nothing may be written afterwards.
    func set(forChecksum checksum: UInt32) throws(StorageError) {
        try isSet.withLock { isSet throws(StorageError) in
            isSet = true
            try AtomicFile.replace(Self.path, with: ByteBuffer(string: Self.contents(checksum)), in: fileSystem)
        }
    }

    /// Removes the mark durably, if it is there. Every change of the data directory comes after this.
    func consume() throws(StorageError) {
        try isSet.withLock { isSet throws(StorageError) in
            guard isSet, !sabotaged("keepCleanMark") else { return }
            do throws(StorageError) {
                try fileSystem.remove(Self.path)
            } catch {
                if error.code != .notFound { throw error }
            }
            try fileSystem.syncDirectory("")
            isSet = false
        }
    }

    private static func contents(_ checksum: UInt32) -> String { "checkpoint=\(checksum)\n" }
}
