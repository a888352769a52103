// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: the decoders' bounds, and the framings that clients use.

import NIOCore
import Testing

@testable import Records

@Suite struct DecompressorTests {
    private static let codecs = CompressionType.allCases.filter { $0 != .none }

    private func compressed(_ bytes: ByteBuffer, _ type: CompressionType) -> ByteBuffer {
        var output = ByteBuffer()
        unsafe bytes.withUnsafeReadableBytes {
            unsafe Compressor().compress($0, type, into: &output)
        }
        return output
    }

    private func decompressed(
        _ bytes: ByteBuffer, _ type: CompressionType, limit: Int,
        with decompressor: Decompressor = Decompressor()
    ) throws(RecordError) -> ByteBuffer {
        var output = ByteBuffer()
        try unsafe bytes.withUnsafeReadableBytes { (raw) throws(RecordError) in
            try unsafe decompressor.decompress(raw, type, into: &output, limit: limit)
        }
        return output
    }

    @Test(arguments: CompressionType.allCases)
    func theLimitIsExact(_ type: CompressionType) throws {
        for size in [1, 1000, 65_536, 300_000] {
            let plain = ByteBuffer(repeating: 7, count: size)
            let packed = compressed(plain, type)
            #expect(try decompressed(packed, type, limit: size) == plain)
            #expect(throws: RecordError(.decompressedTooLarge, "")) {
                try decompressed(packed, type, limit: size - 1)
            }
        }
    }

    @Test(arguments: codecs)
    func oneDecoderServesManyBatchesAndRecoversFromDamage(_ type: CompressionType) throws {
        let decompressor = Decompressor()
        let plain = ByteBuffer(string: String(repeating: "martlet", count: 1000))
        let packed = compressed(plain, type)
        let cut = packed.getSlice(at: 0, length: packed.readableBytes / 2) ?? ByteBuffer()
        for _ in 0..<3 {
            #expect(try decompressed(packed, type, limit: 1 << 20, with: decompressor) == plain)
            #expect(throws: RecordError(.corruptMessage, "")) {
                try decompressed(cut, type, limit: 1 << 20, with: decompressor)
            }
        }
    }

    @Test(arguments: codecs)
    func dataCutShortAnywhereIsDamage(_ type: CompressionType) {
        let packed = compressed(ByteBuffer(string: String(repeating: "abcdefgh", count: 30)), type)
        for size in 1..<packed.readableBytes {
            let cut = packed.getSlice(at: 0, length: size) ?? ByteBuffer()
            #expect(throws: RecordError(.corruptMessage, ""), "cut to \(size)") {
                try decompressed(cut, type, limit: 1 << 20)
            }
        }
    }

    @Test func gzipMembersThatFollowEachOtherAreJoined() throws {
        var two = compressed(ByteBuffer(string: "one "), .gzip)
        two.writeImmutableBuffer(compressed(ByteBuffer(string: "two"), .gzip))
        #expect(try decompressed(two, .gzip, limit: 100) == ByteBuffer(string: "one two"))
    }

    @Test func xerialBlocksAreJoinedAndBoundedTogether() throws {
        var framed = ByteBuffer(bytes: [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
        framed.writeInteger(UInt32(1))
        framed.writeInteger(UInt32(1))
        for text in ["first block, ", "second block"] {
            let block = compressed(ByteBuffer(string: text), .snappy)
            framed.writeInteger(UInt32(block.readableBytes))
            framed.writeImmutableBuffer(block)
        }
        let plain = ByteBuffer(string: "first block, second block")
        #expect(try decompressed(framed, .snappy, limit: plain.readableBytes) == plain)
        #expect(throws: RecordError(.decompressedTooLarge, "")) {
            try decompressed(framed, .snappy, limit: plain.readableBytes - 1)
        }
        framed.writeInteger(UInt32(0xffff_ffff))
        #expect(throws: RecordError(.corruptMessage, "")) {
            try decompressed(framed, .snappy, limit: 1000)
        }
    }

    @Test func aSnappyLengthThatItsSizeCannotBearOutIsNotBelieved() {
        // A varint that declares 256 MiB, and two bytes of data.
        let lie = ByteBuffer(bytes: [0x80, 0x80, 0x80, 0x80, 0x01, 0x00, 0x00])
        #expect(throws: RecordError(.corruptMessage, "")) {
            try decompressed(lie, .snappy, limit: 1 << 30)
        }
    }

    @Test func aZstdFrameWithoutItsSizeIsReadAndBounded() throws {
        // 200,000 spaces by python-zstandard 0.25 with write_content_size=False: no content size in
        // the frame's head.
        let plain = ByteBuffer(repeating: 0x20, count: 200_000)
        let frame = Samples.hex(Self.unsizedZstdFrame)
        #expect(try decompressed(frame, .zstd, limit: 1 << 20) == plain)
        #expect(try decompressed(frame, .zstd, limit: 200_000) == plain)
        #expect(throws: RecordError(.decompressedTooLarge, "")) {
            try decompressed(frame, .zstd, limit: 199_999)
        }
    }

    private static let unsizedZstdFrame = "28b52ffd00585400001020200100fbff39c002036a0820"
}
