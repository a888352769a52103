// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a directory that a backup or a restore makes: there as a whole, or not at all.
//
// Everything is written beside it, as `<path>.partial`, and renamed when it is complete and durable. What an earlier one that
// was cut off has left under that name is removed, if it can be told to be ours.

import Glibc

package struct BackupDirectory {
    static let begun = "martlet.partial"

    let path: String
    var partial: String { path + ".partial" }

    /// `path` is absolute.
    package init(_ path: String) throws(StorageError) {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        self.path = path
        guard path.hasPrefix("/"), path != "/", !path.split(separator: "/").contains("..") else {
            throw StorageError(.inputOutput, "`\(path)` is no place for a directory of its own; name a new one by its full path")
        }
        if BackupFiles.exists(path) {
            guard BackupFiles.isDirectory(path) else {
                throw StorageError(.inUse, "\(path) is a file; name a directory that does not exist yet")
            }
            guard try BackupFiles.list(path).isEmpty else {
                throw StorageError(.inUse, "\(path) is not empty; name a directory that does not exist yet")
            }
        }
        let parent = BackupFiles.parent(of: path)
        guard BackupFiles.isDirectory(parent) else {
            throw StorageError(.notFound, "the directory \(parent) does not exist; make it first")
        }
    }

    /// Runs `body` with the directory to fill; then puts it in its place.
    func fill<Result>(_ body: (String) throws(StorageError) -> Result) throws(StorageError) -> Result {
        if BackupFiles.exists(partial) {
            guard BackupFiles.exists("\(partial)/\(Self.begun)") else {
                throw StorageError(.inUse, "\(partial) is in the way, and not ours to remove")
            }
            BackupFiles.removeTree(partial)
        }
        try BackupFiles.make(partial)
        do throws(StorageError) {
            try BackupFiles.write("", to: "\(partial)/\(Self.begun)")
            let result = try body(partial)
            try BackupFiles.sync(partial)
            try BackupFiles.rename(partial, to: path)
            unlinkBegun()
            try BackupFiles.sync(path)
            try BackupFiles.sync(BackupFiles.parent(of: path))
            return result
        } catch {
            BackupFiles.removeTree(partial)
            throw error
        }
    }

    private func unlinkBegun() {
        _ = unsafe unlink("\(path)/\(Self.begun)")
    }
}
