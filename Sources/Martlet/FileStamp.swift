// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: what tells that a watched file has changed.

import Glibc

/// Tells whether a file is still the one it was.
struct FileStamp: Equatable {
    let inode: UInt
    let size: Int
    let seconds: Int
    let nanoseconds: Int

    /// nil if there is no file.
    init?(path: String) {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a C string for the duration of the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        inode = status.st_ino
        size = status.st_size
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
    }
}
