// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: files in memory only, for --ephemeral and --durability memory.
//
// Each file is an anonymous memory file (memfd_create), so that it has a descriptor and sendfile works as on disk.
// The names live in one table under `state`'s lock. Nothing survives the process, and syncing does nothing.

import CLinux
import Glibc
import Synchronization

/// A tree of files that vanishes with the process.
package final class MemoryFileSystem: FileSystem {
    private enum Entry {
        case directory
        case file(DescriptorFile)
    }

    /// Every entry by its full path; the root is always there.
    private let state = Mutex<[String: Entry]>([:])

    package init() {}

    package func open(_ path: String, create: Bool) throws(StorageError) -> any File {
        try state.withLock { entries throws(StorageError) in
            switch entries[path] {
            case .file(let file): return file
            case .directory: throw systemError("open", path, EISDIR)
            case nil:
                guard create, Self.hasParent(path, in: entries) else { throw systemError("open", path, ENOENT) }
                // SAFETY: the path is a terminated string for the duration of the call.
                let number = unsafe martlet_memfd_create(String(path.suffix(200)))
                guard number >= 0 else { throw systemError("create in memory", path, errno) }
                let file = DescriptorFile(owning: number, path: path, isDurable: false)
                entries[path] = .file(file)
                return file
            }
        }
    }

    package func exists(_ path: String) throws(StorageError) -> Bool {
        path.isEmpty || state.withLock { $0[path] != nil }
    }

    package func makeDirectory(_ path: String) throws(StorageError) {
        try state.withLock { entries throws(StorageError) in
            switch entries[path] {
            case .directory: return
            case .file: throw systemError("make the directory", path, EEXIST)
            case nil:
                guard Self.hasParent(path, in: entries) else {
                    throw systemError("make the directory", path, ENOENT)
                }
                entries[path] = .directory
            }
        }
    }

    package func list(_ path: String) throws(StorageError) -> [String] {
        try state.withLock { entries throws(StorageError) in
            guard path.isEmpty || entries[path] != nil else { throw systemError("list", path, ENOENT) }
            return Self.paths(below: path, in: entries)
                .map { String(Substring($0.utf8.dropFirst(path.isEmpty ? 0 : path.utf8.count + 1))) }
                .filter { !$0.utf8.contains(UInt8(ascii: "/")) }
        }
    }

    package func rename(_ from: String, to: String) throws(StorageError) {
        try state.withLock { entries throws(StorageError) in
            guard let entry = entries[from] else { throw systemError("rename", from, ENOENT) }
            guard Self.hasParent(to, in: entries) else { throw systemError("rename", from, ENOENT) }
            if case .directory = entry, !Self.paths(below: to, in: entries).isEmpty {
                throw systemError("rename", from, ENOTEMPTY)
            }
            for path in Self.paths(below: from, in: entries) {
                let rest = Substring(path.utf8.dropFirst(from.utf8.count))
                entries[to + rest] = entries.removeValue(forKey: path)
            }
            entries[from] = nil
            entries[to] = entry
        }
    }

    package func remove(_ path: String) throws(StorageError) {
        try state.withLock { entries throws(StorageError) in
            guard entries[path] != nil else { throw systemError("remove", path, ENOENT) }
            guard Self.paths(below: path, in: entries).isEmpty else { throw systemError("remove", path, ENOTEMPTY) }
            entries[path] = nil
        }
    }

    package func syncDirectory(_ path: String) throws(StorageError) {}

    package func availableBytes() -> Int64? { nil }

    private static func hasParent(_ path: String, in entries: [String: Entry]) -> Bool {
        guard let slash = path.lastIndex(of: "/") else { return true }
        if case .directory = entries[String(path[..<slash])] { return true }
        return false
    }

    private static func paths(below path: String, in entries: [String: Entry]) -> [String] {
        path.isEmpty ? Array(entries.keys) : entries.keys.filter { $0.hasPrefix(path + "/") }
    }
}
