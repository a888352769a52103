// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: the frames of a client's bytes, by their heads only, before nghttp2 gets them.
//
// nghttp2 tells nothing of frames that it does not know or that are of streams which have ended, and has no bound for frames without
// content: those are counted here. A value of its session's; heads may be cut anywhere.

import NIOCore

struct FrameWalk {
    /// A frame's head (RFC 9113, section 4.1).
    struct Head {
        var length: Int
        var type: UInt8
        var flags: UInt8

        /// Whether the frame makes work and brings nothing: DATA without data that does not end its stream; PRIORITY, which
        /// is not heeded; what is not known (RFC 9218's PRIORITY_UPDATE is among that).
        var isIdle: Bool {
            switch type {
            case 0: length == 0 && flags & 0x1 == 0
            case 1, 3...9: false
            default: true
            }
        }

        /// How many idle frames this one makes up for.
        var worth: Int {
            switch type {
            case 0: length > 0 ? 1 : 0
            case 1: 10
            default: 0
            }
        }
    }

    private static let headSize = 9
    /// Bytes of the preface, or of a frame, that are still to come.
    private var left = 24
    /// The beginning of a head.
    private var begun = ByteBuffer()

    /// The next head that ends in these bytes, which move on behind it.
    mutating func next(in bytes: inout ByteBuffer) -> Head? {
        let skipped = min(left, bytes.readableBytes)
        bytes.moveReaderIndex(forwardBy: skipped)
        left -= skipped
        guard bytes.readableBytes > 0 else { return nil }
        if begun.readableBytes == 0, bytes.readableBytes >= Self.headSize { return read(&bytes) }
        if let more = bytes.readSlice(length: min(Self.headSize - begun.readableBytes, bytes.readableBytes)) {
            begun.writeImmutableBuffer(more)
        }
        guard begun.readableBytes == Self.headSize else { return nil }
        var whole = begun
        begun = ByteBuffer()
        return read(&whole)
    }

    private mutating func read(_ bytes: inout ByteBuffer) -> Head? {
        guard let start = bytes.readInteger(as: UInt32.self), let flags = bytes.readInteger(as: UInt8.self),
            bytes.readInteger(as: UInt32.self) != nil
        else { return nil }
        left = Int(start >> 8)
        return Head(length: left, type: UInt8(truncatingIfNeeded: start), flags: flags)
    }
}
