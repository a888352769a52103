// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: compresses a batch's records in shapes that every Kafka client reads.
//
// gzip at zlib's default level unless another is asked for; one raw snappy block (as librdkafka sends); an lz4 frame of
// independent 64 KiB blocks (older Java clients refuse dependent ones); a zstd frame at level 3
// with its content size. Owns the encoding contexts, made on first use and reused. Not thread-safe:
// one owner has each instance.

import CLZ4
import CSnappy
import CZlib
import CZstd
import NIOCore

/// Encoders for the four codecs. They fail only without memory, which ends the process as elsewhere
/// in Swift.
@safe package final class Compressor {
    /// zlib keeps a pointer back to its stream, so the stream needs a fixed address.
    private var deflater: UnsafeMutablePointer<z_stream>?
    private var zstd: OpaquePointer?
    private static let zstdLevel: CInt = 3

    package init() {}

    deinit {
        // SAFETY: each context was made by its library, is owned by this object alone, and is freed
        // once.
        if let deflater = unsafe deflater {
            unsafe deflateEnd(deflater)
            unsafe deflater.deallocate()
        }
        if let zstd = unsafe zstd { _ = unsafe ZSTD_freeCCtx(zstd) }
    }

    /// Appends `source`, compressed; `level` as the library counts them, nil for its default.
    package func compress(
        _ source: UnsafeRawBufferPointer, _ type: CompressionType, level: Int32? = nil,
        into output: inout ByteBuffer
    ) {
        switch type {
        case .none: unsafe output.writeBytes(source)
        case .gzip: unsafe gzip(source, level: level ?? Z_DEFAULT_COMPRESSION, into: &output)
        case .snappy: unsafe snappy(source, into: &output)
        case .lz4: unsafe frame(source, level: level ?? 0, into: &output)
        case .zstd: unsafe zstandard(source, level: level ?? Self.zstdLevel, into: &output)
        }
    }

    private func gzip(
        _ source: UnsafeRawBufferPointer, level: Int32, into output: inout ByteBuffer
    ) {
        let stream = unsafe readyDeflater()
        // SAFETY: the stream is ready and holds nothing yet, so its level may change.
        let status = unsafe deflateParams(stream, level, Z_DEFAULT_STRATEGY)
        precondition(status == Z_OK, "a fresh encoder takes another level")
        let bound = unsafe Int(deflateBound(stream, UInt(source.count)))
        // SAFETY: zlib reads `avail_in` bytes of `source` and writes into the space of at least
        // `bound` bytes, within this call; the input pointer is mutable in its old interface only.
        unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { space in
            unsafe stream.pointee.next_in = unsafe UnsafeMutablePointer(
                mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
            unsafe stream.pointee.avail_in = UInt32(source.count)
            unsafe stream.pointee.next_out = unsafe space.baseAddress?.assumingMemoryBound(
                to: UInt8.self)
            unsafe stream.pointee.avail_out = UInt32(space.count)
            let status = unsafe deflate(stream, Z_FINISH)
            precondition(status == Z_STREAM_END, "deflateBound bounds one deflate")
            return unsafe space.count - Int(stream.pointee.avail_out)
        }
    }

    private func readyDeflater() -> UnsafeMutablePointer<z_stream> {
        if let deflater = unsafe deflater {
            unsafe deflateReset(deflater)
            return unsafe deflater
        }
        // SAFETY: initialized before use, freed in `deinit`.
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        let status = unsafe martlet_deflate_init(stream)
        precondition(status == Z_OK, "zlib has memory for an encoder")
        unsafe deflater = unsafe stream
        return unsafe stream
    }

    private func snappy(_ source: UnsafeRawBufferPointer, into output: inout ByteBuffer) {
        // SAFETY: the space holds the library's own bound; it is told how many bytes it may write.
        unsafe output.writeWithUnsafeMutableBytes(
            minimumWritableBytes: snappy_max_compressed_length(source.count)
        ) { space in
            var produced = space.count
            let status = unsafe snappy_compress(
                source.baseAddress, source.count, space.baseAddress, &produced)
            precondition(status == SNAPPY_OK, "snappy_max_compressed_length bounds one block")
            return produced
        }
    }

    private func frame(
        _ source: UnsafeRawBufferPointer, level: Int32, into output: inout ByteBuffer
    ) {
        var preferences = LZ4F_preferences_t()
        preferences.compressionLevel = level
        preferences.frameInfo.blockSizeID = LZ4F_max64KB
        preferences.frameInfo.blockMode = LZ4F_blockIndependent
        // SAFETY: the space holds the library's own bound; `preferences` outlives the calls.
        let bound = unsafe LZ4F_compressFrameBound(source.count, &preferences)
        unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { space in
            let produced = unsafe LZ4F_compressFrame(
                space.baseAddress, space.count, source.baseAddress, source.count, &preferences)
            precondition(LZ4F_isError(produced) == 0, "LZ4F_compressFrameBound bounds one frame")
            return produced
        }
    }

    private func zstandard(
        _ source: UnsafeRawBufferPointer, level: Int32, into output: inout ByteBuffer
    ) {
        if unsafe zstd == nil { unsafe zstd = unsafe ZSTD_createCCtx() }
        let context = unsafe zstd
        // SAFETY: the space holds the library's own bound; it is told how many bytes it may write.
        unsafe output.writeWithUnsafeMutableBytes(
            minimumWritableBytes: ZSTD_compressBound(source.count)
        ) {
            space in
            let produced = unsafe ZSTD_compressCCtx(
                context, space.baseAddress, space.count, source.baseAddress, source.count,
                level)
            precondition(ZSTD_isError(produced) == 0, "ZSTD_compressBound bounds one frame")
            return produced
        }
    }
}
