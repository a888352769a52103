// SPDX-License-Identifier: Apache-2.0
// Martlet, Records: decompresses a batch's records, with a bound on what comes out.
//
// Owns the C libraries' decoding contexts, made on first use and reused, so that a batch costs no
// set-up. Not thread-safe: one owner (an event loop, a connection, a test) has each instance.
// Output never grows past `limit`, whatever a head declares, so a decompression bomb costs at most
// the limit. It does not look at records, and it does not keep the input.

import CLZ4
import CSnappy
import CZlib
import CZstd
import NIOCore

/// Decoders for the four codecs Kafka's clients use.
@safe package final class Decompressor {
    /// zlib keeps a pointer back to its stream, so the stream needs a fixed address.
    private var inflater: UnsafeMutablePointer<z_stream>?
    private var lz4: OpaquePointer?
    private var zstd: OpaquePointer?

    /// Bytes that came out so far, those of failed attempts included.
    package private(set) var bytesOut = 0

    package init() {}

    deinit {
        // SAFETY: each context was made by its library, is owned by this object alone, and is freed
        // once.
        if let inflater = unsafe inflater {
            unsafe inflateEnd(inflater)
            unsafe inflater.deallocate()
        }
        if let lz4 = unsafe lz4 { _ = unsafe LZ4F_freeDecompressionContext(lz4) }
        if let zstd = unsafe zstd { _ = unsafe ZSTD_freeDCtx(zstd) }
    }

    /// Appends what `source` decompresses to. On an error `output` may hold a part of it, at most
    /// `limit` bytes and one more.
    package func decompress(
        _ source: UnsafeRawBufferPointer, _ type: CompressionType, into output: inout ByteBuffer,
        limit: Int
    ) throws(RecordError) {
        precondition(
            limit >= 0 && limit < Int(Int32.max), "a decompression limit lies between 0 and 2 GiB")
        let before = output.readableBytes
        defer { bytesOut &+= output.readableBytes - before }
        switch type {
        case .none:
            guard source.count <= limit else { throw Self.tooLarge(limit) }
            unsafe output.writeBytes(source)
        case .gzip: try unsafe gunzip(source, into: &output, limit: limit)
        case .snappy: try unsafe Self.unsnappy(source, into: &output, limit: limit)
        case .lz4: try unsafe unlz4(source, into: &output, limit: limit)
        case .zstd: try unsafe unzstd(source, into: &output, limit: limit)
        }
    }

    /// One step of a streaming decoder: how much it took and wrote, and whether it is done.
    private struct Step {
        var consumed = 0
        var produced = 0
        var isFinished = false
    }

    /// Calls `decode` with the input left and with room, more each time, until it is done or too
    /// much.
    private static func stream(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int,
        _ decode: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) throws(RecordError) ->
            Step
    ) throws(RecordError) {
        var consumed = 0
        var produced = 0
        var room = max(1024, 3 * source.count)
        while true {
            // One byte past the limit tells "exactly at it" from "beyond it".
            room = min(room, limit + 1 - produced)
            var step = Step()
            // SAFETY: the decoder gets the unread rest of `source` and at most the writable bytes
            // offered.
            try unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: room) {
                (space: UnsafeMutableRawBufferPointer) throws(RecordError) -> Int in
                let rest = unsafe UnsafeRawBufferPointer(rebasing: source[consumed...])
                let offered = min(space.count, limit + 1 - produced)
                step = try unsafe decode(
                    rest, UnsafeMutableRawBufferPointer(rebasing: space[..<offered]))
                return step.produced
            }
            consumed += step.consumed
            produced += step.produced
            guard produced <= limit else { throw tooLarge(limit) }
            if step.isFinished && consumed == source.count { return }
            guard step.consumed > 0 || step.produced > 0 else {
                throw damaged("the data is cut short")
            }
            room = max(1024, produced)
        }
    }

    private func gunzip(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int
    ) throws(RecordError) {
        let stream = try unsafe readyInflater()
        try unsafe Self.stream(source, into: &output, limit: limit) {
            (rest, space) throws(RecordError) -> Step in
            // SAFETY: zlib reads `avail_in` bytes and writes `avail_out` at most, within this call;
            // the input pointer is mutable in its old interface only.
            unsafe stream.pointee.next_in = unsafe UnsafeMutablePointer(
                mutating: rest.baseAddress?.assumingMemoryBound(to: UInt8.self))
            unsafe stream.pointee.avail_in = UInt32(rest.count)
            unsafe stream.pointee.next_out = unsafe space.baseAddress?.assumingMemoryBound(
                to: UInt8.self)
            unsafe stream.pointee.avail_out = UInt32(space.count)
            let status = unsafe inflate(stream, Z_NO_FLUSH)
            guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
                throw Self.damaged("gzip error \(status)")
            }
            // Members may follow each other (RFC 1952, 2.2).
            if status == Z_STREAM_END { unsafe inflateReset(stream) }
            return unsafe Step(
                consumed: rest.count - Int(stream.pointee.avail_in),
                produced: space.count - Int(stream.pointee.avail_out),
                isFinished: status == Z_STREAM_END)
        }
    }

    private func readyInflater() throws(RecordError) -> UnsafeMutablePointer<z_stream> {
        if let inflater = unsafe inflater {
            unsafe inflateReset(inflater)
            return unsafe inflater
        }
        // SAFETY: initialized before use, freed in `deinit`.
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        let status = unsafe martlet_inflate_init(stream)
        precondition(status == Z_OK, "zlib has memory for a decoder")
        unsafe inflater = unsafe stream
        return unsafe stream
    }

    private func unlz4(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int
    ) throws(RecordError) {
        if unsafe lz4 == nil {
            let status = unsafe LZ4F_createDecompressionContext(&lz4, UInt32(LZ4F_VERSION))
            precondition(LZ4F_isError(status) == 0, "lz4 has memory for a decoder")
        }
        let context = unsafe lz4
        unsafe LZ4F_resetDecompressionContext(context)
        try unsafe Self.stream(source, into: &output, limit: limit) {
            (rest, space) throws(RecordError) -> Step in
            var produced = space.count
            var consumed = rest.count
            // SAFETY: lz4 reads `consumed` and writes `produced` bytes at most, and sets both to
            // what it did.
            let hint = unsafe LZ4F_decompress(
                context, space.baseAddress, &produced, rest.baseAddress, &consumed, nil)
            guard LZ4F_isError(hint) == 0 else {
                throw Self.damaged(unsafe "lz4: \(String(cString: LZ4F_getErrorName(hint)))")
            }
            return Step(consumed: consumed, produced: produced, isFinished: hint == 0)
        }
    }

    /// Decodes in one go, because the streaming interface would allocate the window a head asks for
    /// (128 MiB).
    private func unzstd(
        _ source: UnsafeRawBufferPointer, into output: inout ByteBuffer, limit: Int
    ) throws(RecordError) {
        if unsafe zstd == nil { unsafe zstd = unsafe ZSTD_createDCtx() }
        guard let context = unsafe zstd else {
            preconditionFailure("zstd has memory for a decoder")
        }
        let declared = unsafe martlet_zstd_content_size(source.baseAddress, source.count)
        let isDeclared = declared != UInt64.max
        guard !isDeclared || declared <= UInt64(limit) else { throw Self.tooLarge(limit) }
        var room = isDeclared ? Int(declared) : min(limit, max(16 * 1024, 4 * source.count))
        while true {
            var result = 0
            // SAFETY: zstd writes into the writable bytes offered, `limit` at most, and reads
            // `source` only.
            unsafe output.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { space in
                let offered = min(space.count, limit)
                result = unsafe ZSTD_decompressDCtx(
                    context, space.baseAddress, offered, source.baseAddress, source.count)
                return ZSTD_isError(result) == 0 ? result : 0
            }
            if ZSTD_isError(result) == 0 { return }
            bytesOut &+= room
            guard martlet_zstd_is_destination_too_small(result) != 0 else {
                throw Self.damaged(unsafe "zstd: \(String(cString: ZSTD_getErrorName(result)))")
            }
            guard room < limit else { throw Self.tooLarge(limit) }
            room = min(limit, max(room, 1024) * 4)
        }
    }

    static func tooLarge(_ limit: Int) -> RecordError {
        RecordError(
            .decompressedTooLarge,
            "the batch decompresses to more than the \(limit) bytes that are allowed")
    }

    static func damaged(_ why: String) -> RecordError {
        RecordError(
            .corruptMessage, "the batch's compressed records cannot be decompressed: \(why)")
    }
}
