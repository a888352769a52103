// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a file system whose disk is slow to sync, to see what a broker does then.
//
// Everything goes to another file system; syncs of files and directories take longer by a fixed time, on the thread
// that asks for them. Reads and writes are not slowed: they end in the page cache on a slow disk too. For development
// and tests (`--x-disk-delay-ms`). Immutable; any thread may call.

import Glibc

/// Another file system with slow syncs.
package final class SlowFileSystem: FileSystem {
    private let base: any FileSystem
    private let delayMs: Int

    /// Every sync takes `delayMs` milliseconds longer.
    package init(_ base: any FileSystem, delayMs: Int) {
        self.base = base
        self.delayMs = delayMs
    }

    package func open(_ path: String, create: Bool) throws(StorageError) -> any File {
        SlowFile(try base.open(path, create: create), delayMs: delayMs)
    }

    package func exists(_ path: String) throws(StorageError) -> Bool { try base.exists(path) }
    package func makeDirectory(_ path: String) throws(StorageError) { try base.makeDirectory(path) }
    package func list(_ path: String) throws(StorageError) -> [String] { try base.list(path) }
    package func rename(_ from: String, to: String) throws(StorageError) { try base.rename(from, to: to) }
    package func remove(_ path: String) throws(StorageError) { try base.remove(path) }
    package func availableBytes() -> Int64? { base.availableBytes() }
    package func totalBytes() -> Int64? { base.totalBytes() }
    package var location: String { base.location }

    package func syncDirectory(_ path: String) throws(StorageError) {
        pause(forMs: delayMs)
        try base.syncDirectory(path)
    }

    package func lock(_ path: String, contents: String) throws(StorageError) -> any FileLock {
        try base.lock(path, contents: contents)
    }
}

private final class SlowFile: File {
    private let base: any File
    private let delayMs: Int

    init(_ base: any File, delayMs: Int) {
        self.base = base
        self.delayMs = delayMs
    }

    var descriptor: CInt? { base.descriptor }

    func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(StorageError) {
        unsafe try base.write(parts, at: offset)
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StorageError) -> Int {
        unsafe try base.read(into: buffer, at: offset)
    }

    func sync() throws(StorageError) {
        pause(forMs: delayMs)
        try base.sync()
    }

    func truncate(to size: Int64) throws(StorageError) { try base.truncate(to: size) }
    func size() throws(StorageError) -> Int64 { try base.size() }
}

/// Holds up the calling thread, as a slow disk would.
private func pause(forMs delayMs: Int) {
    var wanted = timespec(tv_sec: delayMs / 1000, tv_nsec: delayMs % 1000 * 1_000_000)
    var rest = timespec()
    // SAFETY: both are live locals for the duration of the call; after a signal `rest` holds what is left.
    while unsafe nanosleep(&wanted, &rest) != 0 && errno == EINTR { wanted = rest }
}
