// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: a stretch of batches in a file, the result of a read.

import NIOCore

/// A stretch of whole batches in one file: what a fetch sends. Holding it keeps the file readable, even deleted.
package struct LogSlice: Sendable {
    package var file: any File
    package var position: Int64
    package var length: Int

    package init(file: any File, position: Int64, length: Int) {
        self.file = file
        self.position = position
        self.length = length
    }

    /// Copies the slice's bytes into `buffer`.
    package func read(into buffer: inout ByteBuffer) throws(StorageError) {
        let count = try file.read(into: &buffer, count: length, at: position)
        guard count == length else {
            throw StorageError(
                .corrupt, "a log file ends at \(position + Int64(count)), before \(position + Int64(length)):"
                    + " it was cut by something else than this broker")
        }
    }
}
