// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: reading and writing files as ByteBuffers and byte arrays.
//
// Conveniences over `File` that keep the pointers in one place. Owns nothing.

import NIOCore

extension File {
    /// Appends up to `count` bytes from `offset` to `buffer`; returns how many.
    func read(into buffer: inout ByteBuffer, count: Int, at offset: Int64) throws(StorageError) -> Int {
        // SAFETY: the pointer is used within the closure, bounded to `count` of the writable bytes.
        unsafe try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count) {
            (writable: UnsafeMutableRawBufferPointer) throws(StorageError) -> Int in
            unsafe try self.read(into: UnsafeMutableRawBufferPointer(rebasing: writable[..<count]), at: offset)
        }
    }

    /// Writes the readable bytes of `buffer` at `offset`.
    package func write(_ buffer: ByteBuffer, at offset: Int64) throws(StorageError) {
        // SAFETY: the pointer is used within the closure only.
        unsafe try buffer.withUnsafeReadableBytes { (bytes: UnsafeRawBufferPointer) throws(StorageError) in
            unsafe try self.write([bytes], at: offset)
        }
    }

    /// The whole file, at most `limit` bytes of it.
    func readAll(limit: Int) throws(StorageError) -> [UInt8] {
        let count = Int(min(try size(), Int64(limit)))
        // A file in /proc has no size: read what comes.
        var buffer = ByteBuffer()
        _ = try read(into: &buffer, count: count == 0 ? limit : count, at: 0)
        return Array(buffer.readableBytesView)
    }
}
