// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: whether a file is still the one it was.
//
// Follows symbolic links, so that a link that is turned to another directory (Kubernetes) is a change too. The time of a
// change is only as fine as the kernel's tick: a file that was changed a moment ago may be changed again without its
// stamp being another one, and is to be looked at once more.

import Glibc

struct FileStamp: Equatable {
    private let device: UInt
    private let inode: UInt
    private let size: Int
    private let seconds: Int
    private let nanoseconds: Int
    private let changeSeconds: Int
    private let changeNanoseconds: Int

    /// nil if there is no file.
    init?(path: String) {
        var status = stat()
        // SAFETY: `status` is a live local; the path is a C string for the duration of the call.
        guard unsafe stat(path, &status) == 0 else { return nil }
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        size = status.st_size
        seconds = status.st_mtim.tv_sec
        nanoseconds = status.st_mtim.tv_nsec
        changeSeconds = status.st_ctim.tv_sec
        changeNanoseconds = status.st_ctim.tv_nsec
    }

    /// Whether it changed so shortly ago that it may change again within the same tick.
    func isFresh(nowMs: Int64) -> Bool {
        let changedMs = Int64(changeSeconds) * 1000 + Int64(changeNanoseconds) / 1_000_000
        return abs(nowMs - changedMs) < 1000
    }
}
