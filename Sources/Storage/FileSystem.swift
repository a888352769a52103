// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the file-system seam.
//
// Everything the broker keeps goes through these two protocols. There are three implementations: the real
// one, one in memory (anonymous files, for --ephemeral), and a simulated disk for tests that can lose what was
// not synced, tear a write, fail and fill up; and one that makes another one slow. Implementations are safe to
// call from any thread; callers order their own calls to one file.

/// A tree of files under one root. Paths are relative to it, `/`-separated, without `.` or `..`.
package protocol FileSystem: Sendable {
    /// Opens a file for reading and writing; `create` makes it if it is missing.
    func open(_ path: String, create: Bool) throws(StorageError) -> any File
    /// Whether something is at this path.
    func exists(_ path: String) throws(StorageError) -> Bool
    /// Makes a directory; its parent must exist; an existing directory is no error.
    func makeDirectory(_ path: String) throws(StorageError)
    /// Names in a directory, in no particular order.
    func list(_ path: String) throws(StorageError) -> [String]
    /// Renames a file or directory; replaces a file of the new name. Durable once both parents are synced.
    func rename(_ from: String, to: String) throws(StorageError)
    /// Removes a file or an empty directory.
    func remove(_ path: String) throws(StorageError)
    /// Makes creations, renames and removals in this directory durable (fsync of the directory; "" is the root).
    func syncDirectory(_ path: String) throws(StorageError)
    /// Bytes that can still be written, if known.
    func availableBytes() -> Int64?
    /// Bytes of the volume, if known.
    func totalBytes() -> Int64?
    /// Where the root is, for people.
    var location: String { get }
    /// Whether syncing several files at the same time is faster than one after the other.
    var syncsInParallel: Bool { get }
    /// Takes an exclusive lock on a file, made if it is missing; throws `.inUse` if somebody else has it.
    /// `contents` replaces the file's bytes. The lock ends with the last reference to the result.
    func lock(_ path: String, contents: String) throws(StorageError) -> any FileLock
}

/// One file. Closed when the last reference goes, if not before.
package protocol File: AnyObject, Sendable {
    /// Writes all parts, one after the other, starting at `offset` bytes; extends the file if needed.
    /// On failure a prefix may have been written.
    func write(_ parts: [UnsafeRawBufferPointer], at offset: Int64) throws(StorageError)
    /// Reads up to `buffer.count` bytes from `offset`; returns how many (0 at the end of the file).
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(StorageError) -> Int
    /// Makes all that was written durable (fdatasync).
    func sync() throws(StorageError)
    func truncate(to size: Int64) throws(StorageError)
    func size() throws(StorageError) -> Int64
    /// The kernel's descriptor, for sendfile; nil where there is none for sure (simulation; a file that is closed and
    /// opened again as the pool needs room). Valid while `self` lives.
    var descriptor: CInt? { get }
    /// The same file, open as long as the result lives, even if it is removed or renamed meanwhile.
    func pinned() throws(StorageError) -> any File
}

extension File {
    package func pinned() throws(StorageError) -> any File { self }
}

/// An exclusive lock that lasts as long as this object.
package protocol FileLock: AnyObject, Sendable {}

/// What file systems without other processes give out.
package final class UncontendedLock: FileLock {
    package init() {}
}

extension FileSystem {
    package var syncsInParallel: Bool { false }

    package func totalBytes() -> Int64? { nil }

    package var location: String { "memory" }

    package func lock(_ path: String, contents: String) throws(StorageError) -> any FileLock {
        UncontendedLock()
    }
}
