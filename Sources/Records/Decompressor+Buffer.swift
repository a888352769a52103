// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: decompressing a buffer that is no batch.

import NIOCore

extension Decompressor {
    /// What `source` decompresses to, no more than `limit` bytes.
    package func decompress(_ source: ByteBuffer, _ type: CompressionType, limit: Int) throws(RecordError) -> ByteBuffer {
        var output = ByteBuffer()
        var failure: RecordError?
        // SAFETY: the pointer is used within the closure only.
        unsafe source.withUnsafeReadableBytes { bytes in
            do throws(RecordError) {
                try unsafe decompress(bytes, type, into: &output, limit: limit)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return output
    }
}
