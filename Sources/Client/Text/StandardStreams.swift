// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: lines from standard input, and bytes to standard output.
//
// Owned by one thread that may wait. Output is collected and goes out in large pieces, or when its
// owner says so; a reader that has gone away is told to the owner, not an error. SIGPIPE has to be
// ignored by the process.

import Glibc
import NIOCore

/// Standard output, or another descriptor.
package struct StandardOutput {
    private var buffer = ByteBuffer()
    private let descriptor: CInt
    /// Nobody reads any more.
    package private(set) var isClosed = false
    private static let pieceBytes = 64 * 1024

    package init(descriptor: CInt = STDOUT_FILENO) {
        self.descriptor = descriptor
    }

    /// Lets `body` append, and writes when much has been collected.
    package mutating func write(_ body: (inout ByteBuffer) -> Void) {
        body(&buffer)
        if buffer.readableBytes >= Self.pieceBytes { flush() }
    }

    package mutating func flush() {
        while buffer.readableBytes > 0 && !isClosed {
            var result = 0
            // SAFETY: at most the readable bytes are written out, during the call.
            unsafe buffer.readWithUnsafeReadableBytes { bytes in
                result = unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
                return max(0, result)
            }
            if result < 0 && errno != EINTR { isClosed = true }
        }
        buffer.clear()
    }
}

/// Lines of standard input, or of another descriptor.
package struct LineReader {
    package enum Event: Equatable, Sendable {
        /// A line, without its end.
        case line(ByteBuffer)
        /// There is nothing to be read right now: a good moment to send what was collected.
        case pause
        case end
    }

    private var buffer = ByteBuffer()
    /// Bytes from the reader index on that hold no line feed.
    private var searched = 0
    private let descriptor: CInt
    private var isAtEnd = false
    private var hasPaused = true
    private static let chunkBytes = 64 * 1024
    private static let lineBytesMax = 256 << 20

    package init(descriptor: CInt = STDIN_FILENO) {
        self.descriptor = descriptor
    }

    /// What comes next; waits for it after a pause.
    package mutating func next() throws(ClientError) -> Event {
        while true {
            if let line = takeLine() {
                hasPaused = false
                return .line(line)
            }
            if isAtEnd {
                guard buffer.readableBytes > 0 else { return .end }
                let last = buffer
                buffer = ByteBuffer()
                return .line(last)
            }
            if !hasPaused && !isReadable {
                hasPaused = true
                return .pause
            }
            try fill()
        }
    }

    private mutating func takeLine() -> ByteBuffer? {
        let view = buffer.readableBytesView.dropFirst(searched)
        guard let end = view.firstIndex(of: UInt8(ascii: "\n")) else {
            searched = buffer.readableBytes
            return nil
        }
        searched = 0
        let line = buffer.readSlice(length: end - buffer.readerIndex)
        buffer.moveReaderIndex(forwardBy: 1)
        return line
    }

    private var isReadable: Bool {
        var descriptors = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // SAFETY: one live entry for the duration of the call.
        return unsafe poll(&descriptors, 1, 0) > 0
    }

    private mutating func fill() throws(ClientError) {
        guard buffer.readableBytes < Self.lineBytesMax else {
            throw ClientError(
                .invalidArgument, "a line of the input is longer than \(Self.lineBytesMax) bytes")
        }
        buffer.discardReadBytes()
        var result = 0
        // SAFETY: at most the offered bytes are written, during the call.
        unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.chunkBytes) { space in
            result = unsafe read(descriptor, space.baseAddress, space.count)
            return max(0, result)
        }
        if result == 0 { isAtEnd = true }
        guard result >= 0 || errno == EINTR else {
            throw ClientError(
                .invalidArgument,
                unsafe "cannot read the input: \(String(cString: strerror(errno)))")
        }
    }
}
