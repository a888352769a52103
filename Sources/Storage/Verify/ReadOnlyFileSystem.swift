// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a directory of the machine that is only looked at.
//
// Opens everything for reading only, makes nothing, and takes no lock, so that a directory can be examined while a broker
// works in it and by somebody who may not write there. Every change is refused. Immutable; any thread may call.

import CLinux
import Glibc
import NIOCore

package final class ReadOnlyFileSystem: FileSystem {
    package let root: String
    private let rootDescriptor: CInt

    /// The directory must exist.
    package init(root: String) throws(StorageError) {
        self.root = root
        // SAFETY: the path is a terminated string for the duration of the call.
        let descriptor = uninterrupted { unsafe martlet_open(root, O_RDONLY | O_DIRECTORY, 0) }
        guard descriptor >= 0 else { throw systemError("open the directory", root, errno) }
        rootDescriptor = descriptor
    }

    deinit { _ = Glibc.close(rootDescriptor) }

    package func open(_ path: String, create: Bool) throws(StorageError) -> any File {
        guard !create else { throw refusal("make \(path)") }
        // SAFETY: the path is a terminated string for the duration of the call.
        let number = uninterrupted { unsafe martlet_openat(rootDescriptor, path, O_RDONLY, 0) }
        guard number >= 0 else { throw systemError("open", "\(root)/\(path)", errno) }
        return DescriptorFile(owning: number, path: "\(root)/\(path)", isDurable: false)
    }

    package func exists(_ path: String) throws(StorageError) -> Bool {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a terminated string for the duration of the call.
        if unsafe fstatat(rootDescriptor, path, &status, AT_SYMLINK_NOFOLLOW) == 0 { return true }
        if errno == ENOENT || errno == ENOTDIR { return false }
        throw systemError("examine", "\(root)/\(path)", errno)
    }

    package func list(_ path: String) throws(StorageError) -> [String] {
        // SAFETY: the path is a terminated string for the duration of the call.
        let number = uninterrupted {
            unsafe martlet_openat(rootDescriptor, path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY, 0)
        }
        guard number >= 0 else { throw systemError("list", "\(root)/\(path)", errno) }
        return try listDirectory(owning: number, path: "\(root)/\(path)")
    }

    /// Whether a process holds the lock on this file, from the system's table of locks: asking with a lock of one's own
    /// would turn away a broker that is just starting. nil if the table cannot be read.
    package func isLocked(_ path: String) -> Bool? {
        guard let file = try? open(path, create: false) as? DescriptorFile, let identity = try? file.identity() else {
            return false
        }
        // SAFETY: the path is a terminated string for the duration of the call.
        let number = unsafe martlet_open("/proc/locks", O_RDONLY, 0)
        guard number >= 0 else { return nil }
        let table = DescriptorFile(owning: number, path: "/proc/locks", isDurable: false)
        guard let bytes = try? table.readAll(limit: 1 << 20) else { return nil }
        // `1: FLOCK  ADVISORY  WRITE 4711 fd:00:12345 0 EOF`: the last number is the file's.
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").contains { line in
            let words = line.split(separator: " ")
            return words.contains("FLOCK") && words.contains { $0.hasSuffix(":\(identity.node)") }
        }
    }

    package func makeDirectory(_ path: String) throws(StorageError) { throw refusal("make \(path)") }
    package func rename(_ from: String, to: String) throws(StorageError) { throw refusal("rename \(from)") }
    package func remove(_ path: String) throws(StorageError) { throw refusal("remove \(path)") }
    package func syncDirectory(_ path: String) throws(StorageError) {}
    package func availableBytes() -> Int64? { nil }

    package func lock(_ path: String, contents: String) throws(StorageError) -> any FileLock {
        throw refusal("lock \(path)")
    }

    private func refusal(_ operation: String) -> StorageError {
        StorageError(.permission, "cannot \(operation): \(root) is only looked at")
    }
}
