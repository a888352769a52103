// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: a file that is only read.
//
// Owns its descriptor. Not part of the broker's storage: what is looked at may belong to another
// process, or to another broker, and is never opened for writing.

import Glibc
import NIOCore

final class ReadOnlyFile {
    let path: String
    let size: Int
    private let descriptor: CInt

    init(_ path: String) throws(ClientError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure("open", path) }
        var status = stat()
        // SAFETY: `status` is a live local for the duration of the call.
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw ClientError(
                .invalidArgument, "\(path) is no file: name a .log, .index or .timeindex")
        }
        self.path = path
        self.descriptor = descriptor
        size = Int(status.st_size)
    }

    deinit {
        close(descriptor)
    }

    /// Up to `count` bytes from `position`; fewer only at the end of the file.
    func read(_ count: Int, at position: Int) throws(ClientError) -> ByteBuffer {
        var buffer = ByteBuffer()
        let wanted = max(0, min(count, size - position))
        while buffer.readableBytes < wanted {
            let left = wanted - buffer.readableBytes
            let start = position + buffer.readableBytes
            var result = 0
            // SAFETY: at most `left` bytes are written into space that has as many.
            _ = unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: left) { space in
                result = unsafe pread(descriptor, space.baseAddress, left, off_t(start))
                return max(0, result)
            }
            if result == 0 { break }
            guard result > 0 || errno == EINTR else { throw Self.failure("read", path) }
        }
        return buffer
    }

    private static func failure(_ operation: String, _ path: String) -> ClientError {
        let reason = unsafe String(cString: strerror(errno))
        return ClientError(.invalidArgument, "cannot \(operation) \(path): \(reason)")
    }
}
