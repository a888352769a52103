// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: replacing a small file as a whole, durably.

import Bytes
import NIOCore

/// A file that is only ever replaced: after a crash it holds either the old bytes or the new ones.
package enum AtomicFile {
    /// Writes a temporary file beside it, syncs that, renames it, and syncs the directory.
    package static func replace(
        _ path: String, with bytes: ByteBuffer, in fileSystem: any FileSystem
    ) throws(StorageError) {
        let temporary = path + ".tmp"
        let file = try fileSystem.open(temporary, create: true)
        try file.truncate(to: 0)
        try file.write(bytes, at: 0)
        if !sabotaged("skipReplaceSync") { try file.sync() }
        try fileSystem.rename(temporary, to: path)
        let parent = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { String(path[..<$0]) } ?? ""
        try fileSystem.syncDirectory(parent)
    }
}
