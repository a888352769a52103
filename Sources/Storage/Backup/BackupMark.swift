// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the file that says that a directory is a backup, and how much there is in it.
//
// Lines of `key=value`. What was copied elsewhere and back may have lost files on its way; the counts tell.

import NIOCore

struct BackupMark: Equatable {
    static let path = "martlet.backup"
    static let version = 1
    private static let bytesMax = 4096

    var createdMs: Int64
    var logs: Int
    /// Of all files of the logs.
    var bytes: Int64

    var text: String { "version=\(Self.version)\ncreated.ms=\(createdMs)\nlogs=\(logs)\nbytes=\(bytes)\n" }

    /// What `backup` is.
    static func read(in backup: String) throws(StorageError) -> BackupMark {
        guard BackupFiles.exists("\(backup)/\(path)") else {
            throw StorageError(
                .notFound, "\(backup) is no backup: it has no \(path); name a directory that `martlet backup` made")
        }
        let content = try RealFileSystem(root: backup).open(path, create: false).readAll(limit: bytesMax)
        var values: [Substring: Int64] = [:]
        for line in String(decoding: content, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = Int64(parts[1]) }
        }
        guard let version = values["version"], let logs = values["logs"], let bytes = values["bytes"], bytes >= 0 else {
            throw StorageError(.corrupt, "\(backup)/\(path) does not say what the backup has; copy the backup again")
        }
        guard version <= Self.version else {
            throw StorageError(
                .newerFormat, "\(backup) was made by a newer martlet (version \(version) of backups, and this one reads up to"
                    + " \(Self.version)); use that one")
        }
        return BackupMark(createdMs: values["created.ms"] ?? 0, logs: Int(truncatingIfNeeded: logs), bytes: bytes)
    }
}
