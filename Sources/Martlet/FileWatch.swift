// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: whether a file is another one than when somebody last asked.
//
// Safe to use from any thread; of several who ask at once one is told.

import Synchronization

final class FileWatch: Sendable {
    let path: String
    private let stamp: Mutex<FileStamp?>

    /// What is there now is known. Watch a file before it is read, or a change in between goes unseen.
    init(_ path: String) {
        self.path = path
        stamp = Mutex(FileStamp(path: path))
    }

    func hasChanged() -> Bool {
        let found = FileStamp(path: path)
        return stamp.withLock { stamp in
            defer { stamp = found }
            return stamp != found
        }
    }
}
