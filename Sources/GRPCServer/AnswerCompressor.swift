// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: compresses the messages of those calls that came compressed themselves.
//
// One for each event loop, because an encoder holds a quarter of a megabyte. Each message is compressed by itself, at the level
// that costs least: the loop has others to serve. Small ones and very large ones go as they are, and so do those that would
// not become smaller.

import GRPCWire
import NIOCore
import Records
import Synchronization

final class AnswerCompressor: @unchecked Sendable {
    // Unchecked: used on its loop only.
    private let compressor = Compressor()
    private static let level: Int32 = 1

    /// Compresses the frames from this index on.
    func compress(_ buffer: inout ByteBuffer, from start: Int) {
        guard buffer.writerIndex - start >= Limits.compressedAnswerBytes.lowerBound,
            var frames = buffer.getSlice(at: start, length: buffer.writerIndex - start)
        else { return }
        buffer.moveWriterIndex(to: start)
        while let flag = frames.readInteger(as: UInt8.self), let length = frames.readInteger(as: UInt32.self),
            let message = frames.readSlice(length: Int(length)) {
            precondition(flag == 0, "messages are compressed here")
            if !Limits.compressedAnswerBytes.contains(message.readableBytes) || !write(message, into: &buffer) {
                buffer.writeMessage { $0.writeImmutableBuffer(message) }
            }
        }
        precondition(frames.readableBytes == 0, "whole messages were written")
    }

    /// False if nothing is gained by it.
    private func write(_ message: ByteBuffer, into buffer: inout ByteBuffer) -> Bool {
        let start = buffer.writerIndex
        buffer.writeInteger(UInt8(1))
        buffer.writeInteger(UInt32(0))
        // SAFETY: the pointer is used within the closure only.
        unsafe message.withUnsafeReadableBytes { bytes in
            unsafe compressor.compress(bytes, .gzip, level: Self.level, into: &buffer)
        }
        let size = buffer.writerIndex - start - MessageFrame.prefixSize
        guard size < message.readableBytes else {
            buffer.moveWriterIndex(to: start)
            return false
        }
        buffer.setInteger(UInt32(size), at: start + 1)
        return true
    }
}

/// One compressor an event loop, made when a call first needs it.
final class AnswerCompressors: Sendable {
    private let compressors = Mutex<[ObjectIdentifier: AnswerCompressor]>([:])

    func compressor(for loop: any EventLoop) -> AnswerCompressor {
        compressors.withLock { compressors in
            if let known = compressors[ObjectIdentifier(loop)] { return known }
            let made = AnswerCompressor()
            compressors[ObjectIdentifier(loop)] = made
            return made
        }
    }
}
