// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: snappy, in the two shapes that clients send.
//
// librdkafka and Go clients send one raw snappy block. Java (and what follows it) sends the frame
// of the xerial library: 8 bytes of magic, two versions, then blocks with a big-endian length each.

import CSnappy
import NIOCore

extension Decompressor {
    private static let xerialMagic: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]
    private static let xerialHeadSize = 16
    /// No snappy element makes more than 64 bytes out of fewer than 2.
    private static let largestRatio = 64

    static func unsnappy(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int
    ) throws(RecordError) {
        guard source.count >= xerialHeadSize, unsafe source[..<8].elementsEqual(xerialMagic) else {
            return try unsafe block(source, into: &output, limit: limit)
        }
        var position = xerialHeadSize
        var left = limit
        while position < source.count {
            guard source.count - position >= 4 else {
                throw damaged("a snappy block's length is cut short")
            }
            // SAFETY: four bytes are there, checked above.
            let length = unsafe Int(
                UInt32(bigEndian: source.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
            position += 4
            guard length <= source.count - position else {
                throw damaged("a snappy block is cut short")
            }
            let before = output.readableBytes
            try unsafe block(
                UnsafeRawBufferPointer(rebasing: source[position..<position + length]),
                into: &output,
                limit: left)
            left -= output.readableBytes - before
            position += length
        }
    }

    /// One raw block. The length it declares is believed only as far as its size can bear it out.
    private static func block(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int
    ) throws(RecordError) {
        var declared = 0
        // SAFETY: snappy reads `source` only.
        let hasLength = unsafe snappy_uncompressed_length(
            source.baseAddress, source.count, &declared)
        guard hasLength == SNAPPY_OK, declared <= largestRatio * source.count else {
            throw damaged("not a snappy block")
        }
        guard declared <= limit else { throw tooLarge(limit) }
        var isWhole = false
        // SAFETY: the space holds at least `declared` bytes, and snappy is told how many it may
        // write.
        unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: declared) { space in
            var produced = space.count
            let status = unsafe snappy_uncompress(
                source.baseAddress, source.count, space.baseAddress, &produced)
            isWhole = status == SNAPPY_OK && produced == declared
            return isWhole ? produced : 0
        }
        guard isWhole else { throw damaged("a snappy block is damaged") }
    }
}
